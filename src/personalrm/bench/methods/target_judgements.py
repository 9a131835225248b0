"""What a method says of the target pairs: with each user's own knowledge, and with somebody else's.

The only place where targets are judged; `evaluate`, the runner of the benchmark and the
curves all come here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from personalrm.bench.methods.method import Judgement, Knowledge, Method
from personalrm.bench.methods.model import ModelMethod
from personalrm.errors import BadInput
from personalrm.preferences.pairs import PreferencePair
from personalrm.stats.derangements import derangements

N_DERANGEMENTS = 20
"""Derangements the shuffled-user control is the mean of, where judging is free."""


def judge_targets(method: Method, known: Sequence[Knowledge], targets: Sequence[PreferencePair]) -> list[Judgement]:
    """A judgement of each target pair by what is known of its owner."""
    of_user = {one.user_id: one for one in known}
    return method.judge([(of_user[pair.user_id], pair) for pair in targets])


def sample_of(targets: Sequence[PreferencePair], n: int) -> list[PreferencePair]:
    """The n targets with the smallest hashes, the same ones for every judge and in every run."""
    return sorted(targets, key=lambda pair: pair.hash)[:n]


def judge_identical(method: Method, known: Sequence[Knowledge], targets: Sequence[PreferencePair]) -> list[Judgement]:
    """The A/A test: each target with its chosen completion in both places, by what is known of its owner.

    Raises:
        BadInput: If the method asks no language model; a margin of equals is zero and says nothing.
    """
    if not isinstance(method, ModelMethod):
        raise BadInput("the control 'identical' is for rows that ask a language model; leave it out for this method")
    of_user = {one.user_id: one for one in known}
    return method.judge_identical([(of_user[pair.user_id], pair) for pair in targets])


def judge_shuffled(
    method: Method, known: Sequence[Knowledge], targets: Sequence[PreferencePair], n_draws: int, *, seed: int
) -> list[list[Judgement]]:
    """The shuffled-user control: judgements by what is known of somebody else, one list a derangement.

    Args:
        method: The row.
        known: What it knows of everybody, at least two users.
        targets: The pairs to judge.
        n_draws: Number of derangements; all are judged at once.
        seed: Of the derangements.

    Raises:
        BadInput: If there is only one user.
    """
    place_of = {one.user_id: place for place, one in enumerate(known)}
    owners = [place_of[pair.user_id] for pair in targets]
    draws = derangements(len(known), n_draws, seed=seed)
    items = [(known[shuffle[owner]], pair) for shuffle in draws for owner, pair in zip(owners, targets, strict=True)]
    judged: Iterator[Judgement] = iter(method.judge(items))
    return [list(islice(judged, len(targets))) for _ in draws]
