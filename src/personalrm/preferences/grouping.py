"""Pairs of a file gathered by user, with memory that does not grow with the file.

Up to `in_memory` pairs are held. Beyond that all pairs go to `N_PARTITIONS` temporary
files by a hash of the user id, and one partition is held at a time.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO

from personalrm.errors import BadInput
from personalrm.preferences.messages import conversation_digest
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.prompt_json import pair_from_dict, pair_to_dict
from personalrm.preferences.users import User

IN_MEMORY = 50_000
N_PARTITIONS = 256


def group_by_user(pairs: Iterable[PreferencePair], *, in_memory: int = IN_MEMORY) -> Iterator[User]:
    """The users of these pairs, duplicates removed and counted; at most `in_memory` pairs are held at once."""
    stream = iter(pairs)
    held = list(islice(stream, in_memory))
    following = next(stream, None)
    if following is None:
        yield from _gather(held)
        return
    with tempfile.TemporaryDirectory(prefix="personalrm-") as folder:
        partitions = _partition(_chained(held, following, stream), Path(folder))
        held.clear()
        for path in partitions:
            with path.open(encoding="utf-8") as lines:
                yield from _gather(_from_line(line) for line in lines)


def _chained(
    held: list[PreferencePair], following: PreferencePair, rest: Iterator[PreferencePair]
) -> Iterator[PreferencePair]:
    yield from held
    yield following
    yield from rest


def _partition(pairs: Iterable[PreferencePair], folder: Path) -> list[Path]:
    """Write every pair to its user's partition."""
    paths = [folder / f"{number:03d}.jsonl" for number in range(N_PARTITIONS)]
    with ExitStack() as stack:
        files: list[IO[str]] = [stack.enter_context(path.open("w", encoding="utf-8")) for path in paths]
        for pair in pairs:
            number = hashlib.sha256(pair.user_id.encode("utf-8", "surrogatepass")).digest()[0]
            files[number].write(_to_line(pair))
    return paths


def _to_line(pair: PreferencePair) -> str:
    return json.dumps({**pair_to_dict(pair), "meta": dict(pair.meta)}, default=str) + "\n"


def _from_line(line: str) -> PreferencePair:
    row = json.loads(line)
    return replace(pair_from_dict(row), meta=row["meta"])


def _gather(pairs: Iterable[PreferencePair]) -> Iterator[User]:
    """Users in order of first appearance; exact copies are left out, opposite outcomes kept."""
    by_user: dict[str, list[PreferencePair]] = {}
    for pair in pairs:
        by_user.setdefault(pair.user_id, []).append(pair)
    for user_id, own in by_user.items():
        yield _without_copies(user_id, own)


def _without_copies(user_id: str, own: list[PreferencePair]) -> User:
    seen: dict[tuple[str, str, str], PreferencePair] = {}
    n_both = 0
    for pair in own:
        place = conversation_digest(pair.conversation)
        copy = seen.setdefault((place, pair.chosen, pair.rejected), pair)
        if copy is pair:
            n_both += (place, pair.rejected, pair.chosen) in seen
        elif (copy.split == "target") != (pair.split == "target"):
            raise BadInput(
                f"pair {pair.id!r} of user {user_id!r} is declared context and target at once; remove one of the rows"
            )
    return User(user_id, tuple(seen.values()), len(own) - len(seen), n_both)
