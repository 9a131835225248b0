"""The stages that ask language models: the personalizable filter and the consensus filter.

Both go through the users in groups of bounded size, so memory does not grow with the
data. Answers are kept on disk before they are used: a build that was killed asks again
only what was under way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from personalrm.datasets.building.funnel import StageTally
from personalrm.datasets.building.stages import Users
from personalrm.datasets.personalizable import PROMPTS_VERSION, PersonalizableFilter
from personalrm.judging.model import PROMPTS_VERSION as JUDGE_PROMPTS_VERSION
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Caller
from personalrm.lm.protocol import Request
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.users import User
from personalrm.preferences.verdicts import Question, Verdict

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
    """Only pairs whose request leaves room for taste and whose completions differ in taste."""

    asked: PersonalizableFilter
    name: str = "personalizable"
    title: str = "personalizable filter"

    def settings(self) -> Mapping[str, Any]:
        """The model and how it is asked."""
        o = self.asked.options
        return {
            "model": self.asked.caller.lm.identity,
            "shots": o.shots,
            "max_tokens": o.max_tokens,
            "seed": o.seed,
            "max_prompt_tokens": o.max_prompt_tokens,
            "prompts_version": PROMPTS_VERSION,
        }

    def apply(self, users: Users, tally: StageTally) -> Iterator[User]:
        """The pairs both questions leave.

        Raises:
            ModelUnavailable: If the run was stopped; what was answered is kept.
        """
        for group in in_groups(users()):
            pairs = [pair for user in group for pair in user.pairs]
            about = self.asked.ask_queries([(pair.user_id, pair.conversation) for pair in pairs])
            reasons = {place: NO_DISAGREEMENT for place, one in enumerate(about) if one.value is False}
            reasons |= {place: NOT_ANSWERED for place, one in enumerate(about) if one.value is None}
            open_places = [place for place in range(len(pairs)) if place not in reasons]
            differ = self.asked.ask_pairs([pairs[place] for place in open_places])
            for place, one in zip(open_places, differ, strict=True):
                if one.value is not True:
                    reasons[place] = NOT_ANSWERED if one.value is None else NO_TASTE
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
            votes = self._votes(pairs)
            kept: list[PreferencePair | None] = []
            for pair, own in zip(pairs, votes, strict=True):
                scored = [vote for vote in own if vote is not None]
                tally.note("judgements", len(scored))
                tally.note("judgements without a usable answer", len(own) - len(scored))
                reason = _reason(scored)
                if reason:
                    tally.remove(pair, reason)
                kept.append(None if reason else _marked(pair, scored, len(own)))
            for judge in self.judges:
                forget_users(judge.caller)
            yield from left_over(group, kept)

    def _votes(self, pairs: Sequence[PreferencePair]) -> list[list[float | None]]:
        """For each pair its judgements, both orders a judge: 1 right, 0 wrong, 0.5 a tie, None missing."""
        with ThreadPoolExecutor(len(self.judges)) as pool:
            by_judge = list(pool.map(lambda judge: _judged(judge, pairs), self.judges))
        return [[vote for votes in by_judge for vote in votes[place]] for place in range(len(pairs))]


def _judged(judge: ModelJudge, pairs: Sequence[PreferencePair]) -> list[tuple[float | None, float | None]]:
    questions = [
        Question(pair.user_id, pair.conversation, *texts)
        for pair in pairs
        for texts in ((pair.chosen, pair.rejected), (pair.rejected, pair.chosen))
    ]
    verdicts = judge.judge(questions)
    return [
        (_vote(chosen_first, "first"), _vote(chosen_second, "second"))
        for chosen_first, chosen_second in zip(verdicts[::2], verdicts[1::2], strict=True)
    ]


def judging_cost(judge: ModelJudge, pair: PreferencePair) -> tuple[int, int]:
    """What `Consensus` asks one judge about a pair: calls, and about how many characters they have together."""
    n_calls = 2 * judge.options.n_samples
    question = Question(pair.user_id, pair.conversation, pair.chosen, pair.rejected)
    return n_calls, n_calls * judge.judge_request(question, "judge").n_characters


def _vote(verdict: Verdict, chosen: str) -> float | None:
    if not verdict.is_scored:
        return None
    return 0.5 if verdict.choice is None else float(verdict.choice == chosen)


def _reason(scored: Sequence[float]) -> str:
    """Why a pair with these judgements goes; empty when it stays."""
    if not scored:
        return NOT_ANSWERED
    if all(vote == 1.0 for vote in scored):
        return TOO_OBVIOUS
    return MISTAKEN if all(vote == 0.0 for vote in scored) else ""


def _marked(pair: PreferencePair, scored: Sequence[float], n: int) -> PreferencePair:
    agreement = {AGREEMENT: round(sum(scored) / len(scored), 6), "n_judgements": len(scored)}
    return replace(pair, meta={**pair.meta, **agreement, "n_unscored": n - len(scored)})


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
        own = tuple(pair for _, pair in zip(user.pairs, rest, strict=False) if pair is not None)
        if own:
            yield replace(user, pairs=own)


def forget_users(caller: Caller) -> None:
    """Let go of the accounts of single users, which would grow with the data; those of stages stay."""
    caller.ledger.by_user.clear()
