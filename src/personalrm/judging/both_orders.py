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
from personalrm.judging.ranking import Ranking
from personalrm.preferences.messages import Conversation, check_conversation
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.verdicts import Judge, Question, Verdict, verdict_from_probability

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
    asked = [one for q in questions for one in (q, replace(q, first=q.second, second=q.first))]
    verdicts = judge.judge(asked)
    return [
        BothOrders(as_asked, swapped, _combined(as_asked, swapped))
        for as_asked, swapped in zip(verdicts[::2], verdicts[1::2], strict=True)
    ]


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
            return [_ranking(one) for one in rewards]
        sent = _play(judge, items, rounds)


def _play(judge: Judge, items: Sequence[ToRank], rounds: dict[int, list[tuple[int, int]]]) -> list[list[float] | None]:
    """Chances of the first of each compared couple, for each item that has a round to play."""
    questions = [
        question_about(item.prompt, item.conversation, item.completions[a], item.completions[b])
        for place, couples in rounds.items()
        for item in (items[place],)
        for a, b in couples
    ]
    found = [one.verdict for one in judge_both_orders(judge, questions)]
    if found and not any(verdict.is_scored for verdict in found):
        why = found[0].unscored_reason
        raise ModelUnavailable(f"none of {len(found)} comparisons was scored ({why}); try again")
    chances = iter(0.5 if verdict.probability is None else verdict.probability for verdict in found)
    sent: list[list[float] | None] = [None] * len(items)
    for place, couples in rounds.items():
        sent[place] = [next(chances) for _ in couples]
    return sent


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


def _ranking(rewards: Sequence[float]) -> Ranking:
    order = sorted(range(len(rewards)), key=lambda place: -rewards[place])
    return Ranking(order[0], tuple(order), tuple(rewards))


def _combined(as_asked: Verdict, swapped: Verdict) -> Verdict:
    """One verdict of the two orders."""
    chances = [verdict.probability for verdict in (as_asked,) if verdict.probability is not None]
    chances += [1.0 - verdict.probability for verdict in (swapped,) if verdict.probability is not None]
    if not chances:
        return replace(as_asked, choice=None, probability=None)
    mean = sum(chances) / len(chances)
    together = verdict_from_probability(mean)
    agree = (chances[0] > 0.5) == (chances[1] > 0.5) and 0.5 not in chances if len(chances) == 2 else None
    as_asked_says_so = as_asked.is_scored and (chances[0] > 0.5) == (mean > 0.5)
    reasoning = as_asked.reasoning if as_asked_says_so else _turned_round(swapped.reasoning)
    return replace(together, reasoning=reasoning, positions_agree=agree)


def _turned_round(reasoning: str) -> str:
    """A reasoning about the swapped pair, marked as such: its first is our second."""
    return f"(read with the two exchanged) {reasoning}" if reasoning else ""
