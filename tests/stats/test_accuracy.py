import numpy as np
import pytest

from personalrm.errors import BadInput, NoScoredPairs
from personalrm.stats.accuracy import (
    Accuracy,
    correctness,
    mean_correctness,
    pairwise_accuracy,
)

NAN = float("nan")


def test_ties_and_unscored_pairs_count_one_half() -> None:
    assert correctness(np.array([3.0, -0.1, 0.0, NAN, np.inf, -np.inf])).tolist() == [1.0, 0.0, 0.5, 0.5, 1.0, 0.0]


def test_reversing_every_choice_turns_accuracy_around() -> None:
    margins, users = np.array([1.0, -2.0, 0.0, NAN, 4.0]), list("aabbc")
    forward, backward = pairwise_accuracy(margins, users), pairwise_accuracy(-margins, users)
    assert forward.accuracy == 1.0 - backward.accuracy
    assert forward.accuracy_scored == pytest.approx(1.0 - backward.accuracy_scored)
    assert forward.low == pytest.approx(1.0 - backward.high)


def test_unscored_pairs_are_left_out_of_accuracy_scored_and_counted() -> None:
    result = pairwise_accuracy(np.array([1.0, 1.0, 0.0, NAN]), list("aabb"))
    assert (result.accuracy, result.accuracy_scored) == pytest.approx((0.75, 2.5 / 3))
    assert (result.n_pairs, result.n_users, result.n_unscored, result.n_ties, result.n_half_scored) == (4, 2, 1, 1, 0)


def test_macro_gives_every_user_the_same_weight() -> None:
    result = pairwise_accuracy(np.array([1.0, 1.0, 1.0, -1.0]), list("aaab"))
    assert (result.accuracy, result.macro) == (0.75, 0.5)
    assert (result.macro_low, result.macro_high) == (0.0, 1.0)


@pytest.mark.parametrize("margins", [[], [NAN], [NAN, NAN]])
def test_nothing_scored_is_an_error_not_one_half(margins: list[float]) -> None:
    with pytest.raises(NoScoredPairs, match="so there is no accuracy to report"):
        pairwise_accuracy(np.array(margins), ["u"] * len(margins))


def test_every_margin_needs_an_owner() -> None:
    with pytest.raises(BadInput, match="2 user ids"):
        pairwise_accuracy(np.array([1.0]), ["a", "b"])


def test_the_line_says_everything_in_percent() -> None:
    result = Accuracy(0.691, 0.691, 0.65, 0.733, 0.687, 0.65, 0.72, 654, 237, 0, 0)
    assert str(result) == "69.1 % [65.0, 73.3], macro 68.7 %, 237 users, 654 pairs, 0 unscored"


def test_the_line_of_one_user_says_that_there_is_no_interval() -> None:
    line = pairwise_accuracy(np.array([1.0]), ["a"]).line()
    assert line == "100.0 % [no interval: one user], macro 100.0 %, 1 user, 1 pair, 0 unscored"


def test_mean_correctness_of_correctness_is_pairwise_accuracy() -> None:
    margins, users = np.array([1.0, -1.0, 0.0, 2.0]), list("abca")
    assert mean_correctness(correctness(margins), users) == pairwise_accuracy(margins, users)
