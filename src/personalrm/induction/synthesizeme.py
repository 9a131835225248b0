"""SynthesizeMe, the estimator: fit on one user's pairs, then judge as that user would.

Scikit-learn manners: the constructor stores, `fit` returns self. Without `lm` the
embedded engine answers the induction's questions and, by default, judges with the MAP
weights of all context pairs; with `lm` a language model does both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from personalrm.errors import BadFile, BadInput, CorruptFile, ModelUnavailable, NotFitted
from personalrm.induction.edits import edit_persona
from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.induction.fit_job import Todo
from personalrm.induction.model_fit import ModelFit
from personalrm.induction.settings import InductionSettings
from personalrm.judging.asking import Candidate, NextQuestion, next_questions
from personalrm.judging.both_orders import Ranking
from personalrm.judging.model import ModelJudge, open_model_judge
from personalrm.judging.options import JudgeOptions
from personalrm.judging.personal import judge_pair, rank_completions
from personalrm.lm.protocol import LM
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Persona
from personalrm.preferences.prompt_json import prompt_from_json, prompt_to_json
from personalrm.preferences.reading.files import ReadOptions, iter_users
from personalrm.preferences.users import User
from personalrm.preferences.verdicts import Verdict
from personalrm.prompts.rendering import generation_prompt, judge_messages
from personalrm.whole_files import replace_file
from personalrm.wording import count

T = TypeVar("T")


def one_user(pairs: User | Sequence[PreferencePair]) -> User:
    """The one user whose pairs these are."""
    if isinstance(pairs, User):
        return pairs
    given = all_of(PreferencePair, pairs, "pairs")
    if not given:
        raise BadInput("there are no pairs to fit; pass at least one preference pair")
    users = {pair.user_id for pair in given}
    if len(users) > 1:
        raise BadInput(f"fit learns one user, got the pairs of {len(users)}; use fit_users for many")
    return User(given[0].user_id, given)


def all_of(kind: type[T], values: Mapping[str, T] | Iterable[T], name: str) -> tuple[T, ...]:
    """The values of an argument, read once; of a mapping what it maps to.

    A text is refused where texts are wanted, since Python would take it for a list of letters.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise BadInput(f"{name} is of type {type(values).__name__}, not a list of {kind.__name__}; pass a list")
    given = tuple(values.values() if isinstance(values, Mapping) else values)
    for place, value in enumerate(given):
        if not isinstance(value, kind):
            raise BadInput(
                f"{name} has a value of type {type(value).__name__} at index {place}; pass {kind.__name__} only"
            )
    return given


def each_once(users: Sequence[User]) -> Sequence[User]:
    """The users, after checking that nobody is given twice."""
    twice = next((user_id for user_id, n in Counter(user.user_id for user in users).items() if n > 1), None)
    if twice is not None:
        raise BadInput(f"user {twice!r} is given twice; join their pairs into one User")
    return users


class SynthesizeMe:
    """A personal reward model of one user (Ryan et al., ACL 2025).

    Args:
        lm: A language model: `openai/NAME`, `litellm/NAME`, any NAME with a `base_url`, or an
            `LM` object. None, the default, is the embedded engine.
        base_url: An OpenAI-compatible server.
        cache: File that keeps the model's answers; without one they are kept in memory.
        settings: Variant, number of trials, seed; with a model the default variant is `both`.
        judge_options: How the model is asked.

    Examples:
        >>> from personalrm import example_users
        >>> model = SynthesizeMe().fit(example_users()[0])
        >>> model.prompt.user_id
        'mara'
    """

    def __init__(
        self,
        lm: str | LM | None = None,
        *,
        base_url: str | None = None,
        cache: str | Path | None = None,
        settings: InductionSettings | None = None,
        judge_options: JudgeOptions | None = None,
    ) -> None:
        self.lm, self.base_url, self.cache, self.judge_options = lm, base_url, cache, judge_options
        self.settings = settings or default_settings(lm)
        self._prompt: PersonalPrompt | None = None
        self._judge: ModelJudge | None = None

    def fit(
        self, pairs: User | Sequence[PreferencePair], *, others: Mapping[str, User] | Iterable[User] = ()
    ) -> SynthesizeMe:
        """Learn one user from their pairs; all of them are context, but for rows called target.

        Args:
            pairs: The user's pairs.
            others: Other users, or what `read_pairs` returned; their pairs tell what most
                people like. Left out, the prior learned from the shipped examples stands in.

        Raises:
            BadInput: If there are no pairs, they belong to several users, or another user is given twice.
            ModelUnavailable: If the model cannot be reached, or its replies give no persona.
        """
        user = one_user(pairs)
        known = [other for other in all_of(User, others, "others") if other.user_id != user.user_id]
        roles = self._prompt.roles if self._prompt and self._prompt.user_id == user.user_id else {}
        judge = self._opened()
        if judge is not None:
            self._prompt = next(iter(fit_with_judge([user], judge, self.settings, roles)))
            return self
        engine = EmbeddedFit.learned_from([*each_once(known), user], settings=self.settings)
        self._prompt = next(engine.fit([user], recorded={user.user_id: roles}))
        return self

    @property
    def prompt(self) -> PersonalPrompt:
        """Everything learned, as data.

        Raises:
            NotFitted: Before `fit` or `load`.
        """
        if self._prompt is None:
            raise NotFitted(
                "this SynthesizeMe has not seen any pairs; call fit(pairs) or SynthesizeMe.load(path) first"
            )
        return self._prompt

    @property
    def persona(self) -> Persona:
        """What the user likes, sentence by sentence, with evidence; `print` shows the text."""
        return self.prompt.persona

    def predict(self, conversation: Sequence[Message], first: str, second: str) -> Verdict:
        """Which of two completions the user prefers; `probability` is that of the first."""
        first, second = all_of(str, (first, second), "completions")
        turns = all_of(Message, conversation, "conversation")
        return judge_pair(self.prompt, turns, first, second, self._opened())

    def rank(self, conversation: Sequence[Message], completions: Sequence[str]) -> Ranking:
        """The completions from best to worst for this user."""
        turns = all_of(Message, conversation, "conversation")
        return rank_completions(self.prompt, turns, all_of(str, completions, "completions"), self._opened())

    def next_questions(self, candidates: Sequence[Candidate], *, n: int = 1) -> list[NextQuestion]:
        """The `n` candidates to show this user next, those whose answers would tell most first."""
        return next_questions(self.prompt, all_of(Candidate, candidates, "candidates"), n=n, judge=self._opened())

    def judge_messages(self, conversation: Sequence[Message], first: str, second: str) -> tuple[Message, ...]:
        """Messages that make any chat model judge as this user would."""
        first, second = all_of(str, (first, second), "completions")
        return judge_messages(self.prompt, all_of(Message, conversation, "conversation"), first, second)

    def generation_prompt(self) -> str:
        """A system prompt that makes any chat model write as this user likes."""
        return generation_prompt(self.prompt)

    def edit_persona(self, sentences: Sequence[str]) -> SynthesizeMe:
        """Replace the persona by these sentences; judging honors them, evidence of unchanged ones stays.

        Raises:
            BadInput: If no sentence is left, or one gives orders to a model (see `induction.edits.edit_persona`).
        """
        self._prompt = edit_persona(self.prompt, all_of(str, sentences, "sentences"))
        return self

    def save(self, path: str | Path) -> None:
        """Write the personal prompt as JSON."""
        replace_file(Path(path), [prompt_to_json(self.prompt)], is_private=True)

    @classmethod
    def load(cls, path: str | Path, lm: str | LM | None = None, *, base_url: str | None = None) -> SynthesizeMe:
        """A fitted model from a saved personal prompt.

        Args:
            path: What `save` wrote.
            lm: Who judges; needed where a language model made the prompt, any model may.
            base_url: As for the constructor.

        Raises:
            BadFile: If there is no such file or it cannot be read.
            CorruptFile: If the file is not a personal prompt.
            NewerVersion: If a later version wrote it.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise BadFile(f"{str(path)!r} cannot be read ({reason}); pass a file that save wrote") from None
        except UnicodeDecodeError:
            raise CorruptFile(
                f"{str(path)!r} is not UTF-8, so not a personal prompt; pass a file that save wrote"
            ) from None
        model = cls(lm, base_url=base_url)
        model._prompt = prompt_from_json(text, where=str(path))
        return model

    def close(self) -> None:
        """Let go of the model's connections and cache; the next use opens them again."""
        if self._judge is not None:
            self._judge.caller.close()
            self._judge = None

    def _opened(self) -> ModelJudge | None:
        """The model's judge, opened at the first use; None for the embedded engine."""
        if self._judge is None and self.lm is not None:
            self._judge = open_model_judge(
                self.lm, base_url=self.base_url, cache=self.cache, options=self.judge_options
            )
        return self._judge

    def __repr__(self) -> str:
        name = self.lm if isinstance(self.lm, str | None) else self.lm.name
        return f"SynthesizeMe(lm={name!r}, prompt={self._prompt!r})"


def default_settings(lm: object | None) -> InductionSettings:
    """The paper's variant with a model, all pairs with the embedded engine."""
    return InductionSettings() if lm is None else InductionSettings(variant="both")


def fit_with_judge(
    users: Iterable[User],
    judge: ModelJudge,
    settings: InductionSettings,
    recorded: Mapping[str, str] | None = None,
) -> Iterator[PersonalPrompt]:
    """The prompts, as they are ready; who could not be fitted is named in the end.

    Raises:
        ModelUnavailable: If the run was stopped, or some users have no prompt.
    """
    failed: dict[str, str] = {}
    for fitted in ModelFit(judge, settings).fit_each(Todo(user, None, "", recorded) for user in users):
        if fitted.prompt is not None:
            yield fitted.prompt
        else:
            failed[fitted.todo.user.user_id] = fitted.reason
    if judge.caller.stopped is not None and failed:
        raise judge.caller.stopped
    if failed:
        user_id, reason = next(iter(failed.items()))
        raise ModelUnavailable(
            f"{count(len(failed), 'user')} could not be fitted, such as {user_id!r} ({reason}); try again"
        )


def fit_users(
    users: Mapping[str, User] | Iterable[User] | str | Path,
    *,
    lm: str | LM | None = None,
    base_url: str | None = None,
    cache: str | Path | None = None,
    settings: InductionSettings | None = None,
    judge_options: JudgeOptions | None = None,
    options: ReadOptions | None = None,
) -> Iterator[PersonalPrompt]:
    """The personal prompts of many users, streaming, each learned beside all the others.

    With the embedded engine they come in the order of the users, with a model as they are ready.

    Args:
        users: What `read_pairs` returned, users, which are held while the prompts come, or
            a file, which is then read twice and never held whole.
        lm: As for `SynthesizeMe`.
        base_url: As for `SynthesizeMe`.
        cache: As for `SynthesizeMe`.
        settings: As for `SynthesizeMe`.
        judge_options: As for `SynthesizeMe`.
        options: How to read the file.

    Raises:
        BadInput: If something else than users is given, or a user twice.
        ModelUnavailable: If the model cannot be reached or some users have no prompt; the others came before.
    """
    chosen = settings or default_settings(lm)
    held = () if isinstance(users, str | Path) else each_once(all_of(User, users, "users"))

    def everybody() -> Iterable[User]:
        return iter_users(users, options) if isinstance(users, str | Path) else held

    if lm is None:
        return EmbeddedFit.learned_from(everybody(), settings=chosen).fit(everybody())
    if isinstance(users, str | Path):
        for _ in everybody():  # every row is checked before the first call is paid
            pass
    judge = open_model_judge(lm, base_url=base_url, cache=cache, options=judge_options)

    def fitted() -> Iterator[PersonalPrompt]:
        with judge.caller:
            yield from fit_with_judge(everybody(), judge, chosen)

    return fitted()
