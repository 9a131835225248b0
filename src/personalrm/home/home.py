"""A home of people, from Python: add their choices, fit, judge, rank, edit, forget, export, delete.

    home = Home("personalrm-home")
    henrik = home.person("henrik")
    henrik.judge(conversation, first, second)

The constructors touch nothing. Where a language model is asked, each method has a twin that is awaited, which runs it
in a thread: a server's event loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

from personalrm.errors import BadInput
from personalrm.home.erasing import Erased, erase_answers, erase_person
from personalrm.home.moving import Imported, export_lines, import_lines
from personalrm.induction.edits import edit_persona
from personalrm.induction.embedded_fit import SAMPLE, EmbeddedFit
from personalrm.induction.fit_job import FitEngine, FitJob, FitReport
from personalrm.induction.hidden import without_hidden, without_pair
from personalrm.induction.model_fit import ModelFit
from personalrm.induction.settings import InductionSettings
from personalrm.induction.synthesizeme import all_of, default_settings
from personalrm.judging.both_orders import Ranking, ToRank, rank_with_judge
from personalrm.judging.model import ModelJudge, open_model_judge
from personalrm.judging.options import JudgeOptions
from personalrm.judging.personal import ToJudge, judge_pairs, rank_completions
from personalrm.lm.cache import CACHE_FILE
from personalrm.lm.protocol import LM
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Persona
from personalrm.preferences.users import User
from personalrm.preferences.verdicts import Verdict
from personalrm.store.people import PeopleStore
from personalrm.store.records import Listed, StoredPair, Version


class Home:
    """The people of a home folder.

    Args:
        path: The folder; made at the first write.
        lm: A language model, as for `SynthesizeMe`; None is the embedded engine.
        base_url: An OpenAI-compatible server.
        database: URL of a PostgreSQL database that holds people in place of the folder's `people.db`.
        settings: Variant, number of trials, seed.
        judge_options: How the model is asked.

    Examples:
        >>> import tempfile
        >>> from personalrm import Home, example_users
        >>> with Home(tempfile.mkdtemp()) as home:
        ...     home.add(example_users()[0])
        ...     len(home.person("mara").fit().roles)
        13
        13
    """

    def __init__(
        self,
        path: str | Path,
        *,
        lm: str | LM | None = None,
        base_url: str | None = None,
        database: str | None = None,
        settings: InductionSettings | None = None,
        judge_options: JudgeOptions | None = None,
    ) -> None:
        self.path = Path(path)
        self.store = PeopleStore(path, database)
        self.lm, self.base_url, self.judge_options = lm, base_url, judge_options
        self.settings = settings or default_settings(lm)
        self._judge: ModelJudge | None = None
        self._learned: tuple[tuple[int, int], EmbeddedFit] | None = None
        """The embedded engine, and the state of the store from which it learned what most people like."""

    def __enter__(self) -> Home:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the database, and of the model's connections and answers; the next use opens them again."""
        if self._judge is not None:
            self._judge.caller.close()
            self._judge = None
        self.store.close()

    def person(self, user_id: str) -> Person:
        """One person, who need not be there yet."""
        return Person(self, user_id)

    def known_person(self, user_id: str) -> Person:
        """One person of whom something is stored.

        Raises:
            UnknownUser: If nothing is.
        """
        if not self.store.knows(user_id):
            raise self.store.unknown(user_id)
        return self.person(user_id)

    def people(self) -> Iterator[Listed]:
        """Everybody, by id, with what a list says of them."""
        return self.store.listed()

    def add(self, pairs: User | Iterable[PreferencePair], *, reasons: Mapping[str, str] | None = None) -> int:
        """Store choices, of any number of people; returns how many were not there yet.

        Args:
            pairs: The choices. One that is there already, by content, is left as it is; forgotten ones are left out.
            reasons: Why a person chose so, in their words, by `PreferencePair.id`.
        """
        by_user: dict[str, list[StoredPair]] = {}
        for pair in all_of(PreferencePair, pairs, "pairs"):
            stored = StoredPair(pair, (reasons or {}).get(pair.id, ""))
            by_user.setdefault(pair.user_id, []).append(stored)
        return sum(self.store.add_pairs(user_id, stored) for user_id, stored in by_user.items())

    def fit(self, user_ids: Sequence[str] | None = None) -> FitReport:
        """Learn people from their stored choices, and save a version for each who has something new.

        Args:
            user_ids: Whom; None means everybody.

        Raises:
            UnknownUser: If none of them is there.
            ModelUnavailable: If the model cannot be reached.
        """
        judge = self._opened()
        engine = self._embedded() if judge is None else ModelFit(judge, self.settings)
        wanted = None if user_ids is None else frozenset(all_of(str, user_ids, "user_ids"))
        job = FitJob(lambda: self._users(wanted), self.store, engine, user_ids=wanted).prepare()
        deque(job.run(lambda: None), maxlen=0)
        if judge is not None and judge.caller.stopped is not None:
            raise judge.caller.stopped
        return job.report

    def judge(self, questions: Sequence[tuple[str, Sequence[Message], str, str]]) -> list[Verdict]:
        """What each person prefers, all asked at once; a question is user id, conversation, first and second."""
        prompts = self._prompts(user_id for user_id, *_ in questions)
        asked = [ToJudge(prompts[user], tuple(turns), first, second) for user, turns, first, second in questions]
        return judge_pairs(asked, self._opened())

    def rank(self, questions: Sequence[tuple[str, Sequence[Message], Sequence[str]]]) -> list[Ranking]:
        """Completions from best to worst, all asked at once; a question is user id, conversation and completions."""
        prompts = self._prompts(user_id for user_id, *_ in questions)
        asked = [ToRank(prompts[user], tuple(turns), tuple(completions)) for user, turns, completions in questions]
        judge = self._opened()
        if judge is not None:
            return rank_with_judge(judge, asked)
        return [rank_completions(item.prompt, item.conversation, item.completions) for item in asked]

    async def fit_async(self, user_ids: Sequence[str] | None = None) -> FitReport:
        """`fit`, awaited."""
        return await asyncio.to_thread(self.fit, user_ids)

    async def judge_async(self, questions: Sequence[tuple[str, Sequence[Message], str, str]]) -> list[Verdict]:
        """`judge`, awaited."""
        return await asyncio.to_thread(self.judge, questions)

    async def rank_async(self, questions: Sequence[tuple[str, Sequence[Message], Sequence[str]]]) -> list[Ranking]:
        """`rank`, awaited."""
        return await asyncio.to_thread(self.rank, questions)

    def export(self, user_id: str | None = None, *, with_dates: bool = False) -> Iterator[dict[str, Any]]:
        """Everything about a person, or about everybody: choices, prompts, edits, kept answers, rows of runs.

        Raises:
            UnknownUser: If nothing of the person is there.
        """
        return export_lines(self.store, user_id, with_dates=with_dates)

    def import_lines(self, lines: Iterable[Mapping[str, Any]], *, where: str = "the lines") -> Imported:
        """Take in what `export` gave, all of it or nothing.

        Raises:
            BadRow: Naming the first line that cannot be read.
        """
        return import_lines(self.store, lines, where=where)

    def _opened(self) -> ModelJudge | None:
        if self._judge is None and self.lm is not None:
            self._judge = open_model_judge(
                self.lm, base_url=self.base_url, cache=self.path / CACHE_FILE, options=self.judge_options
            )
        return self._judge

    def _prompts(self, user_ids: Iterable[str]) -> dict[str, PersonalPrompt]:
        return {user_id: self.store.load(user_id) for user_id in dict.fromkeys(user_ids)}

    def _embedded(self) -> FitEngine:
        """The embedded engine, which has learned again what most people like if a choice has come or gone since."""
        state = self.store.state()
        if self._learned is None or self._learned[0] != state:
            by_hash = sorted(
                self.store.user_ids(), key=lambda user_id: hashlib.sha256(user_id.encode("utf-8")).digest()
            )
            ids = by_hash[:SAMPLE]  # those whom `learn` would keep
            engine = EmbeddedFit.learned_from(self._stored(ids), settings=self.settings)
            self._learned = state, engine
        return _Ready(self._learned[1])

    def _users(self, wanted: frozenset[str] | None) -> Iterator[User]:
        return self._stored(self.store.user_ids() if wanted is None else sorted(wanted))

    def _stored(self, user_ids: Iterable[str]) -> Iterator[User]:
        """The people who have stored choices."""
        for user_id in user_ids:
            if pairs := tuple(stored.pair for stored in self.store.pairs(user_id)):
                yield User(user_id, pairs)


@dataclass(frozen=True)
class ForgottenChoices:
    """What `Person.forget` did."""

    n_pairs: int
    n_answers: int
    """Kept answers of models that went with them."""
    n_versions: int = 0
    """Versions of the prompt that went because no choice is left: all of them."""
    version: int | None = None
    """The newest version where the prompt was learned again, else None."""
    made_by: str | None = None
    """Who made the newest prompt where it was not learned again and may still say what was learned from the choice."""


class _Ready:
    """An engine that has seen everybody already, and is not to learn from the few who are fitted."""

    def __init__(self, engine: EmbeddedFit) -> None:
        self.depends_on, self.fit_each = engine.depends_on, engine.fit_each
        self.stop, self.forget = engine.stop, engine.forget

    def learn(self, users: Iterable[User]) -> None:
        deque(users, maxlen=0)


class Person:
    """One person of a home; made by `Home.person`, touches nothing until asked."""

    def __init__(self, home: Home, user_id: str) -> None:
        self._home, self._store, self.user_id = home, home.store, user_id

    @property
    def prompt(self) -> PersonalPrompt:
        """Everything that was learned, the newest version.

        Raises:
            UnknownUser: If nothing was fitted.
        """
        return self._store.load(self.user_id)

    @property
    def persona(self) -> Persona:
        """What the person likes, sentence by sentence, with evidence."""
        return self.prompt.persona

    @property
    def pairs(self) -> tuple[StoredPair, ...]:
        """Their choices, in the order they came."""
        return self._store.pairs(self.user_id)

    @property
    def versions(self) -> tuple[Version, ...]:
        """Their prompts so far, oldest first."""
        return self._store.versions(self.user_id)

    def version(self, number: int) -> PersonalPrompt:
        """An earlier prompt."""
        return self._store.load(self.user_id, number)

    def add(self, pairs: User | Iterable[PreferencePair], *, reasons: Mapping[str, str] | None = None) -> int:
        """Store choices of this person; see `Home.add`."""
        given = all_of(PreferencePair, pairs, "pairs")
        if other := next((pair.user_id for pair in given if pair.user_id != self.user_id), None):
            raise BadInput(f"a choice of user {other!r} was given to user {self.user_id!r}; pass their own only")
        return self._home.add(given, reasons=reasons)

    def fit(self) -> PersonalPrompt:
        """Learn from the stored choices; the newest prompt, which stays the same where nothing is new.

        Raises:
            UnknownUser: If no choice of the person is stored.
            BadInput: If they cannot be fitted, with the reason.
        """
        report = self._home.fit([self.user_id])
        if self.user_id in report.failed:
            raise BadInput(f"user {self.user_id!r} was not fitted: {report.failed[self.user_id]}")
        return self.prompt

    def judge(self, conversation: Sequence[Message], first: str, second: str) -> Verdict:
        """Which of two completions the person prefers; `probability` is that of the first."""
        return self._home.judge([(self.user_id, conversation, first, second)])[0]

    def rank(self, conversation: Sequence[Message], completions: Sequence[str]) -> Ranking:
        """The completions from best to worst for this person."""
        return self._home.rank([(self.user_id, conversation, all_of(str, completions, "completions"))])[0]

    async def fit_async(self) -> PersonalPrompt:
        """`fit`, awaited."""
        return await asyncio.to_thread(self.fit)

    async def judge_async(self, conversation: Sequence[Message], first: str, second: str) -> Verdict:
        """`judge`, awaited."""
        return await asyncio.to_thread(self.judge, conversation, first, second)

    async def rank_async(self, conversation: Sequence[Message], completions: Sequence[str]) -> Ranking:
        """`rank`, awaited."""
        return await asyncio.to_thread(self.rank, conversation, completions)

    def edit(self, sentences: Sequence[str]) -> int:
        """Replace the persona by these sentences; returns the number of the newest version, old where nothing changed.

        Raises:
            BadInput: If no sentence is left, one gives orders to a model, or one holds what the person hides.
        """
        before = self.prompt
        edited = edit_persona(before, all_of(str, sentences, "sentences"))
        if edited == before:
            return self.versions[-1].number
        stored = self.pairs
        quiet = without_hidden(edited, self._store.hidden(self.user_id), [kept.pair for kept in stored])
        if len(quiet.persona.claims) < len(edited.persona.claims):
            raise BadInput(
                f"a sentence of the persona of user {self.user_id!r} holds a word or quotes a choice that is hidden; "
                "say it in other words"
            )
        old, new = ([claim.text for claim in prompt.persona.claims] for prompt in (before, edited))
        return self._store.save_edit(
            edited,
            added=[text for text in new if text not in old],
            removed=[text for text in old if text not in new],
        )

    def restore(self, version: int) -> int:
        """Make an earlier version the newest again, as a version of its own; returns its number."""
        return self._store.restore(self.user_id, version)

    def hide(self, *, pair: str = "", word: str = "") -> int:
        """Never quote a choice or a word again, in no version; it is still learned from.

        Args:
            pair: Name or hash of a choice.
            word: A word, or several in a row.

        Returns:
            How many versions were rewritten.
        """
        if bool(pair) == bool(word.strip()):
            raise BadInput(f"hide a choice or a word of user {self.user_id!r}, one of the two")
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in word if not character.isspace()):
            raise BadInput(f"the word to hide of user {self.user_id!r} holds control characters; write plain text")
        pairs = [stored.pair for stored in self.pairs]
        return self._store.hide(
            self.user_id,
            pair=pair,
            word=" ".join(word.split()),
            change=lambda prompt, hidden: without_hidden(prompt, hidden, pairs),
        )

    def forget(self, pair: str) -> ForgottenChoices:
        """Erase a choice for good: it is in no version any more, and a file that still has it does not bring it back.

        Kept answers of a model about this person go too, since any of them may quote it. Where the embedded engine made
        the newest prompt, it learns again from the choices that are left; otherwise what was learned from the choice
        stays in sentences until the next `fit`. Where no choice is left, all versions go, sentences by hand included.

        Args:
            pair: Name or hash of the choice; a name that several bear means all of them.
        """
        self._store.check_pair(self.user_id, pair)  # so that a slip of the hand costs no answers
        # Answers first: after a kill in between the choice is still there to be forgotten.
        n_answers, _ = erase_answers(self._home.path, self.user_id)
        forgot = self._store.forget(self.user_id, pair, lambda prompt, gone: reduce(without_pair, gone, prompt))
        version, made_by = None, None
        if self._store.count(self.user_id)[0]:
            prompt = self.prompt
            if prompt.weights and self._home.lm is None:
                self.fit()
                version = self.versions[-1].number
            else:
                made_by = prompt.judge
        return ForgottenChoices(forgot.n_pairs, n_answers, forgot.n_versions, version, made_by)

    def export(self, *, with_dates: bool = False) -> list[dict[str, Any]]:
        """Everything about the person; see `Home.export`."""
        return list(self._home.export(self.user_id, with_dates=with_dates))

    def delete(self) -> Erased:
        """Erase everything about the person, everywhere in the home, to the byte.

        Raises:
            UnknownUser: If nothing of them is there.
        """
        return erase_person(self._store, self.user_id)
