"""VPL over a language model: a target decoded with eight contexts' z, against the target run eight times.

The published code copies every target eight times, each copy with a context of its own, and
runs each copy's two sequences. `copies` does that, without padding, by our own parts; `once`
runs each sequence once for all contexts; `once, shared` also runs once what chosen and
rejected begin with. Loss and gradients are compared first; then forward and backward passes,
medians with the sides taking turns, in CPU seconds. Needs the extra `train`.

    python benchmarks/vpl_lm.py [--prompt 300] [--targets 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

COMPLETION, CONTEXTS, CONTEXT_PAIRS, EMBEDDED, TOLERANCE = 150, 8, 8, 384, 1e-5


@dataclass(frozen=True)
class Side:
    """One way to make a step: its pairs, their contexts, whether beginnings are shared."""

    pairs: list[Any]
    given: Any
    is_shared: bool


def sides(n_targets: int, n_prompt: int) -> dict[str, Side]:
    """The three ways to train on the same targets and contexts."""
    import numpy as np
    import torch

    from personalrm.rewards.heads.vpl.contexts import DrawnVectors
    from personalrm.rewards.language.forests.pair_batches import TokenPair

    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)

    def draw(n: int) -> tuple[int, ...]:
        return tuple(int(token) for token in rng.integers(10, 250, size=n))

    prompts = [draw(n_prompt) for _ in range(n_targets)]
    pairs = [TokenPair((*p, *draw(COMPLETION)), (*p, *draw(COMPLETION)), n) for n, p in enumerate(prompts)]
    shape = (n_targets, CONTEXTS, CONTEXT_PAIRS)
    chosen, rejected = (torch.randn(40, EMBEDDED, generator=generator) for _ in range(2))
    where = torch.randint(0, 40, shape, generator=generator)
    noise = torch.randn(*shape[:2], OPTIONS["latent"], generator=generator)
    given = DrawnVectors(chosen, rejected, where, torch.ones(shape, dtype=torch.bool), noise)
    flat = {name: getattr(given, name).flatten(0, 1)[:, None] for name in ("where", "real", "noise")}
    copied = replace(given, **flat)
    copies = [pair for pair in pairs for _ in range(CONTEXTS)]
    return {
        "copies": Side(copies, copied, False),
        "once": Side(pairs, given, False),
        "once, shared": Side(pairs, given, True),
    }


OPTIONS = {"width": 128, "latent": 32}


def step(network: Any, side: Side, options: Any) -> tuple[float, int]:
    """Loss of a step, its gradients left in the network, and the tokens that it ran."""
    from personalrm.rewards.heads.vpl.model import elbo
    from personalrm.rewards.language.forests.pair_batches import plant

    network.zero_grad(set_to_none=True)
    total, n_tokens = 0.0, 0
    for place, pair in enumerate(side.pairs):  # one at a time on all sides: large forests leave the processor's cache
        planted = plant([pair], is_shared=side.is_shared)
        own = {name: getattr(side.given, name)[place : place + 1] for name in ("where", "real", "noise")}
        margins, latents = network(planted, replace(side.given, **own))
        loss = elbo(margins, latents, options, beta=1e-3) / len(side.pairs)
        loss.backward()
        total, n_tokens = total + float(loss.detach()), n_tokens + len(planted.forest)
    return total, n_tokens


def compare(network: Any, options: Any, ways: dict[str, Side], repeats: int) -> dict[str, Any]:
    """Differences of loss and gradients from the copies', tokens and CPU seconds of each way."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    found, gradients = {}, {}
    for name, side in ways.items():
        found[name] = step(network, side, options)
        gradients[name] = {key: one.grad.clone() for key, one in network.trained()}
    wanted = gradients["copies"]
    gap = max(float((own[key] - wanted[key]).abs().max()) for own in gradients.values() for key in wanted)
    loss_gap = max(abs(loss - found["copies"][0]) for loss, _ in found.values())
    if max(gap, loss_gap) > TOLERANCE:
        raise SystemExit(f"loss or gradients differ by {max(gap, loss_gap):.1e}, so times mean nothing")
    for _ in range(repeats):
        for name, side in ways.items():
            start = time.process_time()
            step(network, side, options)
            times[name].append(time.process_time() - start)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    tokens = {name: n for name, (_, n) in found.items()}
    return {"loss_difference": loss_gap, "gradient_difference": gap, "tokens": tokens, "cpu_seconds": seconds}


def main() -> None:
    """Print a table and JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt", type=int, default=300, help="tokens before the completions")
    parser.add_argument("--targets", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the JSON here")
    asked = parser.parse_args()
    import torch

    from personalrm.embedding.quiet_loading import quiet_loading
    from personalrm.rewards.language.lora import Lora
    from personalrm.rewards.language.vpl_lm.network import LanguageVPLOptions, open_vpl_network
    from personalrm.testing.tiny_models import save_tiny_model

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    given: dict[str, Any] = OPTIONS
    options = LanguageVPLOptions(lora=Lora(8, 16.0), **given)
    sizes = {"hidden_size": 256, "intermediate_size": 1024, "num_attention_heads": 4, "num_key_value_heads": 4}
    with tempfile.TemporaryDirectory() as folder, quiet_loading():
        path = save_tiny_model(Path(folder), **sizes, initializer_range=0.02)
        network = open_vpl_network(path, EMBEDDED, options).train()
    result = compare(network, options, sides(asked.targets, asked.prompt), asked.repeats)
    machine = f"{platform.machine()}, 1 thread, torch {torch.__version__}"
    print(f"Llama of 2 layers, width 256, fp32; {asked.targets} targets, {CONTEXTS} contexts each; {machine}")
    for name, seconds in result["cpu_seconds"].items():
        ratio = result["tokens"]["copies"] / result["tokens"][name]
        speedup = result["cpu_seconds"]["copies"] / seconds
        print(f"{name:<14}{result['tokens'][name]:>7} tokens{ratio:>7.2f}x fewer{seconds:>8.3f} CPU s{speedup:>7.2f}x")
    print(f"loss differs by at most {result['loss_difference']:.1e}, gradients {result['gradient_difference']:.1e}")
    told = json.dumps({"benchmark": "vpl_lm", "machine": machine, "prompt": asked.prompt, **result})
    print(told)
    if asked.json:
        asked.json.write_text(told + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
