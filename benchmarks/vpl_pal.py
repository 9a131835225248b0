"""VPL and PAL for many users at once, beside loops over users; equal values first, median of five.

Shapes as in the published code: 32 users with 10 context pairs of width 4,096 for VPL, 300 users
with 10 pairs and 2 prototypes for PAL. One thread. Needs the extra `train`.

    python benchmarks/vpl_pal.py
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _table import median_of_five, show
from reference.vpl_pal import LogitsOfEach, contexts_from_json, encode_users_in_a_loop, fit_new_users_in_a_loop
from simulations.planted_encoder import PlantedEncoder

from personalrm.embedding.encoders import TextSequence
from personalrm.embedding.store import EmbeddingStore
from personalrm.preferences.messages import Message
from personalrm.rewards.heads.simplex import fit_simplex
from personalrm.rewards.heads.vpl.network import VPLOptions, make_vpl_module

USERS, PAIRS, DIM = 32, 10, 4096
PAL_USERS, PROTOTYPES = 300, 2


def beside(name: str, ours: Callable[[], Any], theirs: Callable[[], Any], gap: float) -> dict[str, object]:
    """Both times and their ratio; refuses to time what differs."""
    if gap > 1e-4:
        raise SystemExit(f"{name}: values differ by {gap:.1e}, so times mean nothing")
    a, b = median_of_five(ours), median_of_five(theirs)
    return {f"{name}: ours, ms": 1e3 * a, f"{name}: loop, ms": 1e3 * b, f"{name}: ratio": b / a, f"{name}: gap": gap}


def vpl_encoder() -> dict[str, object]:
    """The set encoder of all users in one masked batch."""
    generator = torch.Generator().manual_seed(0)
    module = make_vpl_module(DIM, VPLOptions(width=512, latent=512))
    chosen, rejected = (torch.randn(USERS, PAIRS, DIM, generator=generator) for _ in range(2))
    real = torch.ones(USERS, PAIRS, dtype=torch.bool)
    contexts = list(zip(chosen, rejected, strict=True))
    with torch.no_grad():
        there = encode_users_in_a_loop(module.pairs, module.users, contexts)
        here = module.posterior(chosen, rejected, real)
    gap = max(float((a - b).abs().max()) for a, b in zip(here, there, strict=True))

    def step(run: Callable[[], tuple[torch.Tensor, torch.Tensor]]) -> None:
        mean, log_variance = run()
        (mean.sum() + log_variance.sum()).backward()

    return beside(
        "VPL encoder, forward and backward",
        lambda: step(lambda: module.posterior(chosen, rejected, real)),
        lambda: step(lambda: encode_users_in_a_loop(module.pairs, module.users, contexts)),
        gap,
    )


def vpl_loading() -> dict[str, object]:
    """Contexts from the store's memory map, beside lists of floats in JSON."""
    sequences = [TextSequence((Message("user", "q"),), f"text {place}") for place in range(2 * USERS * PAIRS)]
    with tempfile.TemporaryDirectory() as folder:
        store = EmbeddingStore(Path(folder), PlantedEncoder(DIM))
        rows = store.rows(sequences).reshape(2, USERS, PAIRS)
        held = store.matrix("last")[rows].astype(np.float32)
        lines = [json.dumps({"chosen": held[0, u].tolist(), "rejected": held[1, u].tolist()}) for u in range(USERS)]
        matrix = store.matrix("last")
        there = torch.stack([torch.stack(one) for one in contexts_from_json(lines)], dim=1)
        gap = float((torch.from_numpy(matrix[rows]).float() - there).abs().max())
        return beside(
            "VPL context loading",
            lambda: torch.from_numpy(matrix[rows]).float(),
            lambda: contexts_from_json(lines),
            gap,
        )


def pal_new_users() -> dict[str, object]:
    """Mixtures of all new users in one solve, the loop run long enough to reach the same values."""
    margins = np.random.default_rng(0).normal(size=(PAL_USERS, PAIRS, PROTOTYPES))
    own = [torch.from_numpy(one).float() for one in margins]

    def loop() -> torch.Tensor:
        return fit_new_users_in_a_loop(own, strength=1.0, n_steps=200, rate=0.1)

    gap = float(np.abs(fit_simplex(list(margins)).weights - loop().double().numpy()).max())
    return beside("PAL new users", lambda: fit_simplex(list(margins)), loop, gap)


def pal_step() -> dict[str, object]:
    """One optimiser step of all users' logits: a table `(users, prototypes)` beside a tensor a user."""
    margins = torch.randn(PAL_USERS, PAIRS, PROTOTYPES, generator=torch.Generator().manual_seed(0))
    theirs = LogitsOfEach(PAL_USERS, PROTOTYPES)
    table = torch.zeros(PAL_USERS, PROTOTYPES, requires_grad=True)
    optimizer = torch.optim.Adam([table], lr=5e-3)

    def ours() -> None:
        optimizer.zero_grad()
        mixed = torch.einsum("unk,uk->un", margins, table.softmax(dim=-1))
        torch.nn.functional.softplus(-mixed).mean(dim=1).sum().backward()
        optimizer.step()

    for _ in range(5):
        ours()
        theirs.step(margins)
    gap = float((table - torch.stack(theirs.logits)).abs().max().detach())
    return beside("PAL step", ours, lambda: theirs.step(margins), gap)


def main() -> None:
    torch.set_num_threads(1)
    show("VPL and PAL beside loops over users", vpl_encoder() | vpl_loading() | pal_new_users() | pal_step())


if __name__ == "__main__":
    main()
