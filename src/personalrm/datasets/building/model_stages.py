"""The stages that ask language models, the personalizable filter and the consensus filter, and the list of its judges.

Both go through the users in groups of bounded size, so memory does not grow with the
data. Answers are kept on disk before they are used: a build that was killed asks again
only what was under way.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from operator import methodcaller
from pathlib import Path
from typing import Any

from personalrm.datasets.building.funnel import StageTally
from personalrm.datasets.building.stages import Users
from personalrm.datasets.personalizable import PROMPTS_VERSION, PersonalizableFilter
from personalrm.errors import BadFile, BadInput
from personalrm.judging.model import PROMPTS_VERSION as JUDGE_PROMPTS_VERSION
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.opening import ModelName, open_model
from personalrm.lm.prices import Price
from personalrm.lm.protocol import LM, Request
from personalrm.lm.settings import Budget, Limits, Retry
from personalrm.preferences.messages import digest
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.users import User
from personalrm.preferences.verdicts import Question
from personalrm.typed_values import read_yaml, spec_from

GROUP_PAIRS = 500
"""Pairs asked about together: enough to keep a server busy, few enough for memory."""
GROUP_CHARACTERS = 4_000_000
NOT_ANSWERED = "no usable answer"
"""Reason of pairs the models said nothing about; they are left out, counted, and asked again with --retry-unscored."""
TOO_OBVIOUS = "too obvious: all judges right"
MISTAKEN = "mistake or adversarial: all judges wrong"
NO_DISAGREEMENT = "request: no reasonable disagreement"
NO_TASTE = "completions: no difference of taste"
AGREEMENT = "agreement"
"""Name of the column with the share of judgements that named the chosen completion."""


@dataclass(frozen=True)
class Personalizable:
    """Only pairs whose request can be answered to different tastes and whose completions differ in taste."""

    asked: PersonalizableFilter
    name: str = "personalizable"
    title: str = "personalizable filter"

    def settings(self) -> Mapping[str, Any]:
        """The model and how it is asked."""
        model = self.asked.caller.lm.identity
        return {"model": model, **vars(self.asked.options), "prompts_version": PROMPTS_VERSION}

    def apply(self, users: Users, tally: StageTally) -> Iterator[User]:
        """The pairs both questions leave.

        Raises:
            ModelUnavailable: If the run was stopped; what was answered is kept.
        """
        for group in in_groups(users()):
            pairs = [pair for user in group for pair in user.pairs]
            about = self.asked.ask_queries([(pair.user_id, pair.conversation) for pair in pairs])
            reasons = {
                place: NOT_ANSWERED if outcome.value is None else NO_DISAGREEMENT
                for place, outcome in enumerate(about)
                if not outcome.value
            }
            open_places = [place for place in range(len(pairs)) if place not in reasons]
            differ = self.asked.ask_pairs([pairs[place] for place in open_places])
            for place, outcome in zip(open_places, differ, strict=True):
                if not outcome.value:
                    reasons[place] = NOT_ANSWERED if outcome.value is None else NO_TASTE
            forget_users(self.asked.caller)
            yield from left_over(group, [pair if k not in reasons else None for k, pair in enumerate(pairs)])
            for place, reason in sorted(reasons.items()):
                tally.remove(pairs[place], reason)

    def requests(self, user: User) -> Iterator[Request]:
        """What `apply` asks about a user at most: each conversation, asked about once, and each pair."""
        for conversation in dict.fromkeys(pair.conversation for pair in user.pairs):
            yield self.asked.query_request(user.user_id, conversation)
        yield from (self.asked.pair_request(pair) for pair in user.pairs)


@dataclass(frozen=True)
class Consensus:
    """Only pairs that judges who know nothing of the user are divided about."""

    judges: tuple[ModelJudge, ...]
    name: str = "consensus"
    title: str = "quality/consensus filter"

    def settings(self) -> Mapping[str, Any]:
        """The judges, in order, and how they are asked."""
        return {
            "judges": [{"model": judge.caller.lm.identity, **vars(judge.options)} for judge in self.judges],
            "prompts_version": JUDGE_PROMPTS_VERSION,
        }

    def apply(self, users: Users, tally: StageTally) -> Iterator[User]:
        """The pairs on which not all judgements are right and not all are wrong, with their agreement.

        A judgement that is missing is neither; a pair without any is left out and counted.

        Raises:
            ModelUnavailable: If the run was stopped; what was answered is kept.
        """
        for group in in_groups(users()):
            pairs = [pair for user in group for pair in user.pairs]
            questions = [
                Question(pair.user_id, pair.conversation, *texts)
                for pair in pairs
                for texts in ((pair.chosen, pair.rejected), (pair.rejected, pair.chosen))
            ]
            with ThreadPoolExecutor(len(self.judges)) as pool:
                by_judge = list(pool.map(methodcaller("judge", questions), self.judges))
            kept: list[PreferencePair | None] = []
            for place, pair in enumerate(pairs):
                scored = []  # 1 for a right verdict, 0 for a wrong one, 0.5 for a tie
                for verdicts in by_judge:
                    for verdict, chosen in zip(verdicts[2 * place : 2 * place + 2], ("first", "second"), strict=True):
                        if verdict.is_scored:
                            scored.append(0.5 if verdict.choice is None else float(verdict.choice == chosen))
                n_unscored = 2 * len(by_judge) - len(scored)
                tally.note("judgements", len(scored))
                tally.note("judgements without a usable answer", n_unscored)
                reason = ""
                if not scored:
                    reason = NOT_ANSWERED
                elif min(scored) == 1.0:
                    reason = TOO_OBVIOUS
                elif max(scored) == 0.0:
                    reason = MISTAKEN
                if reason:
                    tally.remove(pair, reason)
                    kept.append(None)
                else:
                    agreement = {AGREEMENT: round(sum(scored) / len(scored), 6), "n_judgements": len(scored)}
                    kept.append(replace(pair, meta={**pair.meta, **agreement, "n_unscored": n_unscored}))
            for judge in self.judges:
                forget_users(judge.caller)
            yield from left_over(group, kept)


def judging_cost(judge: ModelJudge, pair: PreferencePair) -> tuple[int, int]:
    """What `Consensus` asks one judge about a pair: calls, and about how many characters they have together."""
    n_calls = 2 * judge.options.n_samples
    question = Question(pair.user_id, pair.conversation, pair.chosen, pair.rejected)
    return n_calls, n_calls * judge.judge_request(question, "judge").n_characters


def in_groups(users: Iterator[User]) -> Iterator[list[User]]:
    """Users together until there are enough pairs or characters."""
    group: list[User] = []
    n_pairs = n_characters = 0
    for user in users:
        group.append(user)
        n_pairs += len(user)
        n_characters += sum(len(pair.chosen) + len(pair.rejected) for pair in user.pairs)
        if n_pairs >= GROUP_PAIRS or n_characters >= GROUP_CHARACTERS:
            yield group
            group, n_pairs, n_characters = [], 0, 0
    if group:
        yield group


def left_over(group: Sequence[User], kept: Sequence[PreferencePair | None]) -> Iterator[User]:
    """The users of a group with the pairs that were kept, in place of theirs; nobody without a pair."""
    rest = iter(kept)
    for user in group:
        # the user's pairs come first: zip must stop at them before it takes one more of the rest
        pairs = tuple(pair for _, pair in zip(user.pairs, rest, strict=False) if pair is not None)
        if pairs:
            yield replace(user, pairs=pairs)


def forget_users(caller: Caller) -> None:
    """Let go of the accounts of single users, which would grow with the data; those of stages stay."""
    caller.ledger.by_user.clear()


def open_caller(
    model: ModelName | LM,
    folder: Path,
    *,
    retry: Retry | None = None,
    limits: Limits | None = None,
    budget: Budget | None = None,
    retry_unscored: bool = False,
    price: Price | None = None,
) -> Caller:
    """A caller whose answers are kept in a file of the model's own in the folder; nothing is asked or made yet.

    Args:
        model: A name or a model.
        folder: The build's.
        retry: How often a failing request is made.
        limits: Rates to keep.
        budget: With a pot, one sum for all models together.
        retry_unscored: Ask again what had no usable answer.
        price: Of tokens.

    Raises:
        UnknownName: If the model's name says not enough, or its price is unknown and a cost ceiling is set.
    """
    lm = open_model(model) if isinstance(model, ModelName) else model
    return Caller(
        lm,
        cache=Cache(folder / f"answers-{digest(lm.identity)}.sqlite"),
        retry=retry,
        limits=limits,
        budget=budget,
        price=price,
        retry_unscored=retry_unscored,
    )


EXAMPLE = "judges:\n  - model: openai/gpt-4o-mini\n  - model: my-model\n    base_url: http://localhost:8000/v1"


@dataclass(frozen=True)
class JudgeEntry:
    """One judge of the list."""

    model: ModelName
    is_scripted: bool = False
    key_variable: str | None = None
    """Environment variable with the key of its server, as the file names it; the command line looks it up."""


@dataclass(frozen=True)
class _Keys:
    """What the file may say of a judge."""

    model: str
    base_url: str | None = None
    key_file: str | None = None
    key_variable: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 120.0
    scripted: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.timeout < math.inf:
            raise BadInput(f"timeout of judge {self.model!r} is {self.timeout!r}; write seconds above 0")


def read_judges(path: str | Path) -> tuple[JudgeEntry, ...]:
    """The judges of a file, in its order.

    Raises:
        BadFile: If the file cannot be read or does not hold a list of judges.
        UnknownName: If a judge has a key nobody knows.
        BadInput: If a value does not fit, or a judge stands there twice.
    """
    content = read_yaml(path, "judges file")
    listed = content.get("judges") if isinstance(content, Mapping) else None
    if not isinstance(listed, list) or not listed or set(content) != {"judges"}:
        raise BadFile(f"judges file {str(path)!r} does not hold a list of judges; write\n{EXAMPLE}")
    judges = []
    for number, entry in enumerate(listed, 1):
        given = entry
        if isinstance(entry, Mapping):  # a key without a value, as in `headers:`, says nothing
            given = {key: value for key, value in entry.items() if value is not None}
        keys = spec_from(_Keys, given, f"judge {number} of {str(path)!r}")
        model = ModelName(keys.model, keys.base_url, keys.key_file, keys.headers, keys.body, keys.timeout)
        judges.append(JudgeEntry(model, keys.scripted, keys.key_variable))
    names = [(judge.model.name, judge.model.base_url) for judge in judges]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(
            f"judge {twice[0]!r} stands twice in {str(path)!r}, which would count its verdicts twice; keep one"
        )
    return tuple(judges)
