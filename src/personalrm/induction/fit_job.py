"""A fit of a whole file into the people of a home: resumable, never done twice.

Two passes over the file: the first finds every bad row and shows everybody to the
engine, the second fits user by user and saves each before it is reported. A user whose
newest prompt carries the fingerprint of this very fit is left as it is, so a killed job
run again ends with the same export. What fits a user is an engine: `embedded_fit.py` or
`model_fit.py`. Choices that were forgotten are not learned from again, and what is hidden
is not quoted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from personalrm.errors import NewerVersion, UnknownUser
from personalrm.induction.edits import carry_edits
from personalrm.induction.hidden import without_hidden
from personalrm.preferences.messages import digest
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prompt_json import pair_to_dict
from personalrm.preferences.reading.files import ReadOptions, Tally, iter_users
from personalrm.preferences.reading.grouping import KeptUsers
from personalrm.preferences.reading.rows import is_stream
from personalrm.preferences.users import User
from personalrm.stopping import Drain
from personalrm.store.records import Hidden, Learned
from personalrm.wording import count

if TYPE_CHECKING:
    from personalrm.store.people import Forgotten, PeopleStore

FINGERPRINT = "fingerprint"
"""Key in a saved prompt's settings: what the fit depended on."""
UNSCORED = "unscored"
"""Key in a saved prompt's settings: how many verdicts were missing when it was made."""
NOT_DONE = "not done, the run was stopped"
QUICK_S = 0.02
"""Users who come faster than this are saved together: a commit of SQLite waits for the disk several times."""
MOST_TOGETHER = 64


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

    def forget(self, user_id: str) -> None:
        """Take out what was kept of a user on the way; called when everybody is done."""
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
    n_forgotten: int = 0
    """Pairs of the file that were forgotten and are not learned from again."""
    damaged: list[str] = field(default_factory=list)
    """Saved prompts that could not be read and were passed over, a sentence each."""

    @property
    def is_whole(self) -> bool:
        """Whether everything that was asked for was done."""
        return not (self.stopped or self.partial or self.failed or self.damaged or self.tally.n_bad_rows)

    def as_json(self) -> dict[str, Any]:
        """The report for machines."""
        counts = {name: value for name, value in vars(self).items() if name != "tally"}
        return counts | {"n_bad_rows": self.tally.n_bad_rows, "rows": self.tally.as_json()}


class FitJob:
    """One fit of a file, or of the choices that a home holds.

    Args:
        source: A file of preference pairs, or what gives everybody anew each time it is called; of a pipe, or `-` for
            standard input, what it holds is read once.
        home: Where pairs and prompts go.
        engine: What makes them.
        options: How to read the file.
        user_ids: Fit these users only; the others are still seen by the engine. None means everybody.
        retry_unscored: Fit again those whose prompt lacks verdicts.
    """

    def __init__(
        self,
        source: str | Path | Callable[[], Iterable[User]],
        home: PeopleStore,
        engine: FitEngine,
        options: ReadOptions | None = None,
        *,
        user_ids: Collection[str] | None = None,
        retry_unscored: bool = False,
    ) -> None:
        self._source, self._home, self._engine = source, home, engine
        self._options = options or ReadOptions()
        self._user_ids, self._retry_unscored = user_ids, retry_unscored
        self._kept: KeptUsers | None = None
        self.report = FitReport()
        self._forgotten: Forgotten | None = None
        self._hidden: Mapping[str, Hidden] = {}
        self._beginning = 0
        self._unsaved: list[User] = []

    def prepare(self) -> FitJob:
        """First pass: every row is checked, users are counted, the engine sees everybody.

        Raises:
            BadInput: If the file has bad rows and they are not to be skipped, listing them.
            UnknownUser: If users are asked for of whom none is in the file.
        """
        # As things stand when the fit begins; what is erased meanwhile is found when it saves.
        self._beginning = self._home.last_erasure()
        self._forgotten, self._hidden = self._home.forgotten(), self._home.everybody_hidden()

        def counted() -> Iterator[User]:
            for read in self._users(self.report.tally):
                user = self._without_forgotten(read)
                self.report.n_forgotten += len(read) - len(user)
                if not user.pairs:
                    continue
                self.report.n_users += self._is_wanted(user)
                yield user

        self._engine.learn(counted())
        if self._user_ids and not self.report.n_users:
            where = str(self._source) if isinstance(self._source, str | Path) else str(self._home.home)
            raise UnknownUser(f"user {min(self._user_ids)!r} is not in {where!r}; check the id")
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
            together: list[Fitted] = []
            before = time.monotonic()
            for fitted in self._engine.fit_each(self.todo(lambda: drain.is_asked, unchanged.append)):
                together.append(fitted)
                if time.monotonic() - before > QUICK_S or len(together) == MOST_TOGETHER:
                    yield from self._save(together)
                    together.clear()
                while unchanged:
                    yield unchanged.popleft()
                before = time.monotonic()
            yield from self._save(together)
            yield from unchanged
        # Their answers may have come after the command that erased them had looked; so may those of users whose fit
        # failed, of whom nothing is saved, so that no save is refused.
        for user_id in self._home.erased_since(self._beginning, self._unsaved):
            self._engine.forget(user_id)

    def todo(
        self,
        is_stopped: Callable[[], bool] = lambda: False,
        done: Callable[[str], object] = lambda _: None,
    ) -> Iterator[Todo]:
        """The users that need a fit; `done` is called with the ids of the others."""
        for user in map(self._without_forgotten, self._users()):
            if not self._is_wanted(user) or not user.pairs:
                continue
            if is_stopped():
                self.report.stopped = True
                return
            if not user.context_pairs:
                self.report.n_without_context += 1
                done(user.user_id)
                continue
            try:
                earlier, damage = self._home.newest_readable(user.user_id)
            except NewerVersion as error:  # a later personalrm wrote their prompt, which is left alone
                self.report.failed[user.user_id] = str(error)
                done(user.user_id)
                continue
            if damage:
                self.report.damaged.append(damage)
            pairs = [pair_to_dict(pair) for pair in user.pairs]
            decides = [pairs, self._engine.depends_on(user.user_id)]
            if hidden := self._hidden.get(user.user_id):
                decides.append([sorted(hidden.hashes), sorted(hidden.words)])
            item = Todo(user, earlier, digest(*decides))
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

    def _users(self, tally: Tally | None = None) -> Iterable[User]:
        if not isinstance(self._source, str | Path):
            return self._source()
        if self._kept is not None:
            return self._kept
        users = iter_users(self._source, self._options, tally=tally)
        if not is_stream(self._source):
            return users
        self._kept = KeptUsers()  # a pipe cannot be read a second time
        return self._kept.keep(users)

    def _is_wanted(self, user: User) -> bool:
        return self._user_ids is None or user.user_id in self._user_ids

    def _without_forgotten(self, user: User) -> User:
        if self._forgotten is None:
            return user
        kept = tuple(pair for pair in user.pairs if pair not in self._forgotten)
        return user if len(kept) == len(user.pairs) else replace(user, pairs=kept)

    def _save(self, together: Iterable[Fitted]) -> Iterator[str]:
        """Store what was fitted in one transaction, and yield the ids when it is on disk."""
        made: list[tuple[Fitted, PersonalPrompt]] = []
        for fitted in together:
            user = fitted.todo.user
            if fitted.prompt is None:
                self.report.failed[user.user_id] = fitted.reason
                self._unsaved.append(user)
                self.report.stopped = self.report.stopped or fitted.reason == NOT_DONE
                yield user.user_id
                continue
            prompt = carry_edits(fitted.todo.earlier, fitted.prompt, user.pairs)
            if hidden := self._hidden.get(user.user_id):
                prompt = without_hidden(prompt, hidden, user.pairs)
            settings = {**prompt.settings, FINGERPRINT: fitted.todo.fingerprint}
            if fitted.n_unscored:
                settings[UNSCORED] = fitted.n_unscored
            made.append((fitted, replace(prompt, settings=settings)))
        learned = [Learned(prompt, fitted.todo.user.context_pairs) for fitted, prompt in made]
        refusals = self._home.save_fitted(learned, since=self._beginning) if learned else []
        for (fitted, prompt), refusal in zip(made, refusals, strict=True):
            if refusal:
                self.report.failed[prompt.user_id] = refusal
                self._unsaved.append(fitted.todo.user)
            else:
                if fitted.n_unscored:
                    missing = count(fitted.n_unscored, "verdict")
                    self.report.partial[prompt.user_id] = f"{missing} missing: {fitted.reason}"
                self.report.n_fitted += 1
                self._count_prompt(prompt)
            yield prompt.user_id

    def _count_prompt(self, prompt: PersonalPrompt) -> None:
        self.report.n_too_few += prompt.too_few_pairs
        self.report.n_without_sentence += not (prompt.persona.claims or prompt.too_few_pairs)
