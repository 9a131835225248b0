"""Judging with any judge in both orders, and ranking by comparisons.

Position bias cancels in the mean of the two orders; where one order has no verdict the
other decides, where both have none the pair is unscored.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from personalrm.errors import BadInput, ModelUnavailable
from personalrm.preferences.messages import Conversation, check_conversation
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.verdicts import Judge, Question, Verdict, verdict_from_probability


@dataclass(frozen=True)
class Ranking:
    """Completions from best to worst for one user."""

    best: int
    """Index of the best completion in the input."""
    order: tuple[int, ...]
    """All indices, best first; equal rewards keep the order of the input."""
    rewards: tuple[float, ...]
    """Of each completion in input order: by the embedded engine relative to the first one, by a judge the
    mean probability of winning (round robin) or the rounds survived (knockout)."""
    n_comparisons: int = 0
    """By a judge; the embedded engine makes none."""
    n_unscored: int = 0
    """Comparisons without a verdict; they count as ties."""
    n_in_one_order: int = 0
    """Comparisons that one of their two orders decided alone, as the other has no verdict."""
    lost_reason: str = ""
    """Why the first of these has no verdict; empty when none was lost."""

    @property
    def is_scored(self) -> bool:
        """Whether anything is behind the order; one completion is in order by itself."""
        return not self.n_comparisons or self.n_unscored < self.n_comparisons


Tournament = Literal["round_robin", "knockout"]


@dataclass(frozen=True, repr=False)
class BothOrders:
    """The two verdicts of a pair and what they amount to."""

    as_asked: Verdict
    swapped: Verdict
    """First and second exchanged."""
    verdict: Verdict


def question_about(prompt: PersonalPrompt, conversation: Conversation, first: str, second: str) -> Question:
    """The question a personal prompt makes of a pair.

    Raises:
        BadRow: If the conversation cannot be answered.
    """
    check_conversation(conversation)
    persona = prompt.persona if prompt.persona.claims else None
    return Question(prompt.user_id, conversation, first, second, persona, prompt.demonstrations)


def judge_both_orders(judge: Judge, questions: Sequence[Question]) -> list[BothOrders]:
    """The questions judged twice each, all in one wave, the two orders of a pair next to each other."""
    asked = []
    for question in questions:
        asked += [question, replace(question, first=question.second, second=question.first)]
    verdicts = judge.judge(asked)
    both_orders = []
    for as_asked, swapped in zip(verdicts[::2], verdicts[1::2], strict=True):
        chances = [as_asked.probability] if as_asked.probability is not None else []
        chances += [1.0 - swapped.probability] if swapped.probability is not None else []
        if not chances:
            both_orders.append(BothOrders(as_asked, swapped, replace(as_asked, choice=None, probability=None)))
            continue
        mean = sum(chances) / len(chances)
        agree = (chances[0] > 0.5) == (chances[1] > 0.5) and 0.5 not in chances if len(chances) == 2 else None
        reasoning = as_asked.reasoning
        if not as_asked.is_scored or (chances[0] > 0.5) != (mean > 0.5):
            # A reasoning about the swapped pair is marked as such: its first is our second.
            reasoning = f"(read with the two exchanged) {swapped.reasoning}" if swapped.reasoning else ""
        lost = as_asked.unscored_reason or swapped.unscored_reason
        combined = replace(verdict_from_probability(mean), reasoning=reasoning, positions_agree=agree, lost_order=lost)
        both_orders.append(BothOrders(as_asked, swapped, combined))
    return both_orders


@dataclass(frozen=True, repr=False)
class ToRank:
    """Completions that one user would put in an order."""

    prompt: PersonalPrompt
    conversation: Conversation
    completions: tuple[str, ...]


def rank_with_judge(judge: Judge, items: Sequence[ToRank], tournament: Tournament = "round_robin") -> list[Ranking]:
    """The completions of each item ordered by comparisons, both orders each; all items compare at the same time.

    Args:
        judge: Who compares.
        items: Each with at least one completion.
        tournament: `round_robin` compares all with all; `knockout` needs n - 1 comparisons,
            finds the best and orders the others by the round they were beaten in.

    Raises:
        BadInput: If there is nothing to rank.
        ModelUnavailable: If no comparison was scored.
    """
    if any(not item.completions for item in items):
        raise BadInput("there are no completions to rank; pass at least one")
    play = _round_robin if tournament == "round_robin" else _knockout
    games = [play(len(item.completions)) for item in items]
    rewards: list[list[float]] = [[] for _ in items]
    compared: list[list[Verdict]] = [[] for _ in items]
    sent: list[list[float] | None] = [None] * len(items)
    while True:
        rounds: dict[int, list[tuple[int, int]]] = {}
        for place, game in enumerate(games):
            if rewards[place]:
                continue
            try:
                rounds[place] = game.send(sent[place])  # type: ignore[arg-type]  # the first send starts it
            except StopIteration as end:
                rewards[place] = end.value
        if not rounds:
            verdicts = [verdict for of_item in compared for verdict in of_item]
            if verdicts and not any(verdict.is_scored for verdict in verdicts):
                why = verdicts[0].unscored_reason
                raise ModelUnavailable(f"none of {len(verdicts)} comparisons was scored ({why}); try again")
            return [_told(ranking(of_item), its) for of_item, its in zip(rewards, compared, strict=True)]
        questions = [
            question_about(item.prompt, item.conversation, item.completions[a], item.completions[b])
            for place, couples in rounds.items()
            for item in (items[place],)
            for a, b in couples
        ]
        verdicts = [both.verdict for both in judge_both_orders(judge, questions)]
        answers, sent = iter(verdicts), [None] * len(items)
        for place, couples in rounds.items():
            of_round = [next(answers) for _ in couples]
            compared[place] += of_round
            sent[place] = [0.5 if verdict.probability is None else verdict.probability for verdict in of_round]


def _told(ranking: Ranking, verdicts: Sequence[Verdict]) -> Ranking:
    """The ranking with what was lost of the comparisons it rests on."""
    n_unscored = sum(not verdict.is_scored for verdict in verdicts)
    n_in_one_order = sum(verdict.is_scored and bool(verdict.lost_order) for verdict in verdicts)
    reasons = [verdict.unscored_reason or verdict.lost_order for verdict in verdicts]
    return replace(
        ranking,
        n_comparisons=len(verdicts),
        n_unscored=n_unscored,
        n_in_one_order=n_in_one_order,
        lost_reason=next(filter(None, reasons), ""),
    )


Game = Generator[list[tuple[int, int]], list[float], list[float]]


def _round_robin(n: int) -> Game:
    """Everybody against everybody, in one round; the mean chance of winning."""
    couples = list(combinations(range(n), 2))
    chances = yield couples
    wins = [0.0] * n
    for (a, b), chance in zip(couples, chances, strict=True):
        wins[a] += chance
        wins[b] += 1.0 - chance
    return [won / max(1, n - 1) for won in wins]


def _knockout(n: int) -> Game:
    """Rounds survived by each, an odd one out passing; n - 1 comparisons."""
    rounds, alive = [0.0] * n, list(range(n))
    while len(alive) > 1:
        couples = list(zip(alive[::2], alive[1::2], strict=False))
        chances = yield couples
        winners = [a if chance >= 0.5 else b for (a, b), chance in zip(couples, chances, strict=True)]
        alive = winners + alive[2 * len(couples) :]
        for place in alive:
            rounds[place] += 1.0
    return rounds


def ranking(rewards: Sequence[float]) -> Ranking:
    """The ranking that these rewards of the completions make."""
    order = sorted(range(len(rewards)), key=lambda place: -rewards[place])
    return Ranking(order[0], tuple(order), tuple(rewards))
