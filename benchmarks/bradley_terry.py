"""A Bradley-Terry step with shared beginnings beside TRL's RewardTrainer, equal values first.

Both sides train the same LoRA and head of one small random Llama on the same token ids, in
fp32, without checkpointing. TRL's side is its current release, its own `training_step`
(one concatenated forward and backward pass). Loss and gradients are compared before
anything is timed; times are medians after a warm-up, the sides taking turns, and CPU time
stands beside wall time for machines that are not idle. Memory is the peak of one step in
a process of its own a side, above what the loaded model takes (Linux). Needs the extra `train`.

    python benchmarks/bradley_terry.py [--prompts 600 3000] [--pairs 2] [--repeats 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

COMPLETION, TURN = 150, 150
"""Tokens of a completion and of the conversation's own turn, behind the personal prompt."""
SIDES = ("trl", "shared")


def make_pairs(n_pairs: int, n_prompt: int) -> list[tuple[list[int], list[int]]]:
    """Token ids of chosen and rejected: one personal prompt, a turn each, two completions unlike from the start."""
    import numpy as np

    rng = np.random.default_rng(0)

    def draw(n: int) -> list[int]:
        return [int(token) for token in rng.integers(10, 250, size=n)]

    prompt = [0, *draw(n_prompt - 1)]
    pairs = []
    for _ in range(n_pairs):
        turn = draw(TURN)
        pairs.append(([*prompt, *turn, 11, *draw(COMPLETION)], [*prompt, *turn, 12, *draw(COMPLETION)]))
    return pairs


class Ours:
    """Our step: forests of pairs, or of all of the user's pairs."""

    def __init__(self, path: str, pairs: list[tuple[list[int], list[int]]], sharing: str, width: int) -> None:
        from personalrm.rewards.language.bradley_terry.network import NetworkOptions, open_network
        from personalrm.rewards.language.forests.pair_batches import TokenPair
        from personalrm.rewards.language.lora import Lora

        self.network = open_network(path, Lora(8, 16.0), seed=0, options=NetworkOptions(head_start="normal")).train()
        self.pairs = [
            TokenPair(tuple(c), tuple(r), 0 if sharing == "user" else place) for place, (c, r) in enumerate(pairs)
        ]

    def step(self) -> float:
        from personalrm.rewards.language.bradley_terry.network import pair_losses
        from personalrm.rewards.language.forests.pair_batches import plant

        self.network.zero_grad(set_to_none=True)
        loss = pair_losses(self.network, plant(self.pairs), 0.0)[0].mean()
        loss.backward()
        return float(loss)

    def n_tokens(self) -> int:
        from personalrm.rewards.language.forests.pair_batches import plant

        return len(plant(self.pairs).forest)

    def gradients(self) -> dict[str, Any]:
        return {_short(name): parameter.grad for name, parameter in self.network.trained()}


class Trl:
    """TRL's step on the same pairs: its trainer, its collator, its loss."""

    def __init__(self, path: str, pairs: list[tuple[list[int], list[int]]], ours: Ours) -> None:
        from datasets import Dataset
        from peft import LoraConfig
        from transformers import AutoModelForSequenceClassification, AutoTokenizer
        from trl import RewardConfig, RewardTrainer

        model = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
        tokenizer.pad_token = "<|finetune_right_pad_id|>"
        model.config.pad_token_id = tokenizer.pad_token_id
        config = RewardConfig(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=len(pairs),
            gradient_checkpointing=False,
            max_length=None,
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
        )
        rows = Dataset.from_dict({"chosen_ids": [c for c, _ in pairs], "rejected_ids": [r for _, r in pairs]})
        lora = LoraConfig(
            task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], modules_to_save=["score"]
        )
        self.trainer = RewardTrainer(
            model=model, args=config, train_dataset=rows, processing_class=tokenizer, peft_config=lora
        )
        self.trainer.current_gradient_accumulation_steps = 1  # set by its loop, which we stand in for
        self.batch = self.trainer.data_collator([rows[place] for place in range(len(pairs))])
        self.model = self.trainer.model.train()
        self._start_equally(ours)

    def step(self) -> float:
        self.model.zero_grad(set_to_none=True)
        return float(self.trainer.training_step(self.model, dict(self.batch)))

    def n_tokens(self) -> int:
        return int(self.batch["input_ids"].numel())

    def gradients(self) -> dict[str, Any]:
        return {_short(name): p.grad for name, p in self.model.named_parameters() if p.requires_grad}

    def _start_equally(self, ours: Ours) -> None:
        wanted = {_short(name): parameter.detach() for name, parameter in ours.network.trained()}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                parameter.data.copy_(wanted[_short(name)])


def _short(name: str) -> str:
    """One name for a parameter on both sides."""
    if "head" in name or "score" in name:
        return "head"
    return name[name.index("layers.") :].replace(".default", "")


def make_model(folder: str, width: int, n_layers: int) -> str:
    from personalrm.embedding.quiet_loading import quiet_loading
    from personalrm.testing.tiny_models import save_tiny_model

    with quiet_loading():
        return save_tiny_model(
            Path(folder),
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=n_layers,
            num_attention_heads=width // 64,
            num_key_value_heads=width // 64,
            initializer_range=0.02,
        )


def compare(path: str, options: argparse.Namespace, n_prompt: int) -> dict[str, Any]:
    """Differences of values, pairs a second of both sides and of the user tree."""
    from personalrm.embedding.quiet_loading import quiet_loading

    pairs = make_pairs(options.pairs, n_prompt)
    with quiet_loading():
        shared, tree = Ours(path, pairs, "pair", options.width), Ours(path, pairs, "user", options.width)
        trl = Trl(path, pairs, shared)
    losses = {"trl": trl.step(), "shared": shared.step(), "user tree": tree.step()}
    wanted = trl.gradients()
    scale = max(float(gradient.abs().max()) for gradient in wanted.values())
    gaps = {
        name: max(float((side.gradients()[key] - value).abs().max()) for key, value in wanted.items()) / scale
        for name, side in (("shared", shared), ("user tree", tree))
    }
    largest = max(abs(losses[name] - losses["trl"]) for name in losses)
    if largest > 1e-5 or max(gaps.values()) > 1e-4:
        raise SystemExit(f"the sides differ, loss by {largest:.1e} and gradients by {gaps}, so times mean nothing")
    sides: dict[str, Any] = {"trl": trl, "shared": shared, "user tree": tree}
    wall: dict[str, list[float]] = {name: [] for name in sides}
    busy: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(options.repeats):
        for name, side in sides.items():
            start, started = time.perf_counter(), time.process_time()
            side.step()
            wall[name].append(time.perf_counter() - start)
            busy[name].append(time.process_time() - started)
    seconds, worked = ({name: statistics.median(values) for name, values in one.items()} for one in (wall, busy))
    return {
        "prompt_tokens": n_prompt,
        "loss_difference": largest,
        "gradient_difference": gaps,
        "tokens": {name: side.n_tokens() for name, side in sides.items()},
        "pairs_a_second": {name: options.pairs / value for name, value in seconds.items()},
        "ratio": {name: seconds["trl"] / value for name, value in seconds.items()},
        "ratio_of_cpu_time": {name: worked["trl"] / value for name, value in worked.items()},
    }


def peak_megabytes(path: str, options: argparse.Namespace, n_prompt: int) -> dict[str, float]:
    """Peak memory of a process that does a step of one side, above what it had before the first."""
    found = {}
    for side in SIDES:
        command = [sys.executable, __file__, "--side", side, "--path", path, "--prompts", str(n_prompt)]
        command += ["--pairs", str(options.pairs), "--threads", str(options.threads), "--width", str(options.width)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found[side] = float(done.stdout.split()[-1])
    return found


def one_side(options: argparse.Namespace) -> None:
    """A step of one side; prints megabytes."""
    from personalrm.embedding.quiet_loading import quiet_loading

    pairs = make_pairs(options.pairs, options.prompts[0])
    with quiet_loading():
        side: Any = Ours(options.path, pairs, "pair", options.width)
        if options.side == "trl":
            side = Trl(options.path, pairs, side)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = kilobytes("VmRSS")
    side.step()
    print((kilobytes("VmHWM") - before) / 1024)


def kilobytes(name: str) -> int:
    """What Linux counts of this process's memory: VmRSS now, VmHWM at its peak."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


def main() -> None:
    """Print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, nargs="+", default=[600, 3000], help="tokens of the personal prompt")
    parser.add_argument("--pairs", type=int, default=2, help="pairs of a step")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the JSON here")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    options = parser.parse_args()
    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    if options.side:
        one_side(options)
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = make_model(folder, options.width, options.layers)
        for n_prompt in options.prompts:
            rows.append(compare(path, options, n_prompt) | {"megabytes": peak_megabytes(path, options, n_prompt)})
    report(rows, options)


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Print what was found."""
    import platform

    import torch
    import trl

    machine = f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}, trl {trl.__version__}"
    print(f"Llama of {options.layers} layers, width {options.width}, fp32, {options.pairs} pairs a step; {machine}")
    head = f"{'prompt':>7} {'side':<10}{'tokens':>8}{'pairs/s':>9}{'ratio':>7}{'of CPU':>8}{'MB':>8}"
    print(head + f"{'gradients differ':>18}")
    for row in rows:
        for name in ("trl", "shared", "user tree"):
            megabytes = row["megabytes"].get(name)
            shown = f"{megabytes:>8.0f}" if megabytes is not None else f"{'':>8}"
            gap = f"{row['gradient_difference'][name]:>18.1e}" if name in row["gradient_difference"] else ""
            speed = row["pairs_a_second"][name]
            print(
                f"{row['prompt_tokens']:>7} {name:<10}{row['tokens'][name]:>8}{speed:>9.3f}"
                f"{row['ratio'][name]:>6.2f}x{row['ratio_of_cpu_time'][name]:>7.2f}x"
                f"{shown}{gap}"
            )
        print(f"{'':>7} losses differ by at most {row['loss_difference']:.1e}")
    result = {"benchmark": "bradley_terry", "machine": machine, "rows": rows, "target_ratio_at_3000": 1.6}
    result["model"] = {"layers": options.layers, "width": options.width, "pairs": options.pairs}
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
