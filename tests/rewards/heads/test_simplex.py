"""Weights on the simplex against finite differences, brute force and one user at a time."""

from __future__ import annotations

import numpy as np
import pytest

from personalrm.errors import BadInput
from personalrm.rewards.heads.simplex import fit_simplex, softmax


def users(n_users: int = 20, n_prototypes: int = 3, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(rng.integers(0, 12), n_prototypes)) * 3.0 for _ in range(n_users)]


def objective(logits: np.ndarray, margins: np.ndarray, strength: float) -> float:
    return float(np.logaddexp(0, -margins @ softmax(logits)).sum() + strength / 2 * (logits**2).sum())


def test_weights_lie_on_the_simplex() -> None:
    weights = fit_simplex(users()).weights
    assert np.allclose(weights.sum(axis=1), 1.0) and (weights > 0).all()


def test_a_batch_equals_one_user_at_a_time() -> None:
    serial = np.concatenate([fit_simplex([own], strength=0.3).weights for own in users()])
    assert np.abs(fit_simplex(users(), strength=0.3).weights - serial).max() < 1e-8


def test_the_fit_is_a_minimum() -> None:
    margins = users(seed=3)
    fit = fit_simplex(margins, strength=0.5)
    rng = np.random.default_rng(0)
    for own, logits in zip(margins, fit.logits, strict=True):
        nearby = logits + 1e-3 * rng.normal(size=(50, 3))
        assert objective(logits, own, 0.5) <= min(objective(one, own, 0.5) for one in nearby) + 1e-9


def test_two_prototypes_agree_with_a_grid() -> None:
    margins = np.array([[2.0, -1.0], [1.5, 0.2], [-0.4, 0.9]])
    grid = np.linspace(-5, 5, 20001)
    values = [objective(np.array([x, -x]), margins, 0.2) for x in grid]  # the pull keeps the logits' sum at 0
    best = grid[int(np.argmin(values))]
    assert np.abs(fit_simplex([margins], strength=0.2).logits[0] - [best, -best]).max() < 1e-3


def test_without_pairs_the_prior_stands() -> None:
    prior = np.array([0.5, -1.0, 0.0])
    assert np.allclose(fit_simplex([np.zeros((0, 3))], prior=prior).weights, softmax(prior))


def test_one_prototype_has_weight_one() -> None:
    assert fit_simplex([np.array([[3.0], [-2.0]])]).weights.tolist() == [[1.0]]


def test_a_pair_of_weight_zero_changes_nothing() -> None:
    own = np.array([[1.0, -1.0], [9.0, -9.0]])
    fit = fit_simplex([own], weights=[np.array([1.0, 0.0])])
    assert np.abs(fit.weights - fit_simplex([own[:1]]).weights).max() < 1e-10


def test_huge_margins_stay_finite() -> None:
    weights = fit_simplex([np.array([[1e6, -1e6], [1e6, -1e6]])], strength=0.0).weights
    assert np.isfinite(weights).all() and weights[0, 0] > 0.5


@pytest.mark.parametrize(
    ("margins", "options"),
    [
        ([], {}),
        ([np.zeros((2, 2)), np.zeros((2, 3))], {}),
        ([np.zeros(3)], {}),
        ([np.zeros((2, 0))], {}),
        ([np.array([[np.nan, 1.0]])], {}),
        ([np.zeros((2, 2))], {"weights": [np.ones(3)]}),
        ([np.zeros((2, 2))], {"prior": np.zeros(3)}),
        ([np.zeros((2, 2))], {"strength": -1.0}),
        ([np.zeros((2, 2))], {"strength": np.nan}),
    ],
)
def test_what_cannot_be_fitted_is_refused(margins: list[np.ndarray], options: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        fit_simplex(margins, **options)  # type: ignore[arg-type]
