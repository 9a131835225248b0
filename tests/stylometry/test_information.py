from itertools import pairwise

import numpy as np
import pytest

from personalrm.stylometry.feature_words import FEATURES, INDEX
from personalrm.stylometry.information import choose_informative, expected_information
from personalrm.stylometry.population import Prior
from personalrm.stylometry.weights import Weights

N = len(FEATURES)


def weights(variance=1.0, mean=0.0):
    prior = Prior(np.ones(N), np.zeros(N), np.full(N, 1.0))
    return Weights(prior, np.full(N, mean), np.eye(N) * variance, 5)


def about(**features):
    row = np.zeros(N)
    for name, value in features.items():
        row[INDEX[name]] = value
    return row


def test_the_information_is_that_of_a_simulated_posterior():
    t = np.random.default_rng(0).normal(0.3, 1.5, 400_000)
    p = 1 / (1 + np.exp(-t))

    def entropy(q):
        return -(q * np.log2(q) + (1 - q) * np.log2(1 - q))

    expected = entropy(p.mean()) - entropy(p).mean()
    assert expected_information(np.array([0.3]), np.array([1.5**2]))[0] == pytest.approx(expected, abs=1e-3)


def test_nothing_is_learned_from_a_known_margin_or_a_sure_answer():
    assert expected_information(np.array([0.4, 60.0]), np.array([0.0, 1.0])) == pytest.approx([0.0, 0.0], abs=1e-9)


@pytest.mark.parametrize("margin", [0.0, 1.0, 800.0, -800.0])
@pytest.mark.parametrize("variance", [0.0, 1e-12, 1.0, 1e6])
def test_information_is_a_number_of_bits_between_nothing_and_one(margin, variance):
    assert 0.0 <= expected_information(np.array([margin]), np.array([variance]))[0] <= 1.0


def test_the_pair_with_the_least_known_margin_comes_first_and_says_why():
    rows = np.array([about(length=0.1), about(length=2.0, lists=1.5), about(emoji=1.0)])
    first = choose_informative(weights(), rows, 1)[0]
    assert (first.place, first.features, first.chance) == (1, ("length", "lists"), pytest.approx(0.5))


def test_a_second_pair_about_the_same_thing_gives_way_to_another_thing():
    rows = np.array([about(length=2.0), about(length=1.9), about(lists=1.5)])
    assert [pair.place for pair in choose_informative(weights(), rows, 3)] == [0, 2, 1]


def test_information_falls_as_pairs_are_chosen_and_none_comes_twice():
    rows = np.random.default_rng(1).normal(size=(12, N))
    chosen = choose_informative(weights(), rows, 50)
    assert sorted(pair.place for pair in chosen) == list(range(12))
    assert all(later.bits <= earlier.bits + 1e-9 for earlier, later in pairwise(chosen))


def test_alike_completions_tell_nothing_and_no_candidates_give_no_question():
    alike = choose_informative(weights(), np.zeros((1, N)), 1)[0]
    assert (alike.bits, alike.features) == (pytest.approx(0.0, abs=1e-12), ())
    assert choose_informative(weights(), np.zeros((0, N)), 3) == []
