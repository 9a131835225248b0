"""Columns of a file in messages: what it has, and which to rename to what we read.

A first row that is not a header holds somebody's texts, so columns are named only where all
look like names; those to rename are named only where they are on a list of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from personalrm.wording import count

LIKE_A_NAME = re.compile(r"[\w.\- ]{1,40}")
"""What a column's name looks like; anything else may be private text and is not shown."""
MOST_LISTED = 12
"""Columns named in a message."""
MEANT: Mapping[str, frozenset[str]] = {
    "user_id": frozenset({
        "userid", "user", "username", "annotator", "annotatorid", "rater", "raterid", "labeler", "labelerid", "worker",
        "workerid", "participant", "participantid", "person", "personid", "customer", "customerid", "judge", "author",
    }),
    "prompt": frozenset({"prompt", "question", "query", "instruction", "input", "request", "message"}),
    "conversation": frozenset({"conversation", "messages", "turns", "dialog", "dialogue", "chat"}),
    "timestamp": frozenset({"timestamp", "date", "time", "datetime", "createdat", "created"}),
    "chosen": frozenset({
        "chosen", "winner", "preferred", "better", "best", "accepted", "chosenresponse", "responsechosen",
        "winningresponse", "selected", "picked",
    }),
    "rejected": frozenset({
        "rejected", "loser", "dispreferred", "worse", "worst", "refused", "rejectedresponse", "responserejected",
        "losingresponse", "discarded",
    }),
}  # fmt: skip
"""What we read -> what others call it, in lower case without signs."""
SIDE = re.compile(
    r"(?:response|answer|completion|output|reply|text|candidate|option|model)[ _-]?(?:a|b|1|2)", re.IGNORECASE
)
"""A column of one of two sides, of which another column names the better."""
VOTES = frozenset({"winner", "preference", "preferred", "choice", "vote", "label", "better", "chosen"})


def list_columns(names: Iterable[object]) -> str:
    """The columns for a message; without a header they are somebody's texts, so those are only counted."""
    columns = [str(name) for name in names]
    if look_like_names(columns):
        return f"columns {', '.join(sorted(columns)[:MOST_LISTED]) or 'none'}"
    return f"{count(len(columns), 'column')} in a first row that does not look like a header"


def look_like_names(columns: Iterable[str]) -> bool:
    """Whether all of them may be shown."""
    return all(LIKE_A_NAME.fullmatch(column) for column in columns)


def advise_columns(names: Iterable[object]) -> str:
    """What to rename so that the columns are read; empty where nothing looks familiar.

    >>> advise_columns(["userId", "Prompt", "winner", "loser"])
    "rename 'userId' to 'user_id', 'Prompt' to 'prompt', 'winner' to 'chosen', 'loser' to 'rejected'"
    >>> advise_columns(["user_id", "prompt", "response_a", "response_b", "preference"])
    "write the text that 'preference' prefers into 'chosen' and the other of 'response_a', 'response_b' into 'rejected'"
    """
    columns = [str(name) for name in names]
    sides = [name for name in columns if SIDE.fullmatch(name)]
    votes = [name for name in columns if _plain(name) in VOTES]
    renamed = {name: target for target in MEANT if (name := lookalike(target, columns))}
    if len(sides) == 2 and votes:
        renamed = {name: target for name, target in renamed.items() if target not in ("chosen", "rejected")}
    renames = ", ".join(f"{name!r} to {target!r}" for name, target in renamed.items())
    advice = [f"rename {renames}"] if renames else []
    if len(sides) == 2 and votes:
        both = ", ".join(map(repr, sides))
        advice.append(f"write the text that {votes[0]!r} prefers into 'chosen' and the other of {both} into 'rejected'")
    return ", and ".join(advice)


def lookalike(wanted: str, names: Iterable[object]) -> str:
    """The column that is probably meant for one that is missing; empty where it is there or none is.

    >>> lookalike("user_id", ["User ID", "prompt"]), lookalike("user_id", ["user_id", "user"])
    ('User ID', '')
    """
    columns = [str(name) for name in names]
    if wanted in columns:
        return ""
    same = [name for name in columns if _plain(name) == _plain(wanted)]
    known = [name for name in columns if _plain(name) in MEANT.get(wanted, ()) and name not in MEANT]
    return next(iter([*same, *known]), "")


def _plain(name: str) -> str:
    """A name in lower case without signs: `User_ID`, `userId` and `user id` are the same."""
    return "".join(character for character in name.lower() if character.isalnum())
