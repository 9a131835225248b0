"""Benchmark datasets with train, dev and test users: the two published ones, and those that `bench build` made.

The published sets are loaded as they are, by hub name or from a local copy, and counted
against what the paper says of them (section 4).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import get_args

from personalrm.datasets.snapshots import (
    SPLIT_NAMES,
    Fetch,
    UserSplit,
    data_files,
    fetch_snapshot,
    rows_of_files,
    split_of,
)
from personalrm.errors import BadFile, BadInput, UnknownName
from personalrm.preferences.reading.files import Tally, pairs_of_rows
from personalrm.preferences.reading.grouping import group_by_user
from personalrm.preferences.reading.options import ReadOptions
from personalrm.preferences.reading.surveys import Survey, read_surveys
from personalrm.preferences.users import User

USER_SPLITS: tuple[UserSplit, ...] = get_args(UserSplit)
USER_SPLIT = "user_split"
"""Column that says to which users somebody belongs, where the files do not: train, dev or test."""


@dataclass(frozen=True)
class Expected:
    """What the paper and its data say a set holds."""

    users: Mapping[UserSplit, int]
    n_target_pairs: int
    """Target pairs of test users."""
    n_pairs: int
    n_users: tuple[int, int]
    """Fewest and most users: the paper is not of one mind about PRISM."""


@dataclass(frozen=True)
class PublishedSet:
    """A set on the hub."""

    title: str
    hub_name: str
    expected: Expected


PUBLISHED: dict[str, PublishedSet] = {
    "arena-personalized": PublishedSet(
        "PersonalRewardBench, Chatbot Arena",
        "MichaelR207/chatbot_arena_personalized_0125",
        Expected({"train": 23, "dev": 19, "test": 89}, 284, 1_338, (131, 131)),
    ),
    "prism-personalized": PublishedSet(
        "PersonalRewardBench, PRISM",
        "MichaelR207/prism_personalized_0125",
        Expected({"train": 280, "dev": 65, "test": 378}, 3_033, 16_705, (720, 723)),
    ),
}


@dataclass(frozen=True)
class Check:
    """One count held against what was published."""

    what: str
    expected: str
    found: int
    holds: bool

    def line(self) -> str:
        """The check in a sentence."""
        return f"{'ok' if self.holds else 'FAILED'}: {self.what}: expected {self.expected}, found {self.found:,}"


@dataclass(frozen=True, repr=False)
class BenchmarkSet:
    """Users of a benchmark by split, in the order of the rows."""

    title: str
    users: Mapping[UserSplit, tuple[User, ...]]
    tally: Tally
    surveys: Mapping[str, Survey] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    """Counts held against the published ones; empty for a set of one's own."""

    @property
    def failed_checks(self) -> tuple[Check, ...]:
        """The checks that do not hold; say so wherever a result of this set is shown."""
        return tuple(check for check in self.checks if not check.holds)

    def __repr__(self) -> str:
        counts = {name: len(users) for name, users in self.users.items()}
        return f"BenchmarkSet(title={self.title!r}, users={counts!r}, failed_checks={len(self.failed_checks)})"


def load_benchmark(
    where: str | Path,
    options: ReadOptions | None = None,
    *,
    published: str | None = None,
    fetch: Fetch = fetch_snapshot,
) -> BenchmarkSet:
    """A benchmark set by name or from a folder; the checks run where the set is a published one.

    A failed check does not stop the loading: the set is what it is, and `failed_checks` and
    the tally's warnings say clearly in what it differs.

    Args:
        where: `arena-personalized`, `prism-personalized`, a hub name of theirs, or a folder or file in the same
            layout; a path that exists wins.
        options: How to read the rows.
        published: Hold a local copy against this published set.
        fetch: How files come from the hub.

    Raises:
        UnknownName: If it is neither a path nor a set we know, or a row names a split nobody knows.
        BadFile: If the folder holds no rows or no users' split.
        BadInput: If rows are bad and `skip_bad` is off, or somebody is in two splits.
    """
    path, name = Path(where), str(where) if published is None else published
    known = PUBLISHED.get(name) or next((known for known in PUBLISHED.values() if known.hub_name == name), None)
    if known is None and (published is not None or not path.exists()):
        names = ", ".join((*PUBLISHED, *(known.hub_name for known in PUBLISHED.values())))
        raise UnknownName(f"benchmark {name[:200]!r} is neither a file nor a folder nor one of {names}")
    if known is not None and not path.exists():
        path = fetch(known.hub_name, ("data/*.parquet", "*.parquet", "*.jsonl"))
    tally = Tally()
    by_split: dict[UserSplit, dict[str, User]] = {split: {} for split in USER_SPLITS}
    for file in data_files(path):
        file_split = split_of(file, path)
        pairs = pairs_of_rows(rows_of_files([file]), options or ReadOptions(), tally, where=str(file))
        for user in group_by_user(pairs, report=tally.add_bad):
            split = _split(user, file_split, file)
            # A set may be cut into several files of one split, but nobody belongs to two splits.
            before = by_split[split].get(user.user_id)
            if before is None and any(user.user_id in users for users in by_split.values()):
                raise BadInput(f"user {user.user_id!r} is in two splits of the users; keep each user in one")
            whole = user if before is None else replace(before, pairs=before.pairs + user.pairs)
            by_split[split][user.user_id] = whole
    users = {split: tuple(users.values()) for split, users in by_split.items()}
    survey = path / "survey.jsonl"
    title = known.title if known is not None else path.name
    checks = check_published(users, known.expected) if known is not None else ()
    return BenchmarkSet(title, users, tally, read_surveys(survey) if survey.is_file() else {}, checks)


def check_published(users: Mapping[UserSplit, Sequence[User]], expected: Expected) -> tuple[Check, ...]:
    """The counts of a set held against the published ones."""
    n_users = sum(map(len, users.values()))
    n_pairs = sum(len(user) for some in users.values() for user in some)
    n_targets = sum(pair.split == "target" for user in users["test"] for pair in user.pairs)
    counts = [(f"{split} users", expected.users[split], len(users[split])) for split in USER_SPLITS]
    counts += [("target pairs of test users", expected.n_target_pairs, n_targets)]
    counts += [("pairs in all", expected.n_pairs, n_pairs)]
    fewest, most = expected.n_users
    between = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return (
        *(Check(what, f"{published:,}", n, n == published) for what, published, n in counts),
        Check("users in all", between, n_users, fewest <= n_users <= most),
    )


def _split(user: User, file_split: str, file: Path) -> UserSplit:
    """The split of a user: the file's, else that of the column, in which all rows of a user must agree."""
    given = {str(pair.meta.get(USER_SPLIT) or "") for pair in user.pairs} if not file_split else {file_split}
    if len(given) > 1:
        raise BadInput(f"user {user.user_id!r} is in two splits of the users; keep each user in one")
    name = given.pop()
    if not name:
        raise BadFile(
            f"{str(file)!r} does not say which users are train, dev and test; name the file so, or add a column "
            f"{USER_SPLIT!r}"
        )
    if name.lower() in SPLIT_NAMES:
        return SPLIT_NAMES[name.lower()]
    raise UnknownName(f"column {USER_SPLIT!r} of {str(file)!r} holds {name[:20]!r}; use train, dev or test")
