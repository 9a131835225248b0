from dataclasses import replace

import numpy as np
import pytest

from personalrm.errors import BadInput
from personalrm.stats.bradley_terry import ChoiceProblem, fit_map, make_batch
from personalrm.stylometry.feature_words import NAMES
from personalrm.stylometry.observations import Choices, observe
from personalrm.stylometry.population import LEAVE_ONE_OUT, RIDGE, estimate_population
from personalrm.stylometry.weights import fit_weights, probability
from personalrm.testing import tiny_pair, tiny_users

D = len(NAMES)


def simulated(n_users=12, n_choices=8, spread=0.7, seed=0, center=0.5):
    rng = np.random.default_rng(seed)
    users = {}
    for number in range(n_users):
        x = rng.normal(size=(n_choices, D))
        w = center + spread * rng.normal(size=D)
        sign = np.where(rng.random(n_choices) < probability(x @ w), 1.0, -1.0)
        users[f"u{number}"] = Choices(x * sign[:, None], np.arange(n_choices), tuple(f"p{k}" for k in range(n_choices)))
    return users


@pytest.mark.parametrize("n_users", [12, LEAVE_ONE_OUT + 12])
def test_the_prior_of_a_user_does_not_depend_on_their_own_choices(n_users):
    users = simulated(n_users)
    turned = users | {"u3": replace(users["u3"], differences=-users["u3"].differences)}
    before, after = (estimate_population(group).prior_for("u3") for group in (users, turned))
    assert np.allclose(before.mean, after.mean, atol=1e-6)
    assert np.allclose(before.variance, after.variance, atol=1e-9)


def test_the_mean_without_a_user_is_the_ridge_fit_to_the_others():
    users = simulated()
    population = estimate_population(users)
    others = [choices.differences / population.scale for user, choices in users.items() if user != "u5"]
    rows = ChoiceProblem(np.vstack(others), np.arange(sum(map(len, others))))
    expected = fit_map(make_batch([rows]), np.zeros(D), np.full(D, RIDGE)).mode[0]
    assert np.allclose(population.prior_for("u5").mean, expected, atol=1e-6)


def test_a_stranger_gets_the_prior_of_everybody():
    population = estimate_population(simulated())
    assert np.array_equal(population.prior_for("nobody").mean, population.mean)


@pytest.mark.slow
@pytest.mark.parametrize(("spread", "low", "high"), [(0.0, 0.0, 0.05), (1.0, 0.5, 2.0)])
def test_the_spread_of_users_is_found_again(spread, low, high):
    population = estimate_population(simulated(300, 25, spread, center=0.0))
    assert low <= population.variance.mean() <= high


def test_pairs_of_one_choice_are_one_observation():
    pairs = [tiny_pair(number=0), replace(tiny_pair(number=0), rejected="Another one.")]
    assert observe(pairs).n_choices == 1


def test_a_user_without_choices_keeps_the_prior():
    prior = estimate_population(simulated()).prior_for("u0")
    (weights,) = fit_weights([observe([])], [prior])
    assert np.allclose(weights.mean, prior.mean)
    assert np.allclose(weights.sd**2, prior.variance)


def test_one_user_makes_no_population():
    with pytest.raises(BadInput, match="two users"):
        estimate_population({"u0": observe(tiny_users(1)[0].pairs)})
