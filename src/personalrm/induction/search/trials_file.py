"""The trials of a search on disk: one line each, so that a killed search goes on where it was.

The first line says which search it is. Lines of another search, or cut short by a kill,
are not used: the search then asks again, and the cache has the answers.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from personalrm.errors import BadInput, CorruptFile, StoreError
from personalrm.typed_values import plain, saved_object, saved_value
from personalrm.whole_files import replace_file

FORMAT_VERSION = 1
Values = tuple[float | None, ...]


@dataclass(frozen=True)
class Combination:
    """A candidate: an instruction together with a set of example personas, by their numbers."""

    instruction: int
    examples: int


@dataclass(frozen=True)
class Trial:
    """One candidate measured on some dev users."""

    number: int
    """Counted from 0, the candidate we start from."""
    cell: Combination
    users: tuple[int, ...]
    """Dev users measured now, by their numbers."""
    values: Values
    """What each gained over the default judge, in [-1, 1]; None where nothing was scored."""
    is_full: bool
    """Whether the candidate is now measured on everybody."""

    def __post_init__(self) -> None:
        if len(self.values) != len(self.users):
            raise BadInput(
                f"trial {self.number} has {len(self.values)} values for {len(self.users)} users; give one for each"
            )


class TrialsFile:
    """Keeps trials and hands out those of an earlier run of the same search.

    Args:
        path: Where; None keeps them in memory only.
        search: What the search is known by (a digest of settings, models, candidates and users).
    """

    def __init__(self, path: Path | None, search: str) -> None:
        self._path, self._search = path, search
        self._earlier = [] if path is None else _read(path, search)
        self._n_used = 0
        self.trials: list[Trial] = []

    def find(self, cell: Combination, users: tuple[int, ...], *, is_full: bool) -> Values | None:
        """The values of the next trial, if an earlier run made just this one."""
        if self._n_used < len(self._earlier):
            trial = self._earlier[self._n_used]
            if (trial.cell, trial.users, trial.is_full) == (cell, users, is_full):
                self._n_used += 1
                return trial.values
        self._earlier = self._earlier[: self._n_used]
        return None

    def add(self, trial: Trial) -> None:
        """Keep a trial; it is safe on disk afterwards.

        Raises:
            StoreError: If it cannot be written.
        """
        self.trials.append(trial)
        if self._path is None or len(self.trials) <= self._n_used:
            return
        try:
            if len(self.trials) == self._n_used + 1:
                # The file anew, with the trials that were taken up; what else it held belongs to another search.
                self._path.parent.mkdir(parents=True, exist_ok=True)
                lines = [{"format_version": FORMAT_VERSION, "search": self._search}]
                lines += [plain(earlier) for earlier in self._earlier[: self._n_used]]
                replace_file(self._path, (json.dumps(line) + "\n" for line in lines))
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(plain(trial)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise StoreError(
                f"trials file {str(self._path)!r} cannot be written ({error.strerror}); check the disk"
            ) from None


def _read(path: Path, search: str) -> list[Trial]:
    """Trials of the same search up to the first line that is not whole."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"trials file {str(path)!r} cannot be read ({type(error).__name__}); remove it") from None
    where, again = str(path), "remove it"
    trials: list[Trial] = []
    try:
        for number, line in enumerate(lines):
            content = saved_object(line, where, again=again)
            if number == 0 and content.get("search") != search:
                return []
            if number > 0:
                trials.append(saved_value(Trial, content, where, again=again))
    except CorruptFile:
        pass  # cut short by a kill, or not ours: what could be read before stays
    return trials
