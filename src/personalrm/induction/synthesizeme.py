"""SynthesizeMe, the estimator: fit on one user's pairs, then judge as that user would.

Scikit-learn manners: the constructor stores, `fit` returns self. Without `lm` the
embedded engine answers the induction's questions and, by default, judges with the MAP
weights of all context pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from personalrm.errors import BadInput, ModelUnavailable, NotFitted
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

    def fit(self, pairs: User | Sequence[PreferencePair], *, others: Iterable[User] = ()) -> SynthesizeMe:
        """Learn one user from their pairs; all of them are context, but for rows called target.

        Args:
            pairs: The user's pairs.
            others: Other users, whose pairs tell what most people like. Left out, the
                prior learned from the shipped examples stands in.

        Raises:
            BadInput: If there are no pairs, or they belong to several users.
            ModelUnavailable: If `lm` was given.
        """
        user = _one_user(pairs)
        refuse_lm(self.lm)
        known = [*(other for other in others if other.user_id != user.user_id), user]
        engine = EmbeddedFit.learned_from(known, settings=self.settings)
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
        return judge_pair(self.prompt, tuple(conversation), first, second)

    def rank(self, conversation: Sequence[Message], completions: Sequence[str]) -> Ranking:
        """The completions from best to worst for this user."""
        return rank_completions(self.prompt, tuple(conversation), completions)

    def judge_messages(self, conversation: Sequence[Message], first: str, second: str) -> tuple[Message, ...]:
        """Messages that make any chat model judge as this user would."""
        return judge_messages(self.prompt, tuple(conversation), first, second)

    def generation_prompt(self) -> str:
        """A system prompt that makes any chat model write as this user likes."""
        return generation_prompt(self.prompt)

    def edit_persona(self, sentences: Sequence[str]) -> SynthesizeMe:
        """Replace the persona by these sentences; judging honours them, evidence of unchanged ones stays."""
        known = {claim.text: claim for claim in self.prompt.persona.claims}
        claims = tuple(known.get(text, Claim(text)) for text in sentences if text.strip())
        self._prompt = replace(self.prompt, persona=replace(self.prompt.persona, claims=claims))
        return self

    def save(self, path: str | Path) -> None:
        """Write the personal prompt as JSON."""
        Path(path).write_text(prompt_to_json(self.prompt), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> SynthesizeMe:
        """A fitted model from a saved personal prompt.

        Raises:
            CorruptFile: If the file is not a personal prompt.
            NewerVersion: If a later version wrote it.
        """
        model = cls()
        model._prompt = prompt_from_json(Path(path).read_text(encoding="utf-8"), where=str(path))
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
    if not pairs:
        raise BadInput("there are no pairs to fit; pass at least one preference pair")
    users = {pair.user_id for pair in pairs}
    if len(users) > 1:
        raise BadInput(f"fit learns one user, got the pairs of {len(users)}; use fit_users for many")
    return User(pairs[0].user_id, tuple(pairs))


def fit_users(
    users: Mapping[str, User] | Sequence[User] | str | Path,
    *,
    lm: str | None = None,
    settings: InductionSettings | None = None,
    options: ReadOptions | None = None,
) -> Iterator[PersonalPrompt]:
    """The personal prompts of many users, streaming, each learned beside all the others.

    Args:
        users: What `read_pairs` returned, a list of users, or a file, which is then read
            twice and never held whole.
        lm: As for `SynthesizeMe`.
        settings: As for `SynthesizeMe`.
        options: How to read the file.

    Raises:
        ModelUnavailable: If `lm` was given.
    """
    refuse_lm(lm)

    def everybody() -> Iterable[User]:
        if isinstance(users, str | Path):
            return iter_users(users, options)
        return users.values() if isinstance(users, Mapping) else users

    return EmbeddedFit.learned_from(everybody(), settings=settings).fit(everybody())
