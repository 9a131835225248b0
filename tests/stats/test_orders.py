import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalrm.errors import BadInput
from personalrm.stats.accuracy import correctness
from personalrm.stats.orders import combine_orders

NAN = float("nan")
probability = st.one_of(st.just(NAN), st.floats(0.0, 1.0))


def test_both_orders_are_averaged() -> None:
    outcome = combine_orders(np.array([0.9, 0.6]), np.array([0.3, 0.8]))
    assert outcome.margins == pytest.approx([0.3, -0.1])
    assert outcome.probabilities == pytest.approx([0.8, 0.4])


@pytest.mark.parametrize("first", [0.0, 0.1, 0.7, 1.0])
def test_a_judge_that_only_sees_the_position_ties_exactly(first: float) -> None:
    outcome = combine_orders(np.array([first]), np.array([first]))
    assert correctness(outcome.margins).tolist() == [0.5]
    assert (outcome.position_consistency, outcome.first_share) == (0.0, first)


def test_one_unscored_order_lets_the_other_decide_and_is_counted() -> None:
    outcome = combine_orders(np.array([NAN, 0.2, NAN]), np.array([0.1, NAN, NAN]))
    assert outcome.margins == pytest.approx([0.4, -0.3, NAN], nan_ok=True)
    assert (outcome.half_scored.tolist(), outcome.unscored.tolist()) == ([True, True, False], [False, False, True])
    assert (outcome.n_half_scored, outcome.n_unscored) == (2, 1)
    assert np.isnan(outcome.position_consistency)


def test_the_papers_accuracy_is_the_mean_over_single_orders() -> None:
    # Right in both orders, right in one only, wrong and unscored.
    outcome = combine_orders(np.array([0.9, 0.9, 0.1]), np.array([0.1, 0.6, NAN]))
    assert outcome.accuracy_orders == pytest.approx((2 + 1 + 0.5) / 6)
    assert correctness(outcome.margins).mean() == pytest.approx(2 / 3)


def test_nothing_scored_has_no_accuracy() -> None:
    assert np.isnan(combine_orders(np.array([NAN]), np.array([NAN])).accuracy_orders)


def test_a_tie_in_both_orders_is_consistent_and_in_one_is_not() -> None:
    assert combine_orders(np.array([0.5, 0.5]), np.array([0.5, 0.2])).position_consistency == 0.5


@given(st.lists(st.tuples(probability, probability), min_size=1, max_size=8))
def test_exchanging_chosen_and_rejected_negates_the_margin(pairs: list[tuple[float, float]]) -> None:
    """What was read with the chosen first is then read with the chosen second."""
    p12, p21 = np.array(pairs).T
    forward, backward = combine_orders(p12, p21), combine_orders(p21, p12)
    assert np.array_equal(forward.margins, -backward.margins, equal_nan=True)
    assert forward.position_consistency == pytest.approx(backward.position_consistency, nan_ok=True)
    assert np.array_equal(forward.half_scored, backward.half_scored)


def test_values_that_are_no_probabilities_are_refused() -> None:
    with pytest.raises(BadInput, match="chosen_second holds values outside"):
        combine_orders(np.array([0.5]), np.array([1.5]))
    with pytest.raises(BadInput, match="same pairs"):
        combine_orders(np.array([0.5]), np.array([0.5, 0.5]))
