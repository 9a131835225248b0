"""Soups against explicit averages of s B A."""

from __future__ import annotations

import numpy as np
import pytest

from personalrm.errors import BadInput
from personalrm.rewards.language.bradley_terry.adapter_soups import A, Adapter, B, soup

LAYERS = ("l0.q", "l0.v")


def adapter(seed: int, rank: int = 3, alpha: float = 6.0) -> Adapter:
    rng = np.random.default_rng(seed)
    arrays = {}
    for layer in LAYERS:
        arrays[layer + A] = rng.normal(size=(rank, 5)).astype(np.float32)
        arrays[layer + B] = rng.normal(size=(4, rank)).astype(np.float32)
    return Adapter(arrays | {"head.weight": rng.normal(size=(1, 4)).astype(np.float32)}, rank, alpha)


def test_one_hot_weights_give_that_adapter_bit_for_bit() -> None:
    parts = [adapter(seed) for seed in range(3)]
    for place, wanted in enumerate(parts):
        found = soup(parts, np.eye(3)[place])
        assert (found.rank, found.alpha) == (wanted.rank, wanted.alpha)
        assert all(np.array_equal(found.arrays[name], array) for name, array in wanted.arrays.items())


def test_the_delta_is_the_average_of_deltas() -> None:
    parts, weights = [adapter(0), adapter(1, rank=2, alpha=1.0), adapter(2, rank=5)], (0.2, 0.5, 0.3)
    found = soup(parts, weights)
    for layer in LAYERS:
        wanted = sum(weight * part.delta(layer) for part, weight in zip(parts, weights, strict=True))
        assert found.delta(layer) == pytest.approx(wanted, abs=1e-5)
    assert found.rank == 10


def test_averaging_the_factors_would_be_another_model() -> None:
    parts = [adapter(0), adapter(1)]
    factors = {name: (parts[0].arrays[name] + parts[1].arrays[name]) / 2 for name in parts[0].arrays}
    naive = Adapter(factors, 3, 6.0)
    assert np.abs(naive.delta("l0.q") - soup(parts, (0.5, 0.5)).delta("l0.q")).max() > 0.1


def test_the_head_is_averaged_too() -> None:
    parts = [adapter(0), adapter(1)]
    wanted = 0.25 * parts[0].arrays["head.weight"] + 0.75 * parts[1].arrays["head.weight"]
    assert soup(parts, (0.25, 0.75)).arrays["head.weight"] == pytest.approx(wanted)


def test_inputs_are_not_mutated_and_not_shared() -> None:
    parts = [adapter(0), adapter(1)]
    for weights in ((0.5, 0.5), (1.0, 0.0)):
        for array in soup(parts, weights).arrays.values():
            np.add(array, 1.0, out=array)
    assert all(
        np.array_equal(part.arrays[n], adapter(s).arrays[n]) for s, part in enumerate(parts) for n in part.arrays
    )


def test_weight_zero_leaves_no_trace() -> None:
    assert soup([adapter(0), adapter(1), adapter(2)], (0.5, 0.0, 0.5)).rank == 6


@pytest.mark.parametrize(
    ("parts", "weights"),
    [
        ([], []),
        ([adapter(0)], [0.5, 0.5]),
        ([adapter(0), adapter(1)], [0.0, 0.0]),
        ([adapter(0)], [np.nan]),
        ([adapter(0)], [np.inf]),
        ([adapter(0), Adapter({}, 3, 6.0)], [0.5, 0.5]),
        ([adapter(0), Adapter({**adapter(1).arrays, "l0.q" + A: np.zeros((3, 6), np.float32)}, 3, 6.0)], [0.5, 0.5]),
    ],
)
def test_what_cannot_be_mixed_is_refused(parts: list[Adapter], weights: list[float]) -> None:
    with pytest.raises(BadInput):
        soup(parts, weights)
