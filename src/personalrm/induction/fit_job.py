"""A fit of a whole file into a home folder: resumable, never done twice.

Two passes over the file: the first learns the population and finds every bad row, the
second fits user by user and saves each before the next. A user whose newest prompt
carries the fingerprint of this very fit is left as it is, so a killed job run again
ends with the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from personalrm.errors import NotFitted, UnknownUser
from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.induction.settings import InductionSettings
from personalrm.preferences.messages import digest
from personalrm.preferences.reading import ReadOptions, Tally, iter_users
from personalrm.preferences.users import User
from personalrm.running.stopping import Drain
from personalrm.store.home import Home
from personalrm.stylometry.population import Prior

FINGERPRINT = "fingerprint"
"""Key in a saved prompt's settings: what the fit depended on."""


@dataclass(frozen=True)
class FitReport:
    """What a fit did; everything that was left out is counted."""

    n_users: int
    n_fitted: int
    n_unchanged: int
    """Users whose newest prompt came from this very fit already."""
    n_too_few: int
    """Users with too few pairs for anything personal."""
    n_without_context: int
    """Users all of whose rows are targets."""
    n_bad_rows: int
    stopped: bool
    """Whether an interrupt ended the fit early; the same command goes on."""
    tally: Tally

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        return {name: value for name, value in self.__dict__.items() if name != "tally"} | {
            "rows": self.tally.as_json()
        }


class FitJob:
    """One fit of a file: `prepare` learns the population, `run` fits and saves."""

    def __init__(
        self,
        path: str | Path,
        home: Home,
        options: ReadOptions | None = None,
        settings: InductionSettings | None = None,
        *,
        user_id: str | None = None,
    ) -> None:
        self._path, self._home = path, home
        self._options = options or ReadOptions()
        self._settings = settings or InductionSettings()
        self._user_id = user_id
        self._engine: EmbeddedFit | None = None
        self.tally = Tally()
        self.n_users = 0
        self._n_fitted = self._n_unchanged = self._n_too_few = self._n_without_context = 0
        self._stopped = False

    def prepare(self) -> FitJob:
        """First pass: every row is checked, users are counted, the population is learned.

        Raises:
            BadInput: If the file has bad rows and they are not to be skipped, listing them.
            UnknownUser: If one user is asked for who is not in the file.
        """
        self._engine = EmbeddedFit.learned_from(self._counted(), settings=self._settings)
        if self._user_id is not None and not self.n_users:
            raise UnknownUser(f"user {self._user_id!r} is not in {str(self._path)!r}; check the id")
        return self

    def _counted(self) -> Iterator[User]:
        for user in iter_users(self._path, self._options, tally=self.tally):
            if self._user_id in (None, user.user_id):
                self.n_users += 1
            yield user

    def run(self) -> Iterator[str]:
        """Second pass: fits and saves user by user; yields each user's id when they are safe on disk.

        An interrupt lets the user in work finish and then ends the job, see `FitReport.stopped`.
        """
        with Drain() as drain:
            for user in iter_users(self._path, self._options):
                if self._user_id not in (None, user.user_id):
                    continue
                if drain.is_asked:
                    self._stopped = True
                    return
                self._fit_one(user)
                yield user.user_id

    def _fit_one(self, user: User) -> None:
        if self._engine is None:
            raise NotFitted("the fit job was not prepared; call prepare() before run()")
        if not any(pair.split != "target" for pair in user.pairs):
            self._n_without_context += 1
            return
        fingerprint = fingerprint_of(user, self._settings, self._engine.prior_for(user.user_id))
        earlier = self._home.newest(user.user_id)
        if earlier is not None and earlier.settings.get(FINGERPRINT) == fingerprint:
            self._n_unchanged += 1
            self._n_too_few += earlier.too_few_pairs
            return
        prompt = next(self._engine.fit([user], recorded=lambda user_id: earlier.roles if earlier else None))
        self._home.save(replace(prompt, settings={**prompt.settings, FINGERPRINT: fingerprint}))
        self._n_fitted += 1
        self._n_too_few += prompt.too_few_pairs

    def report(self) -> FitReport:
        """What was done so far."""
        return FitReport(
            n_users=self.n_users,
            n_fitted=self._n_fitted,
            n_unchanged=self._n_unchanged,
            n_too_few=self._n_too_few,
            n_without_context=self._n_without_context,
            n_bad_rows=self.tally.n_bad_rows,
            stopped=self._stopped,
            tally=self.tally,
        )


def fingerprint_of(user: User, settings: InductionSettings, prior: Prior) -> str:
    """A hash of everything a fit of this user depends on: pairs, settings, prior."""
    numbers = [f"{value:.9g}" for column in (prior.scale, prior.mean, prior.variance) for value in column]
    return digest(sorted(pair.hash for pair in user.pairs), settings.as_json(), numbers)
