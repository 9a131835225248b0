import numpy as np
import pytest
from benchmarks.simulations.active import Growth, Pool, grow
from benchmarks.simulations.changing import ShareFound, count_found, priors_of

from personalrm.bench.methods.embedded import EmbeddedMethod, Engine, personal_method
from personalrm.datasets.targets import hold_out
from personalrm.errors import BadInput
from personalrm.preferences.people import example_users
from personalrm.stylometry.feature_words import FEATURES
from personalrm.stylometry.observations import observe
from personalrm.stylometry.population import Prior
from personalrm.stylometry.weights import fit_weights
from personalrm.testing import tiny_users

N = len(FEATURES)


def pools(n_users=3, n_pairs=8):
    rng = np.random.default_rng(0)
    prior = Prior(np.ones(N), np.zeros(N), np.ones(N))
    wants = rng.normal(size=(n_users, N))
    rows = rng.normal(size=(n_users, n_pairs + 20, N))
    rows *= np.sign((rows * wants[:, None]).sum(axis=2, keepdims=True))
    return [Pool(f"u{k}", one[:n_pairs], one[n_pairs:], prior) for k, one in enumerate(rows)]


def test_both_strategies_begin_and_end_at_the_same_weights():
    growth = grow(pools(), 8)
    assert growth.active.shape == growth.random.shape == (3, 9)
    assert growth.active[:, 0] == pytest.approx(growth.random[:, 0])
    assert growth.active[:, 8] == pytest.approx(growth.random[:, 8])


def test_the_answers_are_never_seen_before_they_are_asked():
    """A pool turned round has other answers but the same questions, so the same pair is asked first."""
    turned = [Pool(one.user_id, -one.pool, -one.targets, one.prior) for one in pools()]
    assert grow(pools(), 1).active[:, 1] == pytest.approx(grow(turned, 1).active[:, 1])


def test_users_with_a_small_pool_are_left_out_and_nobody_left_is_an_error():
    assert len(grow([*pools(2, 8), *pools(1, 3)], 5).active) == 2
    with pytest.raises(BadInput, match="pool of 9"):
        grow(pools(), 9)


def test_answers_needed_are_read_off_the_curve():
    growth = Growth(np.arange(4), np.array([[0.5, 0.7, 0.9, 0.9]]), np.array([[0.5, 0.5, 0.6, 0.8]]))
    assert growth.answers_needed(3)[0] == pytest.approx(1.5)
    assert growth.answers_needed(0)[0] == 0.0
    assert growth.difference(3)[0] == pytest.approx(0.1)


def test_a_level_that_is_never_reached_needs_all_answers():
    growth = Growth(np.arange(3), np.full((2, 3), 0.5), np.full((2, 3), 0.9))
    assert growth.answers_needed(2)[0] == 2.0


def margins(method, held_out):
    method.learn(held_out, {})
    known = {one.user_id: one for one in method.know(list(held_out.context.values()))}
    judged = method.judge([(known[pair.user_id], pair) for pair in held_out.targets])
    return {pair.id: one.margin for pair, one in zip(held_out.targets, judged, strict=True)}


def test_following_a_change_moves_the_margins_of_who_changed_and_of_nobody_else():
    """Nadia's ten context choices hold seven of the old taste and three of the new one, which her targets follow."""
    held_out = hold_out(example_users(), min_pairs=3)
    engine = Engine()

    def weigh(known, priors):
        return np.array([weights.mean for weights in fit_weights([who.value for who in known], priors)])

    unchanging = EmbeddedMethod(engine, lambda users: [observe(user.pairs) for user in users], weigh)
    followed, constant = margins(personal_method(engine), held_out), margins(unchanging, held_out)
    moved = {pair_id for pair_id in followed if followed[pair_id] != constant[pair_id]}
    assert moved == {"nadia-p11", "nadia-p12", "nadia-p13", "nadia-p14"}
    assert all(followed[pair_id] > 0 > constant[pair_id] for pair_id in moved)


def test_of_tiny_constant_users_none_is_found():
    users = tiny_users(6, 8)
    found = count_found(users, priors_of(users))
    assert (found.n_timelines, found.n_found) == (6, 0)


def test_users_too_short_to_be_looked_at_are_an_error_not_a_zero():
    users = tiny_users(6, 3)
    with pytest.raises(BadInput, match="6 conversations"):
        count_found(users, priors_of(users))


def test_a_share_found_has_an_interval():
    interval = ShareFound(100, 0, 0).interval
    assert (interval.low, interval.high) == pytest.approx((0.0, 0.037), abs=1e-3)
