from itertools import product

import numpy as np
import pytest

from personalrm.errors import BadInput, NoScoredPairs
from personalrm.stats.paired import compare, holm, mcnemar_p, sign_flip_p


def test_sign_flips_of_two_users_by_hand() -> None:
    # Sums over the four sign patterns of (3, 1): 4, 2, -2, -4; two are as far out as the observed 4.
    assert sign_flip_p(np.array([3.0, 1.0])) == 0.5
    # Observed 3 - 1 = 2: all four are as far out.
    assert sign_flip_p(np.array([3.0, -1.0])) == 1.0


def test_twelve_users_in_one_direction_have_the_smallest_exact_p() -> None:
    assert sign_flip_p(np.ones(12)) == 2 / 2**12


def test_users_without_a_difference_change_nothing() -> None:
    assert sign_flip_p(np.array([0.0, 1.0, 2.0, 0.0, 3.0])) == sign_flip_p(np.array([1.0, 2.0, 3.0]))
    assert sign_flip_p(np.zeros(4)) == 1.0


def test_random_flips_of_many_users_never_give_zero() -> None:
    assert sign_flip_p(np.ones(60), n_flips=999) == 1 / 1000


def test_every_pattern_of_up_to_twelve_users_is_tried() -> None:
    differences = np.random.default_rng(6).normal(0.4, 1.0, size=10)
    sums = [abs(np.dot(signs, differences)) for signs in product((1, -1), repeat=10)]
    assert sign_flip_p(differences) == np.mean([flipped >= sums[0] - 1e-12 for flipped in sums])


def test_random_flips_agree_with_enumeration_beyond_twelve_users() -> None:
    differences = np.random.default_rng(7).normal(0.3, 1.0, size=15)
    signs = 1.0 - 2.0 * ((np.arange(2**15)[:, None] >> np.arange(15)) & 1)
    exact = (np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12).mean()
    assert sign_flip_p(differences, n_flips=20_000) == pytest.approx(exact, abs=0.012)


@pytest.mark.slow
def test_random_flips_agree_with_scipys_permutation_test() -> None:
    from scipy import stats

    differences = np.random.default_rng(0).normal(0.25, 1.0, size=40)
    theirs = stats.permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    )
    assert sign_flip_p(differences, n_flips=20_000) == pytest.approx(theirs.pvalue, abs=0.015)


@pytest.mark.parametrize(("n_better", "n_worse"), [(0, 0), (5, 0), (3, 3), (12, 4), (40, 61), (1_300, 1_150)])
@pytest.mark.slow
def test_mcnemar_is_the_exact_binomial_test(n_better: int, n_worse: int) -> None:
    from scipy import stats

    n = n_better + n_worse
    expected = stats.binomtest(n_better, n).pvalue if n else 1.0
    assert mcnemar_p(n_better, n_worse) == pytest.approx(expected)


def test_a_difference_is_a_minus_b() -> None:
    result = compare(np.array([1.0, 1.0, 0.5, 0.0]), np.array([0.0, 1.0, 0.0, 0.0]), list("aaab"))
    assert (result.difference, result.macro_difference) == (0.375, 0.25)
    assert (result.n_better, result.n_worse, result.n_pairs, result.n_users) == (2, 0, 4, 2)
    assert (result.p, result.macro_p, result.mcnemar_p) == (1.0, 1.0, 0.5)


def test_exchanging_the_methods_turns_the_comparison_around() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.integers(0, 2, 90) / 1.0, rng.integers(0, 2, 90) / 1.0
    users = [str(n % 30) for n in range(90)]
    forward, backward = compare(a, b, users), compare(b, a, users)
    assert (forward.difference, forward.p) == (-backward.difference, backward.p)
    assert (forward.low, forward.macro_low) == pytest.approx((-backward.high, -backward.macro_high))


def test_a_method_compared_with_itself_shows_nothing() -> None:
    correct = np.array([1.0, 0.0, 0.5])
    result = compare(correct, correct, list("abc"))
    assert (result.difference, result.low, result.high, result.p, result.mcnemar_p) == (0.0, 0.0, 0.0, 1.0, 1.0)


def test_one_talkative_user_convinces_mcnemar_but_not_the_sign_flip() -> None:
    result = compare(np.ones(20), np.zeros(20), ["a"] * 20)
    assert result.p == 1.0
    assert result.mcnemar_p < 1e-5
    assert "McNemar p = 1.91e-06 (ignores clustering)" in result.line()


def test_margins_in_place_of_correctness_are_refused() -> None:
    with pytest.raises(BadInput, match="correct_b holds values outside"):
        compare(np.array([1.0]), np.array([-2.0]), ["a"])
    with pytest.raises(BadInput, match="correct_a"):
        compare(np.array([np.nan]), np.array([1.0]), ["a"])


def test_methods_scored_on_different_pairs_cannot_be_compared() -> None:
    with pytest.raises(BadInput, match="same pairs"):
        compare(np.ones(2), np.ones(3), list("ab"))
    with pytest.raises(NoScoredPairs):
        compare(np.array([]), np.array([]), [])


def test_holm_golden_case() -> None:
    # By hand, m = 4: 4 x 0.005, 3 x 0.01, 2 x 0.03, 1 x 0.04 raised to 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_holm_stays_in_bounds_and_takes_an_empty_table() -> None:
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()
    with pytest.raises(BadInput, match="a p-value lies in"):
        holm([0.1, float("nan")])
