import numpy as np
import pytest

from personalrm.errors import BadInput
from personalrm.stats.arrays import FloatArray
from personalrm.stats.bradley_terry import (
    Batch,
    ChoiceProblem,
    buckets,
    derivatives,
    fit_map,
    fit_map_many,
    log_likelihood,
    make_batch,
)


def problem(sizes: list[int], dim: int, seed: int = 0) -> ChoiceProblem:
    """A user whose choices have so many rejected alternatives."""
    rows = np.random.default_rng(seed).normal(0.3, 1.0, size=(sum(sizes), dim))
    return ChoiceProblem(rows, np.repeat(np.arange(len(sizes)), sizes))


def one_log_likelihood(batch: Batch, w: FloatArray) -> float:
    return float(log_likelihood(batch, np.asarray(w)[None])[0])


def test_the_likelihood_of_single_rows_is_bradley_terry() -> None:
    rows, w = np.array([[1.0, 2.0], [-3.0, 0.5]]), np.array([0.4, -0.2])
    expected = np.log(1.0 / (1.0 + np.exp(-rows @ w))).sum()
    assert one_log_likelihood(make_batch([ChoiceProblem(rows, np.array([0, 1]))]), w) == pytest.approx(expected)


def test_the_likelihood_of_a_choice_is_its_softmax() -> None:
    x, w = np.array([[1.0, 0.0], [0.2, 0.7], [-1.0, 0.3]]), np.array([0.5, 1.5])
    rewards = x @ w
    expected = rewards[0] - np.log(np.exp(rewards).sum())
    assert one_log_likelihood(make_batch([ChoiceProblem(x[0] - x[1:], np.array([0, 0]))]), w) == pytest.approx(expected)


@pytest.mark.parametrize("sizes", [[1, 1, 1], [3, 1, 2], [4]])
@pytest.mark.slow
def test_derivatives_agree_with_finite_differences(sizes: list[int]) -> None:
    from scipy.optimize import approx_fprime

    batch, w = make_batch([problem(sizes, 4)]), np.array([0.3, -0.5, 0.1, 0.8])
    gradient, hessian = derivatives(batch, w[None])
    numeric = approx_fprime(w, lambda at: one_log_likelihood(batch, at), 1e-7)
    curvature = approx_fprime(w, lambda at: -derivatives(batch, at[None])[0][0], 1e-7)
    assert gradient[0] == pytest.approx(numeric, abs=1e-5)
    assert hessian[0] == pytest.approx(curvature, abs=1e-5)


@pytest.mark.parametrize("groups", [[0, 1], [0, 0]])
def test_huge_margins_neither_overflow_nor_vanish(groups: list[int]) -> None:
    batch = make_batch([ChoiceProblem(np.array([[1.0], [1.0]]), np.array(groups))])
    assert one_log_likelihood(batch, np.array([-1e4])) == pytest.approx(-1e4 * len(set(groups)), rel=1e-3)
    assert one_log_likelihood(batch, np.array([40.0])) == pytest.approx(-2.0 * np.exp(-40.0))


@pytest.mark.slow
def test_one_row_and_one_feature_solve_the_closed_equation() -> None:
    from scipy.optimize import brentq

    # lambda (w - mu) = d / (1 + exp(w d))
    posterior = fit_map(make_batch([ChoiceProblem(np.array([[2.0]]), np.array([0]))]), np.array([0.5]), np.array([3.0]))
    root = brentq(lambda w: 3.0 * (w - 0.5) - 2.0 / (1.0 + np.exp(2.0 * w)), -5, 5, xtol=1e-14)
    assert posterior.mode[0, 0] == pytest.approx(root, abs=1e-12)
    q = 1.0 / (1.0 + np.exp(-2.0 * root))
    assert posterior.covariance()[0, 0, 0] == pytest.approx(1.0 / (3.0 + 4.0 * q * (1.0 - q)))


@pytest.mark.parametrize(("sizes", "dim"), [([1] * 10, 25), ([1] * 40, 6), ([2, 3, 1], 8), ([4] * 9, 3)])
@pytest.mark.slow
def test_the_mode_is_scipys_whether_rows_or_features_are_fewer(sizes: list[int], dim: int) -> None:
    from scipy.optimize import minimize

    batch, mu, lam = make_batch([problem(sizes, dim)]), np.linspace(-1, 1, dim), np.linspace(0.5, 4, dim)

    def loss(w: FloatArray) -> float:
        return float(0.5 * (lam * (w - mu) ** 2).sum()) - one_log_likelihood(batch, w)

    def slope(w: FloatArray) -> FloatArray:
        return np.asarray(lam * (w - mu) - derivatives(batch, w[None])[0][0])

    theirs = minimize(loss, mu, jac=slope, method="BFGS", options={"gtol": 1e-9})
    assert fit_map(batch, mu, lam).mode[0] == pytest.approx(theirs.x, abs=1e-6)


@pytest.mark.parametrize(("n_rows", "dim"), [(10, 25), (40, 5)])
@pytest.mark.slow
def test_modes_are_those_of_scikit_learn_user_by_user(n_rows: int, dim: int) -> None:
    from sklearn.linear_model import LogisticRegression

    problems = [problem([1] * n_rows, dim, seed) for seed in range(5)]
    modes = fit_map_many(problems, np.zeros(dim), np.full(dim, 2.0)).mode
    model = LogisticRegression(fit_intercept=False, C=0.5, tol=1e-10, max_iter=1000)
    # scikit-learn wants two classes: -d with class 0 is the same term as d with class 1.
    label = np.arange(n_rows) % 2
    signs = np.where(label == 1, 1.0, -1.0)[:, None]
    theirs = [model.fit(user.differences * signs, label).coef_[0] for user in problems]
    assert np.abs(modes - theirs).max() < 1e-6


def test_row_space_and_feature_space_find_the_same_mode() -> None:
    batch, mu, lam = make_batch([problem([2, 1, 3], 12)]), np.full(12, 0.1), np.full(12, 1.5)
    in_rows = fit_map(batch, mu, lam)
    in_features = fit_map(batch, mu, lam, start=np.ones((1, 12)))
    assert in_rows.mode == pytest.approx(in_features.mode, abs=1e-10)


def test_padding_beside_larger_users_changes_nothing() -> None:
    small, large = problem([1, 2], 3), problem([4, 1, 1, 5, 1], 3, seed=1)
    alone = fit_map(make_batch([small]), np.zeros(3), np.ones(3))
    together = fit_map(make_batch([large, small]), np.zeros(3), np.ones(3))
    assert together.mode[1] == pytest.approx(alone.mode[0], abs=1e-12)
    assert together.hessian[1] == pytest.approx(alone.hessian[0], abs=1e-12)


def test_many_users_come_back_in_their_order_each_with_its_own_prior() -> None:
    problems = [problem([1] * n, 4, seed=n) for n in (1, 9, 2, 30, 3)]
    means, precisions = np.arange(20.0).reshape(5, 4) / 10, np.arange(1.0, 21.0).reshape(5, 4)
    together = fit_map_many(problems, means, precisions)
    for place, user in enumerate(problems):
        alone = fit_map(make_batch([user]), means[place], precisions[place])
        assert together.mode[place] == pytest.approx(alone.mode[0], abs=1e-10)


def test_buckets_keep_like_sizes_together_and_lose_nobody() -> None:
    found = buckets([problem([1] * n, 2) for n in (1, 1000, 2, 3, 900)])
    assert sorted(place for places, _ in found for place in places.tolist()) == [0, 1, 2, 3, 4]
    assert [batch.differences.shape[:3] for _, batch in found] == [(1, 1, 1), (2, 3, 1), (2, 1000, 1)]


def test_a_user_without_rows_gets_the_prior_back() -> None:
    nobody = ChoiceProblem(np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
    posterior = fit_map_many([nobody, problem([1], 3)], np.array([1.0, 2.0, 3.0]), np.full(3, 4.0))
    assert posterior.mode[0].tolist() == [1.0, 2.0, 3.0]
    assert posterior.covariance()[0].tolist() == (np.eye(3) / 4.0).tolist()
    assert fit_map_many([], np.zeros(3), np.ones(3)).mode.shape == (0, 3)


def test_separable_choices_under_a_weak_prior_still_converge() -> None:
    """Full Newton steps overshoot here; halving keeps the objective falling."""
    rows = np.array([[50.0, 1.0], [80.0, -1.0], [0.01, 30.0]])
    batch = make_batch([ChoiceProblem(rows, np.arange(3))])
    lam = np.full(2, 1e-6)
    mode = fit_map(batch, np.array([-5.0, -5.0]), lam).mode
    gradient = derivatives(batch, mode)[0] - lam * (mode + 5.0)
    assert np.abs(gradient).max() < 1e-8


def test_reversing_every_choice_negates_the_mode() -> None:
    user = problem([1] * 6, 9)
    reversed_user = ChoiceProblem(-user.differences, user.groups)
    modes = fit_map_many([user, reversed_user], np.zeros(9), np.ones(9)).mode
    assert modes[0] == pytest.approx(-modes[1], abs=1e-12)


def test_a_copied_alternative_is_not_a_second_choice() -> None:
    row = np.array([[1.0, 0.0]])
    twice_in_one = ChoiceProblem(np.vstack([row, row]), np.array([0, 0]))
    twice = ChoiceProblem(np.vstack([row, row]), np.array([0, 1]))
    sure = fit_map_many([twice_in_one, twice], np.zeros(2), np.ones(2)).hessian[:, 0, 0]
    assert sure[0] < sure[1]


def test_unusable_problems_are_refused() -> None:
    with pytest.raises(BadInput, match="no problems"):
        make_batch([])
    with pytest.raises(BadInput, match="not finite"):
        make_batch([ChoiceProblem(np.array([[np.nan]]), np.array([0]))])
    with pytest.raises(BadInput, match="sort the rows by choice"):
        make_batch([ChoiceProblem(np.zeros((2, 1)), np.array([1, 0]))])
    with pytest.raises(BadInput, match="precision must be positive"):
        fit_map(make_batch([problem([1], 2)]), np.zeros(2), np.array([1.0, 0.0]))
