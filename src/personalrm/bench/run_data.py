"""Datasets of a run: read once, held out by the split rule, described in numbers and a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from personalrm.bench.method import Surveys
from personalrm.bench.run_records import DatasetInfo, TargetRow
from personalrm.bench.run_spec import EXAMPLE, DatasetSpec
from personalrm.bench.snapshots import split_of
from personalrm.bench.sources import OpenSource, open_source
from personalrm.bench.targets import HeldOut, hold_out
from personalrm.errors import BadInput
from personalrm.preferences.messages import conversation_digest
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.people import example_path
from personalrm.preferences.reading import ReadOptions, iter_users
from personalrm.preferences.tally import Tally
from personalrm.preferences.users import User

USER_SPLIT = "user_split"
"""Column that says whether a user is one of the train, dev or test users."""


@dataclass(frozen=True, repr=False)
class Dataset:
    """One dataset, ready to be judged."""

    spec: DatasetSpec
    held_out: HeldOut
    surveys: Surveys
    info: DatasetInfo
    n_bad_rows: int

    @property
    def target_rows(self) -> list[TargetRow]:
        """The targets without their texts."""
        return [
            TargetRow(pair.hash, pair.user_id, len(pair.chosen), len(pair.rejected)) for pair in self.held_out.targets
        ]


def load_dataset(spec: DatasetSpec, base: Path, *, limit: int | None = None) -> Dataset:
    """Read a dataset and hold out its targets.

    Args:
        spec: Where it is and how it is read.
        base: What its paths are relative to.
        limit: Most users with enough pairs, those with the smallest hashes of their ids.

    Raises:
        BadFile: If it cannot be read.
        BadInput: If rows are bad and `skip_bad` is off, or nobody has a target.
    """
    tally = Tally()
    options = ReadOptions(spec.layout, spec.user_column, min_gap=spec.min_gap, skip_bad=spec.skip_bad)
    source = None if spec.path == EXAMPLE else open_source(_path(spec.path, base), options, survey=_survey(spec, base))
    everybody = iter_users(example_path(), options, tally=tally) if source is None else _users_of(source, tally)
    users = list(_limited(everybody, spec.min_pairs, limit))
    held_out = _held_out(users, spec)
    info = DatasetInfo(
        spec.name,
        hash=_hash_of(users),
        licence=spec.licence or (source.source.licence if source and source.source.hub_name else ""),
        statistics=_statistics(users, held_out),
        shows_texts=spec.shows_texts,
    )
    return Dataset(spec, held_out, source.surveys() if source else {}, info, tally.n_bad_rows)


def _path(name: str, base: Path) -> str:
    """A path beside the run file where there is one, else the name of a source."""
    return str(base / name) if (base / name).exists() or Path(name).suffix else name


def _survey(spec: DatasetSpec, base: Path) -> Path | None:
    return None if spec.surveys is None else base / spec.surveys


def _users_of(source: OpenSource, tally: Tally) -> Iterator[User]:
    """The users of all files of a source; where files are parts of the users, the part is their `user_split`."""
    if len(source.files) == 1:
        yield from iter_users(source.files[0], source.options, tally=tally)
        return
    parts: dict[str, list[PreferencePair]] = {}
    for file in source.files:
        part = split_of(file, file.parent.parent)
        for user in iter_users(file, source.options, tally=tally):
            marked = [replace(pair, meta={USER_SPLIT: part, **pair.meta}) for pair in user] if part else user.pairs
            parts.setdefault(user.user_id, []).extend(marked)
    yield from (User(user_id, tuple(pairs)) for user_id, pairs in parts.items())


def _held_out(users: Sequence[User], spec: DatasetSpec) -> HeldOut:
    """The scored users held out; where the data splits its users, the others to learn from and to tune on."""
    parts: dict[str, list[User]] = {}
    for user in users:
        parts.setdefault(str(user.pairs[0].meta.get(USER_SPLIT, "")), []).append(user)
    if set(parts) == {""} or spec.users == "all":
        return hold_out(users, min_pairs=spec.min_pairs)
    if spec.users not in parts:
        raise BadInput(
            f"dataset {spec.name!r} has no {spec.users} users (its column {USER_SPLIT!r} holds "
            f"{', '.join(map(repr, sorted(parts)))}); set users to one of them or to all"
        )
    held_out = hold_out(parts[spec.users], min_pairs=spec.min_pairs)
    train, dev = (
        {user.user_id: user for user in parts.get(part, ()) if part != spec.users} for part in ("train", "dev")
    )
    return replace(held_out, train=train, dev=dev)


def _limited(users: Iterable[User], min_pairs: int, limit: int | None) -> Iterator[User]:
    """The users in order; with a limit only so many of those with enough pairs."""
    if limit is None:
        yield from users
        return
    everybody = [user for user in users if len(user) >= min_pairs]
    kept = {user.user_id for user in sorted(everybody, key=lambda user: _digest(user.user_id))[:limit]}
    yield from (user for user in everybody if user.user_id in kept)


def _hash_of(users: Iterable[User]) -> str:
    """Identity of the pairs, whatever file they stood in."""
    digest = hashlib.sha256()
    for pair_hash in sorted(pair.hash for user in users for pair in user):
        digest.update(pair_hash.encode("ascii"))
    return digest.hexdigest()


def _statistics(users: Iterable[User], held_out: HeldOut) -> Mapping[str, float]:
    """Benchmark statistics of the users that are scored (paper, table of statistics)."""
    scored = [user for user in users if user.user_id in held_out.context]
    pairs = [pair for user in scored for pair in user]
    return {
        "n_users": len(scored),
        "n_conversations": len({(pair.user_id, pair.conversation_key) for pair in pairs}),
        "n_pairs": len(pairs),
        "n_unique_queries": len({conversation_digest(pair.conversation) for pair in pairs}),
        "multi_turn_share": sum(len(pair.conversation) > 1 for pair in pairs) / len(pairs),
        "n_target_users": len(held_out.context),
        "n_target_pairs": len(held_out.targets),
        "n_left_out_too_few": len(held_out.too_few),
        "n_left_out_no_target": len(held_out.without_target),
    }


def _digest(user_id: str) -> str:
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()
