"""SynthesizeMe, the estimator: fit on one user's pairs, then judge as that user would.

Scikit-learn manners: the constructor stores, `fit` returns self. Without `lm` the
embedded engine answers the induction's questions and, by default, judges with the MAP
weights of all context pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from personalrm.errors import BadFile, BadInput, CorruptFile, ModelUnavailable, NotFitted
from personalrm.induction.embedded_fit import EmbeddedFit
from personalrm.induction.settings import InductionSettings
from personalrm.judging.personal import judge_pair, rank_completions
from personalrm.judging.ranking import Ranking
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.prompt_json import prompt_from_json, prompt_to_json
from personalrm.preferences.reading import ReadOptions, iter_users
from personalrm.preferences.users import User
from personalrm.preferences.verdicts import Verdict
from personalrm.prompts.rendering import generation_prompt, judge_messages

T = TypeVar("T")


class SynthesizeMe:
    """A personal reward model of one user (Ryan et al., ACL 2025).

    Args:
        lm: Name of a language model. None, the default, is the embedded engine; models
            come with a later version.
        settings: Variant, number of trials, seed.

    Example:
        >>> from personalrm.preferences.people import example_users
        >>> model = SynthesizeMe().fit(example_users()[0])
        >>> model.prompt.user_id
        'mara'
    """

    def __init__(self, lm: str | None = None, *, settings: InductionSettings | None = None) -> None:
        self.lm = lm
        self.settings = settings or InductionSettings()
        self._prompt: PersonalPrompt | None = None

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
            ModelUnavailable: If `lm` was given.
        """
        user = _one_user(pairs)
        refuse_lm(self.lm)
        known = [other for other in _all_of(User, others, "others") if other.user_id != user.user_id]
        engine = EmbeddedFit.learned_from([*_each_once(known), user], settings=self.settings)
        recorded = self._prompt.roles if self._prompt and self._prompt.user_id == user.user_id else None
        self._prompt = next(engine.fit([user], recorded=lambda user_id: recorded))
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
        first, second = _all_of(str, (first, second), "completions")
        return judge_pair(self.prompt, _all_of(Message, conversation, "conversation"), first, second)

    def rank(self, conversation: Sequence[Message], completions: Sequence[str]) -> Ranking:
        """The completions from best to worst for this user."""
        turns = _all_of(Message, conversation, "conversation")
        return rank_completions(self.prompt, turns, _all_of(str, completions, "completions"))

    def judge_messages(self, conversation: Sequence[Message], first: str, second: str) -> tuple[Message, ...]:
        """Messages that make any chat model judge as this user would."""
        first, second = _all_of(str, (first, second), "completions")
        return judge_messages(self.prompt, _all_of(Message, conversation, "conversation"), first, second)

    def generation_prompt(self) -> str:
        """A system prompt that makes any chat model write as this user likes."""
        return generation_prompt(self.prompt)

    def edit_persona(self, sentences: Sequence[str]) -> SynthesizeMe:
        """Replace the persona by these sentences; judging honours them, evidence of unchanged ones stays."""
        known = {claim.text: claim for claim in self.prompt.persona.claims}
        claims = tuple(known.get(text, Claim(text)) for text in _all_of(str, sentences, "sentences") if text.strip())
        self._prompt = replace(self.prompt, persona=replace(self.prompt.persona, claims=claims))
        return self

    def save(self, path: str | Path) -> None:
        """Write the personal prompt as JSON."""
        Path(path).write_text(prompt_to_json(self.prompt), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> SynthesizeMe:
        """A fitted model from a saved personal prompt.

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
                f"{str(path)!r} is not UTF-8, so no personal prompt; pass a file that save wrote"
            ) from None
        model = cls()
        model._prompt = prompt_from_json(text, where=str(path))
        return model

    def __repr__(self) -> str:
        return f"SynthesizeMe(lm={self.lm!r}, prompt={self._prompt!r})"


def refuse_lm(lm: str | None) -> None:
    """Stop when a language model is asked for."""
    if lm is not None:
        raise ModelUnavailable(
            f"model {lm!r} was asked for, but this version has no door to language models yet; "
            "leave lm out to use the embedded engine"
        )


def _one_user(pairs: User | Sequence[PreferencePair]) -> User:
    if isinstance(pairs, User):
        return pairs
    given = _all_of(PreferencePair, pairs, "pairs")
    if not given:
        raise BadInput("there are no pairs to fit; pass at least one preference pair")
    users = {pair.user_id for pair in given}
    if len(users) > 1:
        raise BadInput(f"fit learns one user, got the pairs of {len(users)}; use fit_users for many")
    return User(given[0].user_id, given)


def _all_of(kind: type[T], values: Mapping[str, T] | Iterable[T], name: str) -> tuple[T, ...]:
    """The values of an argument, read once; of a mapping what it maps to.

    A text is refused where texts are wanted, since Python would take it for a list of letters.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise BadInput(f"{name} is a {type(values).__name__}, not a list of {kind.__name__}; pass a list")
    given = tuple(values.values() if isinstance(values, Mapping) else values)
    for place, one in enumerate(given):
        if not isinstance(one, kind):
            raise BadInput(
                f"{name} has a {type(one).__name__} at index {place}, not a {kind.__name__}; pass {kind.__name__} only"
            )
    return given


def _each_once(users: Sequence[User]) -> Sequence[User]:
    twice = next((user_id for user_id, n in Counter(user.user_id for user in users).items() if n > 1), None)
    if twice is not None:
        raise BadInput(f"user {twice!r} is given twice; join their pairs into one User")
    return users


def fit_users(
    users: Mapping[str, User] | Iterable[User] | str | Path,
    *,
    lm: str | None = None,
    settings: InductionSettings | None = None,
    options: ReadOptions | None = None,
) -> Iterator[PersonalPrompt]:
    """The personal prompts of many users, streaming, each learned beside all the others.

    Args:
        users: What `read_pairs` returned, users, which are held while the prompts come, or
            a file, which is then read twice and never held whole.
        lm: As for `SynthesizeMe`.
        settings: As for `SynthesizeMe`.
        options: How to read the file.

    Raises:
        BadInput: If something else than users is given, or a user twice.
        ModelUnavailable: If `lm` was given.
    """
    refuse_lm(lm)
    if isinstance(users, str | Path):
        engine = EmbeddedFit.learned_from(iter_users(users, options), settings=settings)
        return engine.fit(iter_users(users, options))
    held = _each_once(_all_of(User, users, "users"))  # the engine goes through them twice
    return EmbeddedFit.learned_from(held, settings=settings).fit(held)
