"""The words that every table and picture carries: how many users, pairs and runs, and what is unscored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from personalrm.bench.results.summary import EntrySummary
from personalrm.wording import count


def sizes(entries: Iterable[EntrySummary]) -> str:
    """Users, target pairs and runs of the entries; a range where they differ."""
    scored = [(entry, entry.accuracy) for entry in entries if entry.accuracy]
    if not scored:
        return "nothing scored"
    n_runs = max(len(entry.seeds) for entry, _ in scored)
    parts = [_range([a.n_users for _, a in scored], "user"), _range([a.n_pairs for _, a in scored], "target pair")]
    return ", ".join([*parts, f"mean of up to {n_runs} runs"] if n_runs > 1 else parts)


def unscored(entries: Iterable[EntrySummary]) -> str:
    """A sentence with the unscored judgements of all entries together."""
    return f"Unscored: {_unscored(list(entries))}."


def measured(entries: Iterable[EntrySummary]) -> str:
    """Sizes and unscored judgements in one phrase, for a caption."""
    found = list(entries)
    return f"{sizes(found)}, unscored {_unscored(found)}"


def _unscored(entries: Sequence[EntrySummary]) -> str:
    n_judgements = sum(entry.n_judgements for entry in entries)
    return f"{sum(entry.n_unscored for entry in entries):,} of {count(n_judgements, 'judgement')}"


def _range(numbers: Sequence[int], noun: str) -> str:
    low, high = min(numbers), max(numbers)
    return count(high, noun) if low == high else f"{low:,} to {high:,} {noun}s"
