"""Whether a persona matches what its user says of themselves (paper 6.2, Figure 3).

Two questions, each in both orders: are persona and statement a strong match, held
against random pairings of the same personas and statements (the paper's check), and
which of two statements is the person's own, held against a coin. What has no readable
answer in either order is unscored and counted, never a no. The answers are a language
model's, or what the embedded engine reads in both texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from personalrm.errors import BadInput, NoScoredPairs
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.protocol import Reply, Request, Sampling, Schema
from personalrm.preferences.messages import Message
from personalrm.preferences.personas import Persona
from personalrm.prompts.persona_questions import choice_question, match_question
from personalrm.prompts.replies import read_verdict, read_yes_or_no
from personalrm.stats.bootstrap import Interval, cluster, clustered_mean
from personalrm.stats.derangements import derangements
from personalrm.stats.paired import sign_flip_p
from personalrm.stylometry.sentences import read_claim, read_leanings

N_PAIRINGS = 5
"""Random pairings of each persona."""
MOST_CHARACTERS = 8_000
"""Of a statement or persona shown to a model; longer ones are cut."""
MATCH = Schema.of_choice("match", "answer", ("yes", "no"))
CHOICE = Schema.of_choice("statement", "choice", ("first", "second"))
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
    seen: set[str] = set()
    for user in described:
        if user.user_id in seen:
            raise BadInput(f"user {user.user_id!r} stands twice; keep one persona and statement a user")
        seen.add(user.user_id)
        if not user.stated.strip():
            raise BadInput(f"user {user.user_id!r} states nothing; leave out users without a statement")
    users = [user for user in described if user.persona.claims]
    if len(users) < 2:
        raise NoScoredPairs(
            f"{len(users)} of {len(described)} users have a persona that says something; two are needed"
        )
    if n_pairings < 1:
        raise BadInput(f"n_pairings must be at least 1, got {n_pairings!r}")
    # place of a persona and somebody else's statement, `n_pairings` a persona, equal statements left out
    drawn = derangements(len(users), n_pairings, seed=seed)
    paired = dict.fromkeys((place, users[row[place]].stated) for place in range(len(users)) for row in drawn)
    pairings = [(place, text) for place, text in paired if text != users[place].stated]
    own = matcher.match([(user.persona, user.stated) for user in users])
    random = matcher.match([(users[place].persona, statement) for place, statement in pairings])
    options = [(place, false) for place, user in enumerate(users) for false in user.false_statements]
    options += [(place, text) for place, text in pairings if not users[place].false_statements]
    chosen = matcher.choose([(users[place].persona, users[place].stated, false) for place, false in options])
    ids = [user.user_id for user in users]
    by_user: dict[int, list[float]] = {}
    for (place, _), answer in zip(pairings, random, strict=True):
        if answer is not None:
            by_user.setdefault(place, []).append(answer)
    # true minus mean random of every user who has both, shape (users,)
    gaps = np.array(
        [
            answer - float(np.mean(by_user[place]))
            for place, answer in enumerate(own)
            if answer is not None and place in by_user
        ]
    )
    mean = clustered_mean(cluster(gaps, [str(k) for k in range(len(gaps))]), seed=seed) if len(gaps) else None
    return Validity(
        matcher.name,
        len(users),
        len(described) - len(users),
        _rate(own, ids, seed),
        _rate(random, [ids[place] for place, _ in pairings], seed),
        mean.micro if mean else None,
        mean.micro_interval if mean else None,
        sign_flip_p(gaps, seed=seed) if mean else None,
        _rate(chosen, [ids[place] for place, _ in options], seed),
    )


class ModelMatcher:
    """Asks a language model both questions, each in both orders.

    Args:
        caller: Who asks.
        max_tokens: Of a reply.
        seed: Sent where the server takes one.
    """

    def __init__(self, caller: Caller, *, max_tokens: int = 512, seed: int = 0) -> None:
        self.caller = caller
        self._sampling = Sampling(0.0, max_tokens, seed)

    @property
    def name(self) -> str:
        """The model's name."""
        return self.caller.lm.name

    def match(self, items: Sequence[tuple[Persona, str]]) -> list[Answer]:
        """Whether each persona and statement are about the same person; either text comes first once.

        Raises:
            ModelUnavailable: If the run was stopped.
        """
        orders = [(persona.text[:MOST_CHARACTERS], text[:MOST_CHARACTERS]) for persona, text in items]
        prompts = [match_question(*texts) for order in orders for texts in (order, order[::-1])]
        answers = self._ask(prompts, MATCH, lambda reply: float(read_yes_or_no(reply.text)))
        return list(_averaged(answers, is_swapped=False))

    def choose(self, items: Sequence[tuple[Persona, str, str]]) -> list[Answer]:
        """Whether the first statement is that of the persona's person; either statement comes first once.

        Raises:
            ModelUnavailable: If the run was stopped.
        """
        cut = [tuple(text[:MOST_CHARACTERS] for text in (persona.text, a, b)) for persona, a, b in items]
        prompts = [choice_question(persona, *texts) for persona, a, b in cut for texts in ((a, b), (b, a))]
        answers = self._ask(prompts, CHOICE, lambda reply: float(read_verdict(reply.text).choice == "first"))
        return list(_averaged(answers, is_swapped=True))

    def _ask(
        self, prompts: Sequence[tuple[Message, ...]], schema: Schema, read: Callable[[Reply], float]
    ) -> list[Answer]:
        asks = [Ask(partial(Request, messages, self._sampling, schema, "validity"), read) for messages in prompts]
        return [outcome.value for outcome in self.caller.ask_all_or_raise(asks)]


def _averaged(answers: Sequence[Answer], *, is_swapped: bool) -> Iterator[Answer]:
    """One answer of both orders; in the second one the options of a choice are exchanged."""
    for first, second in zip(answers[::2], answers[1::2], strict=True):
        turned = 1.0 - second if is_swapped and second is not None else second
        scored = [answer for answer in (first, turned) if answer is not None]
        yield sum(scored) / len(scored) if scored else None


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
        scores = [(_agreement(persona, first), _agreement(persona, second)) for persona, first, second in items]
        return [
            None if first is None and second is None else _side((first or 0) - (second or 0))
            for first, second in scores
        ]


def stated_sentences(text: str) -> list[str]:
    """A statement cut into what can be read on its own: sentences and lines."""
    parts = text.replace("\n", ". ").replace("!", ".").replace(";", ".").replace(":", ".").split(".")
    return [part.strip() for part in parts if part.strip()]


def _agreement(persona: Persona, statement: str) -> int | None:
    """Features wanted the same way minus those wanted the other way; None where none is in both."""
    said = {leaning.feature: leaning.shift for leaning in read_leanings(persona)}
    stated = [leaning for part in stated_sentences(statement) for leaning in read_claim(part)]
    shared = [said[leaning.feature] * leaning.shift for leaning in stated if leaning.feature in said]
    return int(np.sign(shared).sum()) if shared else None


def _side(score: float) -> float:
    return 1.0 if score > 0 else 0.0 if score < 0 else 0.5


def _rate(answers: Sequence[Answer], user_ids: Sequence[str], seed: int) -> Rate | None:
    scored = [(answer, user) for answer, user in zip(answers, user_ids, strict=True) if answer is not None]
    if not scored:
        return None
    mean = clustered_mean(cluster(np.array([a for a, _ in scored]), [user for _, user in scored]), seed=seed)
    return Rate(mean.micro, mean.micro_interval, len(scored), mean.n_users, len(answers) - len(scored))
