"""Personal prompts for the training of a reward model, as JSON lines.

A line is a user's prompt made from all their context pairs, or one made without the
pairs of one conversation. The second kind is for training on that conversation: the
paper's way shows a model a persona that was written from the very choice it is asked
about, so it learns to trust personas more than they deserve on new pairs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from personalrm.errors import BadFile, BadInput, PersonalRMError, TargetLeak
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prompt_json import prompt_from_dict, prompt_to_json
from personalrm.preferences.users import User
from personalrm.typed_values import saved_object, saved_value
from personalrm.whole_files import whole_file

AGAIN = "run prepare-prompts again"


@dataclass(frozen=True, repr=False)
class PreparedPrompt:
    """One prompt and what it was made without."""

    prompt: PersonalPrompt
    without: str | None = None
    """`conversation_key` of the conversation left out; None where all pairs were seen."""

    @property
    def user_id(self) -> str:
        """Whose prompt it is."""
        return self.prompt.user_id

    def __repr__(self) -> str:
        return f"PreparedPrompt(user_id={self.user_id!r}, is_cross_fitted={self.without is not None})"


@dataclass(frozen=True, repr=False)
class PreparedPrompts:
    """The prompts of some users."""

    whole: dict[str, PersonalPrompt] = field(default_factory=dict)
    """By user id."""
    cross_fitted: dict[tuple[str, str], PersonalPrompt] = field(default_factory=dict)
    """By user id and the conversation left out."""

    @classmethod
    def of(cls, prompts: Iterable[PreparedPrompt]) -> PreparedPrompts:
        """The prompts, sorted by kind; of two for the same, the later counts."""
        sorted_prompts = cls({}, {})
        for prepared in prompts:
            if prepared.without is None:
                sorted_prompts.whole[prepared.user_id] = prepared.prompt
            else:
                sorted_prompts.cross_fitted[prepared.user_id, prepared.without] = prepared.prompt
        return sorted_prompts

    def for_training(self, pair: PreferencePair) -> PersonalPrompt | None:
        """The prompt to train on a pair with: one made without it where there is one; None for users without."""
        return self.cross_fitted.get((pair.user_id, pair.conversation_key), self.whole.get(pair.user_id))

    def for_context(self, user_id: str, context: Sequence[PreferencePair]) -> PersonalPrompt | None:
        """The prompt of a user of whom these pairs may be known; None for users without.

        It is the one from all their pairs where it saw nothing else, and one made without a
        conversation where these pairs are without it.

        Raises:
            TargetLeak: If every prompt of the user was made from other pairs too.
        """
        whole = self.whole.get(user_id)
        if whole is None:
            return None
        known = {pair.hash for pair in context}
        if whole.context_hashes <= known:
            return whole
        for (owner, _), prompt in self.cross_fitted.items():
            if owner == user_id and prompt.context_hashes <= known:
                return prompt
        raise TargetLeak(
            f"the prompt of user {user_id!r} was made from {len(whole.context_hashes - known)} pairs outside the "
            "context; prepare it from the context pairs only (prepare-prompts --hold-out)"
        )

    def __repr__(self) -> str:
        return f"PreparedPrompts(users={len(self.whole)}, cross_fitted={len(self.cross_fitted)})"


@dataclass(frozen=True)
class _SavedLine:
    """A line of the file."""

    without: str | None
    prompt: Mapping[str, Any]
    """What `prompt_to_json` writes."""


def refuse_other_prompts(path: str | Path, users: Iterable[User], judge: str) -> None:
    """Refuse to replace a file of somebody else, or prompts of other people, other choices or another judge.

    Args:
        path: Where prompts are to be written.
        users: Whose.
        judge: Who makes them.

    Raises:
        BadInput: If there is such a file.
    """
    if not Path(path).exists():
        return
    what = "prompts of other people, choices or another judge"
    try:
        earlier = read_prepared(path)
        there = [*earlier.whole.values(), *earlier.cross_fitted.values()]
        pairs = {user.user_id: {pair.hash for pair in user.pairs} for user in users}
        if all(prompt.judge == judge and prompt.context_hashes <= pairs.get(prompt.user_id, set()) for prompt in there):
            return
    except PersonalRMError:
        what = "something that prepare-prompts did not write"
    raise BadInput(f"{str(path)!r} holds {what} and would be replaced; move it away or name another file with --out")


class _NothingWritten(Exception):
    """Takes the empty file away again; it was made first, so that nothing is paid for what cannot be written."""


def write_prepared(path: str | Path, prompts: Iterable[PreparedPrompt]) -> Iterator[PreparedPrompt]:
    """Write the prompts as they come, one a line, and hand each on.

    The file appears when the last is written, for its owner alone; without a prompt there is none.

    Raises:
        BadFile: If the file cannot be written.
    """
    n_written = 0
    try:
        with suppress(_NothingWritten), whole_file(Path(path), is_private=True) as file:
            for prepared in prompts:
                content = {"without": prepared.without, "prompt": json.loads(prompt_to_json(prepared.prompt))}
                file.write((json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8"))
                n_written += 1
                yield prepared
            if not n_written:
                raise _NothingWritten
    except OSError as error:
        raise BadFile(f"{str(path)!r} cannot be written ({error.strerror or error}); name another file") from None


def read_prepared(path: str | Path) -> PreparedPrompts:
    """What `write_prepared` wrote.

    Raises:
        BadFile: If the file cannot be read.
        CorruptFile: If a line is not a prepared prompt.
        NewerVersion: If a later personalrm wrote one.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = list(file)  # not splitlines(), which also cuts at U+2028 and others that stand in conversations
    except (OSError, UnicodeDecodeError) as error:
        raise BadFile(
            f"{str(path)!r} cannot be read ({type(error).__name__}); pass what prepare-prompts wrote"
        ) from None
    if not lines:
        raise BadFile(f"{str(path)!r} holds no prompt, so nothing would be told of anybody; {AGAIN}")
    prompts = []
    for number, line in enumerate(lines, 1):
        where = f"{path} line {number}"
        saved = saved_value(_SavedLine, saved_object(line, where, again=AGAIN), where, again=AGAIN)
        prompts.append(PreparedPrompt(prompt_from_dict(saved.prompt, where), saved.without))
    return PreparedPrompts.of(prompts)
