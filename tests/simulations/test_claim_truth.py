from __future__ import annotations

import os

import numpy as np
import pytest
from benchmarks.simulations.claim_truth import MadeClaim, make_claims, measure_truth
from benchmarks.simulations.planted import plant_users

from personalrm.datasets.targets import HeldOut, hold_out
from personalrm.errors import NoScoredPairs
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.reading.files import read_pairs
from personalrm.stylometry.sentences import Leaning

DATA = os.environ.get("PERSONALRM_DATA")
SHORT, LONG = "Yes.", "Yes, and this is the longer one of the two."


def pair(user: str, number: int, *, is_short: bool) -> PreferencePair:
    texts = (SHORT, LONG) if is_short else (LONG, SHORT)
    return PreferencePair(user, (Message("user", f"Question {number}?"),), *texts)


def targets(**n_short_of: tuple[int, int]) -> HeldOut:
    pairs = [pair(user, k, is_short=k < s) for user, (s, n) in n_short_of.items() for k in range(n)]
    return HeldOut({}, tuple(pairs), (), ())


def claim(user: str, feature: str = "length", shift: float = -0.5, *, is_populations: bool = False) -> MadeClaim:
    return MadeClaim(user, Leaning(feature, shift), is_populations)


def test_shares_are_those_counted_by_hand():
    truth = measure_truth(targets(a=(4, 4), b=(1, 4), c=(0, 2)), [claim("a")], n_permutations=200)
    row = truth.features[0]
    assert (row.own, row.others, row.difference) == (1.0, (0.25 + 0.0) / 2, 1.0 - 0.125)
    assert (row.n_claims, row.n_users, row.n_pairs) == (1, 1, 4)


def test_an_opposite_claim_has_the_opposite_shares():
    held_out = targets(a=(3, 4), b=(1, 4), c=(0, 2))
    row = measure_truth(held_out, [claim("a")], n_permutations=50).features[0]
    opposite = measure_truth(held_out, [claim("a", shift=0.5)], n_permutations=50).features[0]
    assert (opposite.own, opposite.others) == (pytest.approx(1 - row.own), pytest.approx(1 - row.others))


def test_a_pair_without_a_difference_counts_half():
    row = measure_truth(targets(a=(2, 4), b=(1, 4)), [claim("a", "emoji", 0.5)], n_permutations=50).features[0]
    assert (row.own, row.others) == (0.5, 0.5)


def test_claims_with_the_populations_sign_are_counted_apart():
    held_out = targets(a=(4, 4), b=(1, 4), c=(0, 2))
    truth = measure_truth(held_out, [claim("a", is_populations=True), claim("b")], n_permutations=50)
    assert truth.with_population is not None and truth.against_population is not None
    assert (truth.with_population.n_claims, truth.against_population.n_claims) == (1, 1)


def test_no_claim_is_no_row_and_no_share_of_zero():
    truth = measure_truth(targets(a=(4, 4), b=(1, 4)), [], n_permutations=50)
    assert (truth.rows, truth.pooled, truth.n_users_with_claim, truth.n_users) == ((), None, 0, 2)


def test_one_user_has_nobody_to_be_held_against():
    with pytest.raises(NoScoredPairs, match="1 users have target pairs"):
        measure_truth(targets(a=(4, 4)), [claim("a")])


def test_claims_about_users_without_targets_are_left_out():
    truth = measure_truth(targets(a=(4, 4), b=(1, 4)), [claim("nobody")], n_permutations=50)
    assert truth.pooled is None


@pytest.mark.slow
def test_random_claims_are_rejected_as_often_as_the_level_says():
    rng = np.random.default_rng(0)
    names = [f"u{k}" for k in range(20)]
    rejected = 0
    for seed in range(60):
        held_out = targets(**{name: (int(rng.integers(0, 7)), 6) for name in names})
        claims = [claim(name, shift=float(rng.choice([-0.5, 0.5]))) for name in names]
        pooled = measure_truth(held_out, claims, n_permutations=99, seed=seed).pooled
        rejected += pooled is not None and pooled.p <= 0.1
    assert rejected <= 13  # P(more than 13 of 60 at level 0.1) is below 0.3 %


def test_true_claims_are_found_out():
    names = [f"u{k}" for k in range(20)]
    held_out = targets(**{name: (5 if k % 2 else 1, 6) for k, name in enumerate(names)})
    claims = [claim(name, shift=-0.5 if k % 2 else 0.5) for k, name in enumerate(names)]
    pooled = measure_truth(held_out, claims, n_permutations=999).pooled
    assert pooled is not None and (pooled.p, pooled.interval.low > 0.2) == (0.001, True)


@pytest.mark.slow
def test_claims_about_planted_tastes_hold_more_often_on_their_own_users_pairs():
    held_out = hold_out([one.user for one in plant_users(60, 40, seed=3)])
    truth = measure_truth(held_out, make_claims(held_out), n_permutations=499)
    assert truth.pooled is not None and truth.pooled.p < 0.01
    assert all(0.0 <= row.adjusted_p <= 1.0 and row.adjusted_p >= row.p for row in truth.features)


def test_the_leading_leaning_is_one_a_user_and_the_first_of_all():
    held_out = hold_out([one.user for one in plant_users(12, 20, seed=1)])
    leading = make_claims(held_out, most_doubt=1.0, leading_only=True)
    everything = make_claims(held_out, most_doubt=1.0)
    assert len({one.user_id for one in leading}) == len(leading) == 12
    assert set(leading) <= set(everything)


@pytest.mark.slow
@pytest.mark.skipif(DATA is None, reason="PERSONALRM_DATA is not set; it names the folder with the real preferences")
def test_on_prism_hardly_a_claim_is_made_at_the_default_doubt_and_one_leading_leaning_a_user():
    held_out = hold_out(read_pairs(f"{DATA}/prism_turn0_subset.jsonl.gz").values())
    leading = make_claims(held_out, most_doubt=1.0, leading_only=True)
    truth = measure_truth(held_out, leading, n_permutations=10)
    assert (truth.n_users, truth.n_users_with_claim, len(make_claims(held_out))) == (237, 237, 1)
