"""Whether a persona matches what its user says of themselves (paper 6.2, Figure 3).

Two questions, each in both orders: are persona and statement a strong match, held
against random pairings of the same personas and statements (the paper's check), and
which of two statements is the person's own, held against a coin. What has no readable
answer in either order is unscored and counted, never a no.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from personalrm.errors import BadInput, NoScoredPairs
from personalrm.preferences.personas import Persona
from personalrm.stats.arrays import FloatArray
from personalrm.stats.bootstrap import Interval, cluster, clustered_mean
from personalrm.stats.derangements import derangements
from personalrm.stats.paired import sign_flip_p
from personalrm.stylometry.claims import read_claim, read_leanings
from personalrm.typed_values import finite, plain

N_PAIRINGS = 5
"""Random pairings of each persona."""
Answer = float | None
"""1 yes (or the first statement), 0 no (or the second), 0.5 in doubt, None unscored."""


@dataclass(frozen=True, repr=False)
class Described:
    """One user: what a persona says of them and what they say themselves."""

    user_id: str
    persona: Persona
    stated: str
    false_statements: tuple[str, ...] = ()
    """Statements that are known not to be theirs; without any, other users' are taken."""


class Matcher(Protocol):
    """Whatever answers the two questions, many at once, both orders averaged."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    def match(self, items: Sequence[tuple[Persona, str]]) -> list[Answer]:
        """Whether each persona and statement are about the same person."""
        ...

    def choose(self, items: Sequence[tuple[Persona, str, str]]) -> list[Answer]:
        """Whether the first of two statements is that of the persona's person."""
        ...


@dataclass(frozen=True)
class Rate:
    """A share of users' answers with its interval."""

    share: float
    """Mean over the answers."""
    interval: Interval
    """95 %, users resampled; NaN for one user."""
    n: int
    """Answers that were scored."""
    n_users: int
    n_unscored: int


@dataclass(frozen=True)
class Validity:
    """How well personas match what people say."""

    judge: str
    n_users: int
    n_without_persona: int
    """Users left out because their persona says nothing."""
    true: Rate | None
    """Matches of personas with their own user's statement; None when none was scored."""
    random: Rate | None
    """Matches of the same personas with others' statements."""
    gap: float | None
    """Mean over users with both of true minus random."""
    gap_interval: Interval | None
    p: float | None
    """User-level sign-flip test of the gap."""
    choice: Rate | None
    """How often the person's own statement is chosen from two; a coin has 0.5."""

    def as_json(self) -> dict[str, Any]:
        """As JSON values; what has no number is null."""
        content: dict[str, Any] = finite(plain(self))
        return content


def measure_validity(
    described: Sequence[Described], matcher: Matcher, *, n_pairings: int = N_PAIRINGS, seed: int = 0
) -> Validity:
    """Match rates of true and random pairings, and how often the own statement is chosen.

    With a model this costs two calls a question: 2 n (1 + n_pairings) matches and two for each
    choice, of which a user has as many as false statements, or `n_pairings` without any.

    Args:
        described: Personas with statements; a persona without claims is left out and counted.
        matcher: A model or the embedded reading.
        n_pairings: Random pairings of each persona.
        seed: Of the pairings.

    Raises:
        BadInput: If a user stands twice or has a blank statement.
        NoScoredPairs: If fewer than two users have a persona that says something.
        ModelUnavailable: If the run was stopped.
    """
    _check(described)
    users = [one for one in described if one.persona.claims]
    if len(users) < 2:
        raise NoScoredPairs(
            f"{len(users)} of {len(described)} users have a persona that says something; two are needed"
        )
    pairings = _pairings(users, n_pairings, seed)
    own = matcher.match([(one.persona, one.stated) for one in users])
    random = matcher.match([(users[place].persona, statement) for place, statement in pairings])
    options = [(place, false) for place, one in enumerate(users) for false in one.false_statements]
    options += [(place, text) for place, text in pairings if not users[place].false_statements]
    chosen = matcher.choose([(users[place].persona, users[place].stated, false) for place, false in options])
    ids = [one.user_id for one in users]
    true_rate = _rate(own, ids, seed)
    random_rate = _rate(random, [ids[place] for place, _ in pairings], seed)
    gaps = _gaps(own, random, [place for place, _ in pairings])
    mean = clustered_mean(cluster(gaps, [str(k) for k in range(len(gaps))]), seed=seed) if len(gaps) else None
    return Validity(
        matcher.name,
        len(users),
        len(described) - len(users),
        true_rate,
        random_rate,
        mean.micro if mean else None,
        mean.micro_interval if mean else None,
        sign_flip_p(gaps, seed=seed) if mean else None,
        _rate(chosen, [ids[place] for place, _ in options], seed),
    )


class EmbeddedMatcher:
    """Reads both texts as the embedded engine reads personas: by the features their sentences name.

    A pair matches when more features are wanted the same way than the other way round; where no
    feature is named in both, nothing can be said and the pair is unscored.
    """

    name = "embedded reading"

    def match(self, items: Sequence[tuple[Persona, str]]) -> list[Answer]:
        """Whether more features agree than disagree."""
        return [None if (score := _agreement(*item)) is None else _side(score) for item in items]

    def choose(self, items: Sequence[tuple[Persona, str, str]]) -> list[Answer]:
        """The statement that agrees in more features; None where neither names one of the persona's."""
        return [self._choose(*item) for item in items]

    def _choose(self, persona: Persona, first: str, second: str) -> Answer:
        scores = [_agreement(persona, text) for text in (first, second)]
        return None if scores == [None, None] else _side((scores[0] or 0) - (scores[1] or 0))


def stated_sentences(text: str) -> list[str]:
    """A statement cut into what can be read on its own: sentences and lines."""
    parts = text.replace("\n", ". ").replace("!", ".").replace(";", ".").replace(":", ".").split(".")
    return [part.strip() for part in parts if part.strip()]


def _agreement(persona: Persona, statement: str) -> int | None:
    """Features wanted the same way minus those wanted the other way; None where none is in both."""
    said = {leaning.feature: leaning.shift for leaning in read_leanings(persona)}
    stated = [leaning for part in stated_sentences(statement) for leaning in read_claim(part)]
    shared = [said[one.feature] * one.shift for one in stated if one.feature in said]
    return int(np.sign(shared).sum()) if shared else None


def _side(score: float) -> float:
    return 1.0 if score > 0 else 0.0 if score < 0 else 0.5


def _check(described: Sequence[Described]) -> None:
    seen: set[str] = set()
    for one in described:
        if one.user_id in seen:
            raise BadInput(f"user {one.user_id!r} stands twice; keep one persona and statement a user")
        seen.add(one.user_id)
        if not one.stated.strip():
            raise BadInput(f"user {one.user_id!r} states nothing; leave out users without a statement")


def _pairings(users: Sequence[Described], n_pairings: int, seed: int) -> list[tuple[int, str]]:
    """Place of a persona and somebody else's statement, `n_pairings` a persona, equal statements left out."""
    if n_pairings < 1:
        raise BadInput(f"n_pairings must be at least 1, got {n_pairings!r}")
    drawn = derangements(len(users), n_pairings, seed=seed)
    found = dict.fromkeys((place, users[row[place]].stated) for place in range(len(users)) for row in drawn)
    return [(place, text) for place, text in found if text != users[place].stated]


def _rate(answers: Sequence[Answer], user_ids: Sequence[str], seed: int) -> Rate | None:
    scored = [(answer, user) for answer, user in zip(answers, user_ids, strict=True) if answer is not None]
    if not scored:
        return None
    mean = clustered_mean(cluster(np.array([a for a, _ in scored]), [user for _, user in scored]), seed=seed)
    return Rate(mean.micro, mean.micro_interval, len(scored), mean.n_users, len(answers) - len(scored))


def _gaps(own: Sequence[Answer], random: Sequence[Answer], places: Sequence[int]) -> FloatArray:
    """True minus mean random of every user who has both, shape `(users,)`."""
    by_user: dict[int, list[float]] = {}
    for place, answer in zip(places, random, strict=True):
        if answer is not None:
            by_user.setdefault(place, []).append(answer)
    pairs = ((answer, by_user.get(place)) for place, answer in enumerate(own))
    return np.array([answer - float(np.mean(others)) for answer, others in pairs if answer is not None and others])
