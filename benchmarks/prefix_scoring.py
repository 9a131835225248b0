"""n completions for one personal prompt of P tokens: P + n c tokens instead of n (P + c).

A known user's prompt is kept as keys and values, so their next question costs n c tokens.
Rewards are compared with those of plain sequences first; then times, medians with the
sides taking turns, in CPU seconds. The target is the token ratio of P + n c within 1.15.
Width 512 at P = 1,000 has attention and matrix products in about the proportion of an 8B
model at P = 8,000 (a third); a narrower model is all attention, of which tokens far into a
sequence cost more than the average token of a plain one.
Needs the extra `train`.

    python benchmarks/prefix_scoring.py [--prompts 1000] [--completions 2 8] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMPLETION, TURN, TOLERANCE, TARGET = 150, 50, 1e-5, 1.15


def make_item(n_prompt: int, n_completions: int) -> Any:
    """One question of a user with a long prompt, as token ids."""
    import numpy as np

    from personalrm.rewards.language.forests.closing_states import ToRead

    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[int, ...]:
        return tuple(int(token) for token in rng.integers(10, 250, size=n))

    prefix, turn = draw(n_prompt), draw(TURN)
    return ToRead(tuple((*prefix, *turn, *draw(COMPLETION)) for _ in range(n_completions)), prefix)


def cpu_seconds(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def compare(network: Any, n_prompt: int, n_completions: int, repeats: int) -> dict[str, Any]:
    """Largest difference of rewards, tokens and times of plain, first and later questions."""
    from personalrm.rewards.language.forests.closing_states import PrefixCache, StateReader, ToRead

    item = make_item(n_prompt, n_completions)
    alone = [ToRead((tokens,)) for tokens in item.sequences]
    decoder = network.decoder
    plain, kept = StateReader(decoder, PrefixCache(0), tokens_at_once=1), StateReader(decoder, PrefixCache())

    def score(reader: StateReader, items: list[ToRead]) -> list[list[float]]:
        return [network.rewards(states).tolist() for states in reader.read(items)]

    def first() -> list[list[float]]:
        kept.cache.clear()
        return score(kept, [item])

    sides: dict[str, Callable[[], list[list[float]]]] = {
        "plain": lambda: score(plain, alone),
        "first": first,
        "later": lambda: score(kept, [item]),
    }
    found = {name: [reward for row in run() for reward in row] for name, run in sides.items()}
    gap = max(abs(a - b) for name in ("first", "later") for a, b in zip(found[name], found["plain"], strict=True))
    if gap > TOLERANCE:
        raise SystemExit(f"rewards differ from plain sequences by {gap:.1e}, so times mean nothing")
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, run in sides.items():
            times[name].append(cpu_seconds(run))
    seconds = {name: statistics.median(values) for name, values in times.items()}
    n_plain = sum(map(len, item.sequences))
    tokens = {"plain": n_plain, "first": n_prompt + TURN + n_completions * COMPLETION}
    tokens["later"] = tokens["first"] - n_prompt
    ratio = {name: tokens["plain"] / tokens[name] for name in tokens}
    speedup = {name: seconds["plain"] / seconds[name] for name in seconds}
    return {
        "prompt_tokens": n_prompt,
        "completions": n_completions,
        "largest_difference": gap,
        "tokens": tokens,
        "cpu_seconds": seconds,
        "token_ratio": ratio,
        "speedup": speedup,
        "within": {name: ratio[name] / speedup[name] for name in ("first", "later")},
    }


def main() -> None:
    """Print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, nargs="+", default=[1000], help="tokens of the personal prompt")
    parser.add_argument("--completions", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the JSON here")
    options = parser.parse_args()
    import torch

    from personalrm.embedding.quiet_loading import quiet_loading
    from personalrm.rewards.language.bradley_terry.network import NetworkOptions, open_network
    from personalrm.rewards.language.lora import Lora
    from personalrm.testing.tiny_models import save_tiny_model

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, quiet_loading():
        sizes = {"hidden_size": options.width, "intermediate_size": 4 * options.width}
        heads = {"num_attention_heads": options.width // 64, "num_key_value_heads": options.width // 64}
        path = save_tiny_model(Path(folder), num_hidden_layers=options.layers, **sizes, **heads, initializer_range=0.02)
        network = open_network(path, Lora(8, 16.0), seed=0, options=NetworkOptions(head_start="normal"))
    rows = [compare(network, p, n, options.repeats) for p in options.prompts for n in options.completions]
    machine = f"{platform.machine()}, 1 thread, torch {torch.__version__}"
    print(f"Llama of {options.layers} layers, width {options.width}, fp32; {machine}")
    print(f"{'P':>6}{'n':>4} {'question':<9}{'tokens':>8}{'CPU s':>8}{'token ratio':>13}{'speedup':>9}{'within':>8}")
    for row in rows:
        for name in ("plain", "first", "later"):
            within = f"{row['within'][name]:>8.2f}" if name in row["within"] else ""
            print(
                f"{row['prompt_tokens']:>6}{row['completions']:>4} {name:<9}{row['tokens'][name]:>8}"
                f"{row['cpu_seconds'][name]:>8.2f}{row['token_ratio'][name]:>12.2f}x{row['speedup'][name]:>8.2f}x{within}"
            )
        print(f"{'':>11}rewards differ by at most {row['largest_difference']:.1e}")
    result = {"benchmark": "prefix_scoring", "machine": machine, "rows": rows, "target_within": TARGET}
    result["target_met"] = all(row["within"]["first"] <= TARGET for row in rows)
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
