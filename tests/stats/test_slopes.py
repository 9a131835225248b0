import numpy as np
import pytest

from personalrm.errors import BadInput
from personalrm.stats.slopes import clustered_slope


def test_the_slope_is_least_squares_through_the_means() -> None:
    rng = np.random.default_rng(0)
    x, counts = np.array([1.0, 2.0, 5.0, 9.0]), rng.integers(1, 9, (30, 4)).astype(float)
    sums = rng.random((30, 4)) * counts
    means = sums.sum(axis=0) / counts.sum(axis=0)
    assert clustered_slope(x, sums, counts).slope == pytest.approx(np.polyfit(x, means, 1)[0])


def test_a_user_without_pairs_at_a_point_counts_only_elsewhere() -> None:
    sums, counts = np.array([[1.0, 0.0], [1.0, 4.0]]), np.array([[2.0, 0.0], [2.0, 4.0]])
    assert clustered_slope(np.array([0.0, 1.0]), sums, counts).slope == 0.5


def test_copies_of_every_pair_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(1)
    x, counts = np.array([1.0, 2.0, 3.0]), np.full((40, 3), 5.0)
    sums = rng.binomial(5, 0.6, (40, 3)).astype(float)
    once, tenfold = clustered_slope(x, sums, counts), clustered_slope(x, 10 * sums, 10 * counts)
    assert (tenfold.low, tenfold.high) == pytest.approx((once.low, once.high))


@pytest.mark.slow
def test_the_interval_covers_the_true_slope() -> None:
    rng = np.random.default_rng(2)
    x, counts, hits = np.array([1.0, 2.0, 4.0, 8.0]), np.full((80, 4), 4.0), 0
    for _ in range(300):
        levels = rng.normal(0.55, 0.1, (80, 1)) + 0.01 * x
        slope = clustered_slope(x, rng.binomial(4, np.clip(levels, 0, 1)) / 1.0, counts, n_resamples=500)
        hits += slope.low <= 0.01 <= slope.high
    assert 0.91 <= hits / 300 <= 0.985


def test_one_user_has_a_slope_without_an_interval() -> None:
    slope = clustered_slope(np.array([1.0, 2.0]), np.array([[1.0, 2.0]]), np.array([[2.0, 2.0]]))
    assert slope.slope == 0.5
    assert np.isnan([slope.low, slope.high]).all()


@pytest.mark.parametrize(
    ("x", "counts", "says"),
    [([1.0], [[1.0]], "two different x"), ([1.0, 1.0], [[1.0, 1.0]], "two different"), ([1.0, 2.0], [[1.0, 0.0]], "no pairs"), ([1.0, 2.0], [[1.0]], "need shape")],
)  # fmt: skip
def test_what_gives_no_line_is_refused(x, counts, says) -> None:
    with pytest.raises(BadInput, match=says):
        clustered_slope(np.array(x), np.zeros_like(np.array(counts)), np.array(counts))
