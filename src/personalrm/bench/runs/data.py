"""Datasets of a run: read once, held out by the split rule, described in numbers and a hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from personalrm.bench.methods.method import Surveys
from personalrm.bench.plan.spec import EXAMPLE, DatasetSpec
from personalrm.bench.results.records import DatasetInfo, FunnelRow, Removed, TargetRow
from personalrm.datasets.building.publishing import read_manifest
from personalrm.datasets.published import USER_SPLIT, load_benchmark
from personalrm.datasets.targets import HeldOut, hold_out
from personalrm.errors import BadInput
from personalrm.preferences.messages import conversation_digest
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.people import example_path
from personalrm.preferences.reading.files import ReadOptions, Tally, iter_users
from personalrm.preferences.reading.surveys import read_surveys
from personalrm.preferences.splits import split_context
from personalrm.preferences.users import User


@dataclass(frozen=True, repr=False)
class Dataset:
    """One dataset, ready to be judged."""

    spec: DatasetSpec
    held_out: HeldOut
    surveys: Surveys
    info: DatasetInfo
    n_bad_rows: int
    notes: tuple[str, ...] = ()
    """What is odd about it, such as counts that differ from the published ones."""

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
        CorruptFile: If the manifest of a built dataset is damaged.
    """
    options = ReadOptions(spec.layout, spec.user_column, min_gap=spec.min_gap, skip_bad=spec.skip_bad)
    surveys: Surveys = read_surveys(base / spec.surveys) if spec.surveys is not None else {}
    path = example_path() if spec.path == EXAMPLE else base / spec.path
    tally, notes, built_from = Tally(), tuple[str, ...](), None
    # the users by their part: train, dev, test, or empty where the data has none
    everybody: dict[str, list[User]] = {}
    if path.is_file() or path.suffix:  # a file of pairs
        for user in iter_users(path, options, tally=tally):
            everybody.setdefault(str(user.pairs[0].meta.get(USER_SPLIT, "")), []).append(user)
    else:  # a benchmark with its users split: a folder, or a published set by name
        found = load_benchmark(path if path.is_dir() else spec.path, options)
        everybody = {str(part): list(users) for part, users in found.users.items()}
        notes = tuple(f"dataset {spec.name!r}, {check.line()}" for check in found.failed_checks)
        surveys, tally, built_from = surveys or found.surveys, found.tally, read_manifest(path)
    parts = {part: _limited(users, spec.min_pairs, limit) for part, users in everybody.items()}
    more, tally_of_more = list[PreferencePair](), Tally()
    if spec.unfiltered is not None:  # whatever its rows call their users' split
        of_file = iter_users(base / spec.unfiltered, options, tally=tally_of_more)
        more = [pair for user in of_file for pair in user.pairs]
    held_out = _held_out(parts, spec)
    held_out = replace(held_out, unfiltered=(*held_out.unfiltered, *more))
    users = [user for some in parts.values() for user in some]
    digest = hashlib.sha256()  # identity of the pairs, whatever file they stood in
    for pair_hash in sorted([*(pair.hash for user in users for pair in user), *(pair.hash for pair in more)]):
        digest.update(pair_hash.encode("ascii"))
    scored = [user for user in users if user.user_id in held_out.context]
    pairs = [pair for user in scored for pair in user]
    statistics = {  # of the users that are scored (paper, table of statistics)
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
    funnel = None
    if built_from is not None:  # examples by id, their requests only where a report may show them
        funnel = tuple(
            FunnelRow(
                row.title,
                row.n_pairs,
                row.n_users,
                row.n_pairs_removed,
                row.removed,
                tuple(Removed(pair.pair, pair.reason, pair.query if spec.shows_texts else "") for pair in row.examples),
            )
            for row in built_from.funnel
        )
    info = DatasetInfo(
        spec.name,
        hash=digest.hexdigest(),
        licence=spec.licence or (built_from.licence if built_from else ""),
        statistics=statistics,
        funnel=funnel,
        shows_texts=spec.shows_texts,
    )
    return Dataset(spec, held_out, surveys, info, tally.n_bad_rows + tally_of_more.n_bad_rows, notes)


def _held_out(parts: Mapping[str, Sequence[User]], spec: DatasetSpec) -> HeldOut:
    """The scored users held out; where the data splits its users, the others to learn from and to tune on."""
    if set(parts) <= {""} or spec.users == "all":
        return hold_out((user for users in parts.values() for user in users), min_pairs=spec.min_pairs)
    if spec.users not in parts:
        raise BadInput(
            f"dataset {spec.name!r} has no {spec.users} users (its column {USER_SPLIT!r} holds "
            f"{', '.join(map(repr, sorted(parts)))}); set users to one of them or to all"
        )
    held_out = hold_out(parts[spec.users], min_pairs=spec.min_pairs)
    left_out = [user for user in parts[spec.users] if user.user_id not in held_out.context and user.pairs]
    others = tuple(pair for user in left_out for pair in split_context(user.pairs).context)
    train, dev = (
        {user.user_id: user for user in parts.get(part, ()) if part != spec.users} for part in ("train", "dev")
    )
    return replace(held_out, train=train, dev=dev, unfiltered=others)


def _limited(users: Sequence[User], min_pairs: int, limit: int | None) -> list[User]:
    """The users in order; with a limit only so many of those with enough pairs."""
    if limit is None:
        return list(users)
    everybody = [user for user in users if len(user) >= min_pairs]
    digests = {
        user.user_id: hashlib.sha256(user.user_id.encode("utf-8", "surrogatepass")).digest() for user in everybody
    }
    kept = set(sorted(digests, key=digests.__getitem__)[:limit])
    return [user for user in everybody if user.user_id in kept]
