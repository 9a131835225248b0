"""A fit of a whole file into a home folder: resumable, never done twice.

Two passes over the file: the first finds every bad row and shows everybody to the
engine, the second fits user by user and saves each before it is reported. A user whose
newest prompt carries the fingerprint of this very fit is left as it is, so a killed job
run again ends with the same bytes. What fits a user is an engine: `embedded_fit.py` or
`model_fit.py`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from personalrm.errors import NewerVersion, UnknownUser
from personalrm.induction.edits import carry_edits
from personalrm.preferences.messages import digest
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prompt_json import pair_to_dict
from personalrm.preferences.reading.files import ReadOptions, Tally, iter_users
from personalrm.preferences.users import User
from personalrm.stopping import Drain
from personalrm.store.home import Home
from personalrm.wording import count

FINGERPRINT = "fingerprint"
"""Key in a saved prompt's settings: what the fit depended on."""
UNSCORED = "unscored"
"""Key in a saved prompt's settings: how many verdicts were missing when it was made."""
NOT_DONE = "not done, the run was stopped"


@dataclass(frozen=True, repr=False)
class Todo:
    """A user to be fitted."""

    user: User
    earlier: PersonalPrompt | None
    """Their newest prompt, which fixes roles and carries edits."""
    fingerprint: str
    recorded: Mapping[str, str] | None = None
    """Roles by pair hash where there is no earlier prompt to take them from."""

    @property
    def roles(self) -> Mapping[str, str]:
        """Roles fixed by an earlier fit."""
        return self.earlier.roles if self.earlier else self.recorded or {}


@dataclass(frozen=True, repr=False)
class Fitted:
    """What became of one user."""

    todo: Todo
    prompt: PersonalPrompt | None
    """None when it could not be made."""
    reason: str = ""
    n_unscored: int = 0


class FitEngine(Protocol):
    """Whatever makes personal prompts of users."""

    def learn(self, users: Iterable[User]) -> None:
        """See everybody once, before anybody is fitted."""
        ...

    def depends_on(self, user_id: str) -> Any:
        """All that decides a user's prompt besides their pairs, as JSON values."""
        ...

    def fit_each(self, todo: Iterable[Todo]) -> Iterator[Fitted]:
        """Every user's prompt, as they are ready."""
        ...

    def stop(self) -> None:
        """Finish early: begin nothing new, keep what is under way safe."""
        ...


@dataclass
class FitReport:
    """What a fit did; everything that was left out is counted."""

    tally: Tally = field(default_factory=Tally)
    n_users: int = 0
    n_fitted: int = 0
    n_unchanged: int = 0
    """Users whose newest prompt came from this very fit already."""
    n_too_few: int = 0
    """Users with too few pairs for anything personal."""
    n_without_sentence: int = 0
    """Users whose persona says nothing, since nothing is clear enough to be said."""
    n_without_context: int = 0
    """Users all of whose rows are targets."""
    stopped: bool = False
    """Whether the fit ended early; the same command goes on."""
    partial: dict[str, str] = field(default_factory=dict)
    """Users whose prompt lacks verdicts of the model, with how many and why."""
    failed: dict[str, str] = field(default_factory=dict)
    """Users without a new prompt, with the reason."""
    damaged: list[str] = field(default_factory=list)
    """Saved prompts that could not be read and were set aside, a sentence each."""

    @property
    def is_whole(self) -> bool:
        """Whether everything that was asked for was done."""
        return not (self.stopped or self.partial or self.failed or self.damaged or self.tally.n_bad_rows)

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        counts = {name: value for name, value in vars(self).items() if name != "tally"}
        return counts | {"n_bad_rows": self.tally.n_bad_rows, "rows": self.tally.as_json()}


class FitJob:
    """One fit of a file.

    Args:
        path: Preference pairs.
        home: Where prompts go.
        engine: What makes them.
        options: How to read the file.
        user_id: Fit this user only; the others are still seen by the engine.
        retry_unscored: Fit again those whose prompt lacks verdicts.
    """

    def __init__(
        self,
        path: str | Path,
        home: Home,
        engine: FitEngine,
        options: ReadOptions | None = None,
        *,
        user_id: str | None = None,
        retry_unscored: bool = False,
    ) -> None:
        self._path, self._home, self._engine = path, home, engine
        self._options = options or ReadOptions()
        self._user_id, self._retry_unscored = user_id, retry_unscored
        self.report = FitReport()

    def prepare(self) -> FitJob:
        """First pass: every row is checked, users are counted, the engine sees everybody.

        Raises:
            BadInput: If the file has bad rows and they are not to be skipped, listing them.
            UnknownUser: If one user is asked for who is not in the file.
        """

        def counted() -> Iterator[User]:
            for user in iter_users(self._path, self._options, tally=self.report.tally):
                self.report.n_users += self._user_id in (None, user.user_id)
                yield user

        self._engine.learn(counted())
        if self._user_id is not None and not self.report.n_users:
            raise UnknownUser(f"user {self._user_id!r} is not in {str(self._path)!r}; check the id")
        return self

    def run(self, interrupted: Callable[[], object]) -> Iterator[str]:
        """Second pass: yields each user's id when they are safe on disk, or when there is nothing to save.

        An interrupt lets the engine finish what is under way and then ends the job; a second one ends it at once.

        Args:
            interrupted: Called at the first interrupt.
        """

        def stop() -> None:
            self._engine.stop()
            interrupted()

        with Drain(stop) as drain:
            unchanged: deque[str] = deque()
            for fitted in self._engine.fit_each(self.todo(lambda: drain.is_asked, unchanged.append)):
                self._save(fitted)
                yield fitted.todo.user.user_id
                while unchanged:
                    yield unchanged.popleft()
            yield from unchanged

    def todo(
        self,
        is_stopped: Callable[[], bool] = lambda: False,
        done: Callable[[str], object] = lambda _: None,
        *,
        only_look: bool = False,
    ) -> Iterator[Todo]:
        """The users that need a fit; `done` is called with the ids of the others.

        With `only_look` the home stays as it is.
        """
        for user in iter_users(self._path, self._options):
            if self._user_id not in (None, user.user_id):
                continue
            if is_stopped():
                self.report.stopped = True
                return
            if not user.context_pairs:
                self.report.n_without_context += 1
                done(user.user_id)
                continue
            try:
                earlier, damage = self._home.newest_or_set_aside(user.user_id, only_look=only_look)
            except NewerVersion as error:  # a later personalrm wrote their prompt, which is left alone
                self.report.failed[user.user_id] = str(error)
                done(user.user_id)
                continue
            if damage:
                self.report.damaged.append(damage)
            pairs = [pair_to_dict(pair) for pair in user.pairs]
            item = Todo(user, earlier, digest(pairs, self._engine.depends_on(user.user_id)))
            if self._is_unchanged(item):
                done(user.user_id)
            else:
                yield item

    def _is_unchanged(self, todo: Todo) -> bool:
        earlier = todo.earlier
        if earlier is None or earlier.settings.get(FINGERPRINT) != todo.fingerprint:
            return False
        n_unscored = earlier.settings.get(UNSCORED, 0)
        if n_unscored and self._retry_unscored:
            return False
        if n_unscored:
            self.report.partial[todo.user.user_id] = (
                f"{count(n_unscored, 'verdict')} missing; ask again: --retry-unscored"
            )
        self.report.n_unchanged += 1
        self._count_prompt(earlier)
        return True

    def _save(self, fitted: Fitted) -> None:
        user_id, report = fitted.todo.user.user_id, self.report
        if fitted.prompt is None:
            report.failed[user_id] = fitted.reason
            report.stopped = report.stopped or fitted.reason == NOT_DONE
            return
        prompt = carry_edits(fitted.todo.earlier, fitted.prompt, fitted.todo.user.pairs)
        settings = {**prompt.settings, FINGERPRINT: fitted.todo.fingerprint}
        if fitted.n_unscored:
            settings[UNSCORED] = fitted.n_unscored
            report.partial[user_id] = f"{count(fitted.n_unscored, 'verdict')} missing: {fitted.reason}"
        self._home.save(replace(prompt, settings=settings))
        report.n_fitted += 1
        self._count_prompt(prompt)

    def _count_prompt(self, prompt: PersonalPrompt) -> None:
        self.report.n_too_few += prompt.too_few_pairs
        self.report.n_without_sentence += not (prompt.persona.claims or prompt.too_few_pairs)
