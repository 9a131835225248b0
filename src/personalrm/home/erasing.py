"""What leaves with a person, wherever it lies in the home: answers, embeddings, runs, then the store itself.

The store goes last: a kill in between leaves the person there, so that the same command can be given again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from personalrm.home.runs import RunsErased, erase_from_runs, rows_in_runs
from personalrm.lm.cache import CACHE_FILE, Cache
from personalrm.store.people import PeopleStore


@dataclass(frozen=True)
class Erased:
    """What left with a person."""

    user_id: str
    n_versions: int
    n_pairs: int
    n_answers: int
    """Kept answers of models that nobody else's data asked for."""
    n_embeddings: int
    """Vectors of texts that nobody else has."""
    runs: RunsErased
    damaged_files: tuple[Path, ...] = ()
    """Caches that were set aside as damaged and may have held answers of the person; they went whole."""

    @property
    def is_empty(self) -> bool:
        """Whether there was nothing."""
        n_counted = self.n_versions + self.n_pairs + self.n_answers + self.n_embeddings + self.runs.n_rows
        return not (n_counted or self.damaged_files)


def erase_answers(home: Path, user_id: str) -> tuple[int, tuple[Path, ...]]:
    """Take a person out of the kept answers; how many went, and the damaged files that went whole."""
    cache = Cache(home / CACHE_FILE)
    if not (cache.files_set_aside() or cache.path.exists()):
        return 0, ()
    with cache:
        damaged = tuple(cache.files_set_aside())  # asked once it is open, since opening may have found one more
        return cache.erase(user_id), damaged


def erase_person(store: PeopleStore, user_id: str) -> Erased:
    """Erase everything about a person in the home.

    Raises:
        UnknownUser: If nothing of them is there.
        StoreError: If something cannot be written.
    """
    is_known = store.knows(user_id) or store.is_erasing_left()
    n_versions, n_pairs = store.count(user_id)
    n_answers, damaged = erase_answers(store.home, user_id)
    n_embeddings = 0
    for database in sorted((store.home / "embeddings").rglob("rows.sqlite")):
        from personalrm.embedding.store import erase_rows  # with numpy, which most homes do not need

        n_embeddings += erase_rows(database.parent, user_id)
    runs = erase_from_runs(store.home / "runs", user_id)
    erased = Erased(user_id, n_versions, n_pairs, n_answers, n_embeddings, runs, damaged)
    if not is_known and erased.is_empty:
        raise store.unknown(user_id)
    store.delete(user_id)
    return erased


def is_anywhere(store: PeopleStore, user_id: str) -> bool:
    """Whether anything of the person lies in the home, outside of the store too."""
    if store.knows(user_id) or store.is_erasing_left():
        return True
    cache = Cache(store.home / CACHE_FILE, read_only=True)
    if cache.files_set_aside():
        return True
    if cache.path.exists():
        with cache:
            if cache.owns(user_id):
                return True
    return any(True for _ in rows_in_runs(store.home / "runs", user_id))
