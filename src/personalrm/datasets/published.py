"""Benchmark datasets with train, dev and test users: the two published ones, and those that `bench build` made.

The published sets are loaded as they are, by hub name or from a local copy, and counted
against what the paper says of them (section 4).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

from personalrm.datasets.snapshots import SPLIT_NAMES, Fetch, data_files, fetch_snapshot, rows_of_files, split_of
from personalrm.errors import BadFile, BadInput, UnknownName
from personalrm.preferences.reading.files import Tally, pairs_of_rows
from personalrm.preferences.reading.grouping import group_by_user
from personalrm.preferences.reading.options import ReadOptions
from personalrm.preferences.reading.surveys import Survey, read_surveys
from personalrm.preferences.users import User

UserSplit = Literal["train", "dev", "test"]
USER_SPLITS: tuple[UserSplit, ...] = get_args(UserSplit)
COLUMN = "user_split"
"""Column that names the users' split where the files do not."""


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
    path, known = Path(where), _named(str(where) if published is None else published)
    if published is not None and known is None:
        raise _unknown(published)
    if not path.exists():
        if known is None:
            raise _unknown(str(where))
        path = fetch(known.hub_name, ("data/*.parquet", "*.parquet", "*.jsonl"))
    tally = Tally()
    users = _users(path, options or ReadOptions(), tally)
    survey = path / "survey.jsonl"
    title = known.title if known is not None else path.name
    found = BenchmarkSet(title, users, tally, read_surveys(survey) if survey.is_file() else {})
    return replace(found, checks=check_published(found, known.expected)) if known is not None else found


def check_published(found: BenchmarkSet, expected: Expected) -> tuple[Check, ...]:
    """The counts of a set held against the published ones."""
    counts = {split: len(found.users[split]) for split in USER_SPLITS}
    n_users = sum(counts.values())
    n_pairs = sum(len(user) for users in found.users.values() for user in users)
    n_targets = sum(pair.split == "target" for user in found.users["test"] for pair in user.pairs)
    fewest, most = expected.n_users
    told = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    return (
        *(_check(f"{split} users", expected.users[split], counts[split]) for split in USER_SPLITS),
        _check("target pairs of test users", expected.n_target_pairs, n_targets),
        _check("pairs in all", expected.n_pairs, n_pairs),
        Check("users in all", told, n_users, fewest <= n_users <= most),
    )


def _check(what: str, expected: int, found: int) -> Check:
    return Check(what, f"{expected:,}", found, found == expected)


def _users(path: Path, options: ReadOptions, tally: Tally) -> dict[UserSplit, tuple[User, ...]]:
    by_split: dict[UserSplit, dict[str, User]] = {name: {} for name in USER_SPLITS}
    for file in data_files(path):
        named = split_of(file, path)
        for user in _users_of_file(file, options, tally):
            split = _split(user, named, file)
            if any(user.user_id in users for users in by_split.values()):
                # A set may be cut into several files of one split, but nobody belongs to two splits.
                _join(by_split, split, user)
            else:
                by_split[split][user.user_id] = user
    return {name: tuple(users.values()) for name, users in by_split.items()}


def _join(by_split: Mapping[UserSplit, dict[str, User]], split: UserSplit, user: User) -> None:
    before = by_split[split].get(user.user_id)
    if before is None:
        raise BadInput(f"user {user.user_id!r} is in two splits of the users; keep each user in one")
    by_split[split][user.user_id] = replace(before, pairs=before.pairs + user.pairs)


def _users_of_file(file: Path, options: ReadOptions, tally: Tally) -> Iterator[User]:
    pairs = pairs_of_rows(rows_of_files([file]), options, tally, where=str(file))
    yield from group_by_user(pairs, report=tally.add_bad)


def _split(user: User, named: str, file: Path) -> UserSplit:
    """The split of a user: the file's, else that of the column, in which all rows of a user must agree."""
    given = {str(pair.meta.get(COLUMN) or "") for pair in user.pairs} if not named else {named}
    if len(given) > 1:
        raise BadInput(f"user {user.user_id!r} is in two splits of the users; keep each user in one")
    name = given.pop()
    if not name:
        raise BadFile(
            f"{str(file)!r} says not which users are train, dev and test; name the file so, or add a column {COLUMN!r}"
        )
    split = SPLIT_NAMES.get(name.lower())
    for one in USER_SPLITS:
        if one == split:
            return one
    raise UnknownName(f"column {COLUMN!r} of {str(file)!r} holds {name[:20]!r}; use train, dev or test")


def _named(name: str) -> PublishedSet | None:
    return PUBLISHED.get(name) or next((one for one in PUBLISHED.values() if one.hub_name == name), None)


def _unknown(name: str) -> UnknownName:
    names = ", ".join((*PUBLISHED, *(one.hub_name for one in PUBLISHED.values())))
    return UnknownName(f"benchmark {name[:200]!r} is neither a file nor a folder nor one of {names}")
