import numpy as np
import pytest
from benchmarks.simulations.changing import count_found, priors_of, shuffled
from benchmarks.simulations.planted import plant_single_tastes

from personalrm.preferences.people import example_users
from personalrm.preferences.splits import in_time_order
from personalrm.preferences.users import User
from personalrm.stats.bradley_terry import ChoiceProblem, fit_map, make_batch
from personalrm.stylometry.drift import LEAST_SIDE, find_turn, fit_present, log_evidence, write_present
from personalrm.stylometry.observations import Choices, observe, observe_in_time
from personalrm.stylometry.population import Prior
from personalrm.stylometry.sentences import Leaning, read_claim
from personalrm.stylometry.shipped import shipped_prior
from personalrm.stylometry.weights import fit_weights
from personalrm.testing import tiny_pair


def present_of(pairs, prior=None):
    timeline = observe_in_time(pairs)
    return fit_present([observe(pairs)], [timeline], [prior or shipped_prior()])[0], timeline


def turning_pairs(n_before=8, n_since=8):
    return [tiny_pair("u", k, likes_long=k < n_before) for k in range(n_before + n_since)]


def example(name):
    return next(user for user in example_users() if user.user_id == name)


def test_of_the_example_people_only_nadia_is_found_and_at_her_eighth_choice():
    users = example_users()
    priors = priors_of(users)
    timelines = [observe_in_time(user.pairs) for user in users]
    weights = fit_weights([timeline.choices for timeline in timelines], [priors[user.user_id] for user in users])
    turns = dict(zip([user.user_id for user in users], map(find_turn, timelines, weights), strict=True))
    found = {name: turn.first + 1 for name, turn in turns.items() if turn is not None}
    assert found == {"nadia": 8}


def test_she_is_found_by_the_shipped_prior_too():
    assert present_of(example("nadia").pairs)[0].turn.first == 7


def test_the_later_choices_decide_what_changed_and_all_choices_decide_the_rest():
    pairs = example("nadia").pairs
    present, timeline = present_of(pairs)
    prior, length = shipped_prior(), 0
    alone = fit_weights([timeline.halves(present.turn.first)[1]], [prior])[0]
    together = fit_weights([observe(pairs)], [prior])[0]
    assert present.turn.changed[0] == length
    assert present.weights.mean[length] < together.mean[length] - 0.1
    assert present.before[0] > prior.mean[length]
    assert present.weights.sd[length] <= np.sqrt(prior.variance[length])
    assert alone.mean[length] < 0


def test_the_persona_says_since_when_and_what_was_before():
    persona, drift = write_present(*present_of(example("nadia").pairs))
    assert persona.claims[0].text == (
        "Since about pair 8 prefers clearly shorter answers than most people: 7 of 7 pairs; before that, longer "
        "answers: 7 of 7."
    )
    assert (drift.pair_id, drift.pair_number, drift.n_pairs) == ("nadia-p08", 8, 14)
    assert drift.before == tuple(f"nadia-p{k:02d}" for k in range(1, 8))
    assert persona.claims[0].supporting == drift.since == tuple(f"nadia-p{k:02d}" for k in range(8, 15))


def test_the_sentence_reads_back_as_the_present_taste_only():
    text = "Since about pair 8 prefers far shorter answers than most people: 7 of 7 pairs; before that, longer answers."
    assert read_claim(text) == [Leaning("length", -0.7)]


def test_without_a_change_the_weights_are_the_same_to_the_last_bit():
    pairs = example("mara").pairs
    assert np.array_equal(present_of(pairs)[0].weights.mean, fit_weights([observe(pairs)], [shipped_prior()])[0].mean)


def test_the_order_of_the_rows_does_not_matter_where_times_are_known():
    pairs = example("nadia").pairs
    assert present_of(pairs[::-1])[0].turn.first == present_of(pairs)[0].turn.first


def test_a_change_is_never_looked_for_in_fewer_than_three_conversations_on_either_side():
    n = LEAST_SIDE
    assert present_of(turning_pairs(n - 1, n))[0].turn is None
    assert present_of(turning_pairs(2, 12))[0].turn is None or present_of(turning_pairs(2, 12))[0].turn.first >= n


def test_choices_of_one_conversation_are_never_torn_apart():
    pairs = [tiny_pair("u", k, likes_long=k < 8, conversation_id="one") for k in range(16)]
    assert present_of(pairs)[0].turn is None


def test_a_clear_turn_of_tiny_pairs_is_found():
    assert present_of(turning_pairs())[0].turn.first == 8


def test_where_people_do_not_differ_nobody_changes():
    same = Prior(shipped_prior().scale, shipped_prior().mean, np.full_like(shipped_prior().mean, 1e-4))
    assert present_of(turning_pairs(), same)[0].turn is None


@pytest.mark.parametrize("pairs", [[tiny_pair("u", 0)], [tiny_pair("u", k) for k in range(40)]])
def test_constant_users_short_or_long_are_not_found(pairs):
    assert present_of(pairs)[0].turn is None


def test_a_user_without_choices_keeps_the_prior():
    present, timeline = present_of([])
    assert (present.turn, timeline.n_conversations) == (None, 0)


def test_one_wild_difference_neither_overflows_nor_looks_like_a_change():
    pairs = [tiny_pair("u", k) for k in range(12)]
    wild = observe_in_time([*pairs, tiny_pair("u", 12)])
    wild.choices.differences[3] *= 1e6
    weights = fit_weights([wild.choices], [shipped_prior()])
    assert find_turn(wild, weights[0]) is None


def test_the_evidence_of_no_choices_is_one_and_agrees_with_a_quadrature_in_one_dimension():
    prior = Prior(np.ones(1), np.zeros(1), np.array([0.5]))
    x = np.array([[1.0], [0.5], [-0.3]])
    found = log_evidence([Choices(x, np.arange(3))], prior)[0]
    w = np.linspace(-8, 8, 20_001)
    density = np.exp(-(w**2)) / np.sqrt(np.pi) * np.prod(1 / (1 + np.exp(-x * w)), axis=0)
    assert found == pytest.approx(np.log(np.trapezoid(density, w)), abs=0.02)


def test_the_fit_with_a_past_weight_is_the_fit_of_both_halves_where_everything_changed():
    pairs = turning_pairs()
    present, timeline = present_of(pairs)
    prior, turn = shipped_prior(), present.turn
    before, since = timeline.halves(turn.first)
    x = np.vstack([since.differences, before.differences]) / prior.scale
    wide = np.zeros((len(x), 2 * x.shape[1]))
    wide[: len(since.groups), : x.shape[1]] = x[: len(since.groups)]
    wide[len(since.groups) :, x.shape[1] :] = x[len(since.groups) :]
    both = fit_map(
        make_batch([ChoiceProblem(wide, np.arange(len(x)))]), np.tile(prior.mean, 2), np.tile(1 / prior.variance, 2)
    )
    alone = fit_weights([since], [prior])[0]
    assert np.allclose(both.mode[0][: x.shape[1]], alone.mean, atol=1e-6)


@pytest.mark.slow
def test_constant_users_are_rarely_found_and_turning_ones_often_with_sixty_pairs():
    constant = [planted.user for planted in plant_single_tastes(100, 60)]
    turning = [planted.user for planted in plant_single_tastes(100, 60, turns=True)]
    priors = priors_of(constant)
    false, true = count_found(constant, priors), count_found(turning, priors, turn=30)
    assert false.n_found <= 3
    assert true.n_found >= 25
    assert true.n_near >= true.n_found / 2


def test_shuffling_keeps_conversations_whole_and_forgets_times():
    user = User("nadia", example("nadia").pairs)
    moved = next(shuffled([user], 1))
    assert {pair.hash for pair in moved.pairs} == {pair.hash for pair in user.pairs}
    assert len(in_time_order(moved.pairs)) == len(in_time_order(user.pairs))
    assert all(pair.timestamp is None for pair in moved.pairs)
