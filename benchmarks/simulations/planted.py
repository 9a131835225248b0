"""Planted tastes: users whose weights are known, to measure how true a persona's claims are.

Completions of the shipped example people are shown in random couples to users whose
weights are drawn: half of them zero, the others N(0, 1) on standardized features. A
claim is true when the user's weight minus the mean weight has its sign and is not zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.preferences.messages import Conversation
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.people import example_users
from personalrm.preferences.users import User
from personalrm.stats.arrays import FloatArray
from personalrm.stats.bootstrap import Interval, cluster, clustered_mean
from personalrm.stylometry.feature_words import INDEX
from personalrm.stylometry.features import difference
from personalrm.stylometry.sentences import read_claim
from personalrm.stylometry.weights import probability

SHARE_OF_ZEROS = 0.5
STRONG = 2.0
"""Weight of a single taste, of a standardized feature: a completion one deviation ahead wins 88 % of the time."""


@dataclass(frozen=True, repr=False)
class PlantedUser:
    """A simulated user and what they really want."""

    user: User
    weights: FloatArray
    """Shape `(features,)`, of standardized features; 0 where they do not care."""


@dataclass(frozen=True)
class ClaimScore:
    """How true the claims of many personas are."""

    n_users: int
    n_claims: int
    precision: float
    """Share of claims that are true."""
    interval: Interval
    """95 % interval of `precision`, users resampled."""
    recall: float
    """Share of all nonzero weights that are claimed with the right sign."""


def plant_users(n_users: int, n_pairs: int, *, seed: int = 0) -> list[PlantedUser]:
    """Users with known weights and the choices those weights lead to.

    Args:
        n_users: How many users.
        n_pairs: Choices of each.
        seed: Seed of weights, couples and choices.
    """
    rng = np.random.default_rng(seed)
    texts = _completions()
    spread = _spread(texts)
    planted = []
    for number in range(n_users):
        wants = np.where(rng.random(len(spread)) < SHARE_OF_ZEROS, 0.0, rng.normal(size=len(spread)))
        wants = np.where(spread > 0, wants, 0.0)
        scaled = wants / np.where(spread > 0, spread, 1.0)
        pairs = tuple(_choose(f"planted{number}", k, texts, scaled, rng) for k in range(n_pairs))
        planted.append(PlantedUser(User(f"planted{number}", pairs), wants))
    return planted


def plant_single_tastes(n_users: int, n_pairs: int, *, seed: int = 0, turns: bool = False) -> list[PlantedUser]:
    """Users who care for a single feature, drawn at random, and for nothing else.

    Args:
        n_users: How many users.
        n_pairs: Choices of each.
        seed: Seed of features, couples and choices.
        turns: Whether everybody wants the opposite from the second half of their choices on.
    """
    rng = np.random.default_rng([seed, 1])
    texts = _completions()
    spread = _spread(texts)
    cared_for = np.flatnonzero(spread > 0)
    planted = []
    for number in range(n_users):
        wants = np.zeros(len(spread))
        wants[rng.choice(cared_for)] = STRONG * rng.choice([-1.0, 1.0])
        scaled = wants / np.where(spread > 0, spread, 1.0)
        signs = [-1.0 if turns and k < n_pairs // 2 else 1.0 for k in range(n_pairs)]
        pairs = tuple(_choose(f"single{number}", k, texts, sign * scaled, rng) for k, sign in enumerate(signs))
        planted.append(PlantedUser(User(f"single{number}", pairs), wants))
    return planted


def score_claims(planted: Sequence[PlantedUser]) -> ClaimScore:
    """Fit everybody with the embedded engine and hold their personas against what was planted."""
    users = [one.user for one in planted]
    prompts = EmbeddedFit.learned_from(users).fit(users)
    true: list[float] = []
    owners: list[str] = []
    for one, prompt in zip(planted, prompts, strict=True):
        for leaning in (leaning for claim in prompt.persona.claims for leaning in read_claim(claim.text)):
            true.append(float(one.weights[INDEX[leaning.feature]] * leaning.shift > 0))
            owners.append(one.user.user_id)
    mean = clustered_mean(cluster(np.array(true), owners))
    n_wanted = sum(int((one.weights != 0).sum()) for one in planted)
    return ClaimScore(len(planted), len(true), mean.micro, mean.micro_interval, sum(true) / n_wanted)


def _completions() -> list[tuple[Conversation, str]]:
    pairs = [pair for user in example_users() for pair in user]
    return [(pair.conversation, text) for pair in pairs for text in (pair.chosen, pair.rejected)]


def _spread(texts: Sequence[tuple[Conversation, str]]) -> FloatArray:
    """Standard deviation of each feature over the completions, shape `(features,)`."""
    conversation, reference = texts[0]
    return np.asarray(np.std([difference(conversation, text, reference) for _, text in texts], axis=0))


def _choose(
    user_id: str, number: int, texts: Sequence[tuple[Conversation, str]], weights: FloatArray, rng: np.random.Generator
) -> PreferencePair:
    """One choice between two random completions, by the Bradley-Terry rule."""
    while True:
        one, other = (texts[place] for place in rng.choice(len(texts), 2, replace=False))
        if one[1] != other[1]:
            break
    likes_one = rng.random() < probability(difference(one[0], one[1], other[1]) @ weights)
    chosen, rejected = (one[1], other[1]) if likes_one else (other[1], one[1])
    return PreferencePair(
        user_id, one[0], chosen, rejected, pair_id=f"{user_id}-p{number}", conversation_id=str(number)
    )
