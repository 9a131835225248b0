"""The dataset card of a build: what the data are, where they come from, what was left out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

COLUMN_MEANINGS = (
    ("user_id", "whose choice it is"),
    ("conversation", "turns before the completion"),
    ("chosen, rejected", "the completion the user picked, and the other"),
    ("conversation_id, timestamp, order_index", "what orders and groups a user's choices, where the source says so"),
    ("split", "within a user: train and validation pairs may be seen, target pairs are scored"),
    ("user_split", "train, dev or test user"),
    ("agreement", "share of the consensus judges' judgements that named the chosen completion"),
    ("n_judgements, n_unscored", "judgements with and without a usable answer"),
    ("source", "what else the source knew, as JSON text; never shown to a method"),
)

COUNTS = (
    "n_users",
    "n_pairs",
    "n_train_pairs",
    "n_validation_pairs",
    "n_target_pairs",
    "n_conversations",
    "n_multi_turn",
)
"""What the manifest and the card tell of each part of the users."""


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """The card as Markdown, made from the manifest alone."""
    source = manifest["source"]
    title = plain(source["title"])
    lines = [f"# Personalized preferences of {title}", ""]
    lines += [
        f"Built by `personalrm bench build` from {_origin(source)}. Licence of the source: {source['licence']}.",
        "",
    ]
    lines += ["## Users and pairs", "", *_table(_split_header(), _split_rows(manifest["statistics"])), ""]
    if manifest["n_surveys"]:
        lines += [f"`survey.jsonl` holds the surveys of {manifest['n_surveys']:,} of these users.", ""]
    lines += [
        "## Funnel",
        "",
        *_table(("stage", "pairs", "users", "pairs removed", "users removed"), _funnel(manifest)),
        "",
    ]
    lines += [f"Accuracy of the personalizable filter: {_accuracy(manifest['filter_accuracy'])}.", ""]
    lines += ["## Columns", "", *_table(("column", "means"), COLUMN_MEANINGS), ""]
    lines += ["## What was removed", "", *_removed(manifest["funnel"])]
    lines += ["", "Settings and the hashes of all files are in `manifest.json`."]
    return "\n".join(lines) + "\n"


def _origin(source: Mapping[str, Any]) -> str:
    return f"`{source['hub_name']}`" if source["hub_name"] else plain(source["title"])


def _split_header() -> tuple[str, ...]:
    return ("users", "number", "pairs", "train", "validation", "target", "conversations", "multi-turn pairs")


def _split_rows(statistics: Mapping[str, Mapping[str, int]]) -> list[tuple[str, ...]]:
    return [(split, *(f"{counts.get(name, 0):,}" for name in COUNTS)) for split, counts in statistics.items()]


def _funnel(manifest: Mapping[str, Any]) -> list[tuple[str, ...]]:
    return [
        (row["title"], *(f"{row[name]:,}" for name in ("n_pairs", "n_users", "n_pairs_removed", "n_users_removed")))
        for row in manifest["funnel"]
    ]


def _accuracy(found: Any) -> str:
    if not isinstance(found, Mapping):
        return "not measured"
    accuracy, low, high = (100 * found[name] for name in ("accuracy", "low", "high"))
    share = f"{accuracy:.1f} % [{low:.1f}, {high:.1f}] of {found['n']} requests"
    scripted = "; the model is a script, so this says nothing of the filter" if found["is_scripted"] else ""
    return f"{share} by {plain(found['model'])}, {found['n_unscored']} not answered{scripted}"


def _removed(funnel: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = []
    for row in funnel:
        for reason, count in row["removed"].items():
            lines.append(f"- {row['title']}: {count:,} pairs, {reason}")
            shown = [one for one in row["examples"] if one["reason"] == reason and one["query"]]
            lines += [f"  - {plain(one['query'])}" for one in shown]
        lines += [f"- {row['title']}: {name}: {count:,}" for name, count in row["notes"].items() if count]
    return lines or ["Nothing."]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(header)} |", f"|{' --- |' * len(header)}"]
    return lines + [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]


def plain(text: str) -> str:
    """One line of Markdown that is text and nothing else, since people wrote it."""
    return re.sub(r"([\\`*_\[\]<>#|!])", r"\\\1", " ".join(text.split()))
