import numpy as np
import pytest

from personalrm.errors import BadInput, NoScoredPairs
from personalrm.stats.calibration import calibration, length_strata

NAN = float("nan")


def test_certain_and_right_is_perfect_and_certain_and_wrong_is_worst() -> None:
    right, wrong = calibration(np.ones(4)), calibration(np.zeros(4))
    assert (right.brier, right.ece) == (0.0, 0.0)
    assert (wrong.brier, wrong.ece) == (1.0, 1.0)


def test_always_one_half_is_calibrated_and_useless() -> None:
    result = calibration(np.full(5, 0.5))
    assert (result.brier, result.ece) == (0.25, 0.0)


@pytest.mark.slow
def test_brier_agrees_with_scikit_learn_under_any_labeling() -> None:
    from sklearn.metrics import brier_score_loss

    rng = np.random.default_rng(0)
    chosen, first = rng.random(50), rng.integers(0, 2, 50)
    theirs = brier_score_loss(first, np.where(first == 1, chosen, 1.0 - chosen))
    assert calibration(chosen).brier == pytest.approx(theirs)


def test_ece_by_hand() -> None:
    # Bin [0.8, 0.85): confidence 0.82, accuracy 2/3. Bin [0.6, 0.65): confidence 0.6, accuracy 1.
    result = calibration(np.array([0.82, 0.82, 0.18, 0.6]))
    assert result.ece == pytest.approx((3 * abs(2 / 3 - 0.82) + 0.4) / 4)
    assert [b.n_pairs for b in result.bins] == [0, 0, 1, 0, 0, 0, 3, 0, 0, 0]
    assert np.isnan(result.bins[0].accuracy)


def test_a_judge_that_is_right_as_often_as_it_says_has_a_small_error() -> None:
    rng = np.random.default_rng(1)
    confidence = rng.uniform(0.5, 1.0, 20_000)
    chosen = np.where(rng.random(20_000) < confidence, confidence, 1.0 - confidence)
    assert calibration(chosen).ece < 0.02


def test_unscored_pairs_are_counted_and_left_out_of_calibration() -> None:
    result = calibration(np.array([NAN, 1.0]))
    assert (result.brier, result.n_pairs, result.n_unscored) == (0.0, 1, 1)
    with pytest.raises(NoScoredPairs):
        calibration(np.array([NAN]))


def test_margins_are_not_probabilities() -> None:
    with pytest.raises(BadInput, match="not margins"):
        calibration(np.array([1.2]))
    with pytest.raises(BadInput, match="n_bins"):
        calibration(np.array([0.2]), n_bins=0)


def test_a_judge_that_counts_characters_is_right_only_where_longer_was_chosen() -> None:
    chosen, rejected = np.array([9.0, 8.0, 1.0, 5.0]), np.array([1.0, 2.0, 7.0, 5.0])
    strata = length_strata(chosen - rejected, chosen, rejected)
    assert (strata.longer.accuracy, strata.shorter.accuracy, strata.equal.accuracy) == (1.0, 0.0, 0.5)
    assert (strata.longer.n_pairs, strata.shorter.n_pairs, strata.equal.n_pairs) == (2, 1, 1)


def test_an_empty_stratum_has_no_accuracy() -> None:
    strata = length_strata(np.array([1.0, NAN]), np.array([2.0, 2.0]), np.array([1.0, 1.0]))
    assert (strata.longer.accuracy, strata.longer.n_unscored) == (0.75, 1)
    assert np.isnan(strata.shorter.accuracy)


def test_strata_of_nothing_are_an_error() -> None:
    with pytest.raises(NoScoredPairs):
        length_strata(np.array([NAN]), np.array([1.0]), np.array([2.0]))
    with pytest.raises(BadInput, match="two lengths"):
        length_strata(np.array([1.0]), np.array([1.0, 2.0]), np.array([2.0, 2.0]))
