"""Pairs of a file gathered by user, with memory that does not grow with the file.

Up to `in_memory` pairs, or `IN_MEMORY_CHARACTERS` of text, are held. Beyond that all
pairs go to `N_PARTITIONS` nameless temporary files by a hash of the user id, and one
partition is held at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from tempfile import TemporaryFile
from typing import IO

from personalrm.errors import BadRow, StoreError
from personalrm.preferences.messages import Conversation
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.prompt_json import pair_from_dict, pair_to_dict
from personalrm.preferences.users import User

Numbered = tuple[int, PreferencePair]
"""A pair and the line it came from."""
Report = Callable[[int, BadRow], None]
IN_MEMORY = 50_000
IN_MEMORY_CHARACTERS = 100_000_000
N_PARTITIONS = 128
"""Open files at once; some systems allow 256."""


def group_by_user(pairs: Iterable[Numbered], *, report: Report, in_memory: int = IN_MEMORY) -> Iterator[User]:
    """The users of these pairs, duplicates removed and counted; at most `in_memory` pairs are held at once.

    Args:
        pairs: Pairs with their lines.
        report: Told of a pair that is declared context and target at once; the first declaration stands.
        in_memory: Pairs held before the disk is used; what fits is checked before the first user comes out.

    Raises:
        StoreError: If the temporary folder is full or not writable.
    """
    stream = iter(pairs)
    held: list[Numbered] = []
    n_characters = 0
    for line, pair in stream:
        if len(held) >= in_memory or n_characters >= IN_MEMORY_CHARACTERS:
            with ExitStack() as open_files:
                for partition in _partition(chain(_emptied(held), [(line, pair)], stream), open_files):
                    yield from _gather(map(_from_line, partition), report)
                    partition.close()
            return
        held.append((line, pair))
        n_characters += len(pair.chosen) + len(pair.rejected) + sum(len(turn.content) for turn in pair.conversation)
    yield from list(_gather(held, report))


class KeptUsers:
    """Users that can be seen once only, kept in a nameless temporary file so that they can be seen again."""

    def __init__(self) -> None:
        self._file: IO[str] | None = None

    def keep(self, users: Iterable[User]) -> Iterator[User]:
        """The users, each kept as it is passed on.

        Raises:
            StoreError: If the temporary folder is full or not writable.
        """
        try:
            self._file = TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 -- closed with this object
            for user in users:
                rows = [{**pair_to_dict(pair), "meta": dict(pair.meta)} for pair in user.pairs]
                self._file.write(json.dumps([user.user_id, rows], default=str) + "\n")
                yield user
        except OSError as error:
            raise _no_place(error) from None

    def __del__(self) -> None:
        if self._file is not None:
            self._file.close()

    def __iter__(self) -> Iterator[User]:
        if self._file is None:
            return
        self._file.seek(0)
        for line in self._file:
            user_id, rows = json.loads(line)
            yield User(user_id, tuple(replace(pair_from_dict(row), meta=row["meta"]) for row in rows))


def _emptied(held: list[Numbered]) -> Iterator[Numbered]:
    """The held pairs in order, each let go as it is passed on."""
    held.reverse()
    while held:
        yield held.pop()


def _partition(pairs: Iterable[Numbered], open_files: ExitStack) -> list[IO[str]]:
    """Every pair in its user's partition, each ready to be read; `open_files` closes them."""
    try:
        with ExitStack() as stack:
            # without a name, so that a killed run leaves nobody's conversations behind
            files: list[IO[str]] = [
                stack.enter_context(TemporaryFile("w+", encoding="utf-8")) for _ in range(N_PARTITIONS)
            ]
            for line, pair in pairs:
                number = hashlib.sha256(pair.user_id.encode("utf-8", "surrogatepass")).digest()[0] % N_PARTITIONS
                row = {**pair_to_dict(pair), "meta": dict(pair.meta), "line": line}
                files[number].write(json.dumps(row, default=str) + "\n")
            for file in files:
                file.seek(0)
            open_files.push(stack.pop_all())
    except OSError as error:
        raise _no_place(error) from None
    return files


def _no_place(error: OSError) -> StoreError:
    return StoreError(
        f"the temporary folder cannot be written ({error.strerror or error}); free some space there, or set TMPDIR to "
        "another folder"
    )


def _from_line(line: str) -> Numbered:
    row = json.loads(line)
    return row["line"], replace(pair_from_dict(row), meta=row["meta"])


def _gather(pairs: Iterable[Numbered], report: Report) -> Iterator[User]:
    """Users in order of first appearance; exact copies are left out, opposite outcomes kept."""
    by_user: dict[str, list[Numbered]] = {}
    for numbered in pairs:
        by_user.setdefault(numbered[1].user_id, []).append(numbered)
    for user_id, numbered_pairs in by_user.items():
        seen: dict[tuple[Conversation, str, str], PreferencePair] = {}
        n_both = n_copies = 0
        for line, pair in numbered_pairs:
            copy = seen.setdefault((pair.conversation, pair.chosen, pair.rejected), pair)
            if copy is pair:
                n_both += (pair.conversation, pair.rejected, pair.chosen) in seen
            elif (copy.split == "target") != (pair.split == "target"):
                message = f"pair {pair.id!r} of user {user_id!r} is declared context and target at once"
                report(line, BadRow(message, line=line, field="split", rule="context and target at once"))
            else:
                n_copies += 1
        yield User(user_id, tuple(seen.values()), n_copies, n_both)
