"""Whether what personas claim holds on choices they have not seen.

A claim of the embedded engine says that one feature of a user lies above or below what
most people choose. It holds on a target pair when the chosen completion has more (or
less) of the feature than the rejected one, and half holds where both have as much. How
often it holds on the user's own target pairs is set against other users' target pairs,
matched in number: if the two do not differ, the claim says nothing about this person.

The test permutes users: each claim is held against as many target pairs, drawn with
replacement, of the user whom a derangement names. Claims whose sign is the population's
hold on everybody's pairs and are counted apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.bench.methods.embedded import Engine
from personalrm.datasets.targets import HeldOut
from personalrm.errors import NoScoredPairs
from personalrm.preferences.pairs import PreferencePair
from personalrm.stats.arrays import FloatArray
from personalrm.stats.bootstrap import Interval, cluster, clustered_mean
from personalrm.stats.derangements import derangements
from personalrm.stats.paired import holm
from personalrm.stylometry.claims import MOST_DOUBT, find_leanings
from personalrm.stylometry.feature_words import INDEX
from personalrm.stylometry.features import difference
from personalrm.stylometry.sentences import Leaning

N_PERMUTATIONS = 10_000
LEAST_USERS = 2
"""With fewer users there is nobody else to hold a claim against."""


@dataclass(frozen=True)
class MadeClaim:
    """One claim about one user."""

    user_id: str
    leaning: Leaning
    is_populations: bool
    """Whether most people want the same side of the feature."""


@dataclass(frozen=True)
class TruthRow:
    """How often some claims hold."""

    name: str
    n_claims: int
    n_users: int
    """Users with such a claim."""
    n_pairs: int
    """Own target pairs the claims were held against, a pair once for each claim."""
    own: float
    """Share of own target pairs on which a claim holds, mean over claims."""
    others: float
    """The same on the target pairs of everybody else, each other user counting alike."""
    difference: float
    interval: Interval
    """95 % interval of the difference, users resampled."""
    p: float
    """One-sided user-level permutation test that the claims hold more often on their own user's pairs."""
    adjusted_p: float = float("nan")
    """Of a feature: after Holm's correction over the features."""


@dataclass(frozen=True)
class ClaimTruth:
    """All claims of a dataset."""

    n_users: int
    """Users with target pairs."""
    n_users_with_claim: int
    pooled: TruthRow | None
    """All claims; None when there are none, which is not a share of 0."""
    with_population: TruthRow | None
    """Claims with the population's sign."""
    against_population: TruthRow | None
    """Claims against the population's sign."""
    features: tuple[TruthRow, ...]
    """One row a claimed feature, Holm-corrected over these."""

    @property
    def rows(self) -> tuple[TruthRow, ...]:
        """Everything that was measured, the pooled rows first."""
        pooled = (self.pooled, self.with_population, self.against_population)
        return (*(row for row in pooled if row is not None), *self.features)


def make_claims(held_out: HeldOut, *, most_doubt: float = MOST_DOUBT, leading_only: bool = False) -> list[MadeClaim]:
    """The claims of every user with targets, from context pairs alone; the population is everybody else's context.

    Args:
        held_out: What `hold_out` returned.
        most_doubt: Largest doubt of a claim; 1 claims whatever the evidence leans to.
        leading_only: Only the least doubtful leaning of each user.
    """
    engine = Engine()
    engine.learn(held_out)
    users = list(held_out.context)
    priors = [engine.prior_for(user) for user in users]
    found = find_leanings([engine.choices[user] for user in users], priors, most_doubt=most_doubt)
    return [
        MadeClaim(user, leaning, bool(leaning.shift * prior.mean[INDEX[leaning.feature]] > 0))
        for user, prior, leanings in zip(users, priors, found, strict=True)
        for leaning in leanings[: 1 if leading_only else None]
    ]


def measure_truth(
    held_out: HeldOut,
    claims: Sequence[MadeClaim],
    *,
    n_permutations: int = N_PERMUTATIONS,
    seed: int = 0,
    keep: Callable[[str], bool] | None = None,
) -> ClaimTruth:
    """How often claims hold on the target pairs of their own user and of others.

    Args:
        held_out: Whose target pairs.
        claims: What `make_claims` returned.
        n_permutations: Derangements of the users for the test.
        seed: The same seed and data give the same numbers.
        keep: Which users to look at, such as one half; others are then nobody's "others" either.

    Raises:
        NoScoredPairs: If fewer than two users have target pairs.
    """
    targets = [pair for pair in held_out.targets if keep is None or keep(pair.user_id)]
    table = _Sides.of(targets)
    if len(table.users) < LEAST_USERS:
        raise NoScoredPairs(f"{len(table.users)} users have target pairs; claims need two to be held against others")
    kept = [claim for claim in claims if claim.user_id in table.places]

    def row(name: str, some: Sequence[MadeClaim]) -> TruthRow | None:
        return _row(name, some, table, n_permutations, seed) if some else None

    names = sorted({claim.leaning.feature for claim in kept})
    rows = [row(name, [claim for claim in kept if claim.leaning.feature == name]) for name in names]
    features = [one for one in rows if one is not None]
    adjusted = holm([one.p for one in features])
    return ClaimTruth(
        len(table.users),
        len({claim.user_id for claim in kept}),
        row("all claims", kept),
        row("with the population's sign", [claim for claim in kept if claim.is_populations]),
        row("against the population's sign", [claim for claim in kept if not claim.is_populations]),
        tuple(TruthRow(**{**vars(one), "adjusted_p": value}) for one, value in zip(features, adjusted, strict=True)),
    )


@dataclass(frozen=True, repr=False)
class _Sides:
    """For every user and feature the share of target pairs whose chosen completion has more of it, and less."""

    users: tuple[str, ...]
    n_pairs: FloatArray
    """Shape `(users,)`."""
    more: FloatArray
    """Shape `(users, features)`, a share."""
    less: FloatArray
    """Shape `(users, features)`, a share."""

    @classmethod
    def of(cls, targets: Sequence[PreferencePair]) -> _Sides:
        users = tuple(sorted({pair.user_id for pair in targets}))
        signs: dict[str, list[FloatArray]] = {user: [] for user in users}
        for pair in targets:
            signs[pair.user_id].append(np.sign(difference(pair.conversation, pair.chosen, pair.rejected)))
        stacked = [np.array(signs[user]) for user in users]
        return cls(
            users,
            np.array([float(len(rows)) for rows in stacked]),
            np.array([(rows > 0).mean(axis=0) for rows in stacked]),
            np.array([(rows < 0).mean(axis=0) for rows in stacked]),
        )

    @property
    def places(self) -> dict[str, int]:
        return {user: place for place, user in enumerate(self.users)}


def _row(name: str, claims: Sequence[MadeClaim], table: _Sides, n_permutations: int, seed: int) -> TruthRow:
    places = np.array([table.places[claim.user_id] for claim in claims])  # (claims,)
    holds, fails = _shares(claims, table)  # (claims, users)
    scores = 0.5 * (1.0 + holds - fails)
    own = scores[np.arange(len(claims)), places]
    others = (scores.sum(axis=1) - own) / (len(table.users) - 1)
    gap = clustered_mean(cluster(own - others, [claim.user_id for claim in claims]), seed=seed)
    drawn = _permuted(holds, fails, places, table, n_permutations, seed)
    n_extreme = 1 + int((drawn >= own.mean() - 1e-12).sum())
    return TruthRow(
        name,
        len(claims),
        gap.n_users,
        int(table.n_pairs[places].sum()),
        float(own.mean()),
        float(others.mean()),
        gap.micro,
        gap.micro_interval,
        n_extreme / (n_permutations + 1),
    )


def _shares(claims: Sequence[MadeClaim], table: _Sides) -> tuple[FloatArray, FloatArray]:
    """Share of each user's target pairs on which each claim holds, and on which it fails; both `(claims, users)`."""
    columns = [INDEX[claim.leaning.feature] for claim in claims]
    wants_more = np.array([claim.leaning.shift > 0 for claim in claims])[:, None]
    more, less = table.more[:, columns].T, table.less[:, columns].T
    return np.where(wants_more, more, less), np.where(wants_more, less, more)


def _permuted(
    holds: FloatArray, fails: FloatArray, places: FloatArray, table: _Sides, n_permutations: int, seed: int
) -> FloatArray:
    """Mean score of the claims on as many pairs of a deranged user, for each derangement; `(permutations,)`."""
    rng = np.random.default_rng([seed, 1])
    n = table.n_pairs[places].astype(np.int64)  # (claims,)
    rows = np.arange(len(places))
    means = np.empty(n_permutations)
    for number, order in enumerate(derangements(len(table.users), n_permutations, seed=seed)):
        whom = order[places]
        p_holds, p_fails = holds[rows, whom], fails[rows, whom]
        n_holds = rng.binomial(n, p_holds)
        left = np.where(p_holds < 1.0, p_fails / np.maximum(1.0 - p_holds, 1e-12), 0.0)
        n_fails = rng.binomial(n - n_holds, np.clip(left, 0.0, 1.0))
        means[number] = (0.5 * (1.0 + (n_holds - n_fails) / n)).mean()
    return means
