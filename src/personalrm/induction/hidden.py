"""What a person does not want quoted, or wants forgotten, taken out of a personal prompt.

A hidden pair is still learned from; a forgotten one is not. Either way no sentence, demonstration or note of the prompt
may repeat it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.store.records import Hidden

QUOTED_WORDS = 6
"""Words in a row that make a sentence a quotation: five occur by chance ("I would like you to"), six hardly."""


def without_hidden(prompt: PersonalPrompt, hidden: Hidden, pairs: Iterable[PreferencePair]) -> PersonalPrompt:
    """The prompt, where no demonstration is hidden and no sentence holds a hidden word or quotes a hidden pair.

    Args:
        prompt: Of one person.
        hidden: What they hide.
        pairs: Their pairs, hidden ones among them.
    """
    if not hidden:
        return prompt
    runs = {run for pair in pairs if pair.hash in hidden.hashes for text in _texts(pair) for run in _runs(text)}
    words = [_pattern(word) for word in hidden.words]

    def is_quiet(text: str) -> bool:
        plain = _folded(text)
        return not any(word.search(plain) for word in words) and runs.isdisjoint(_runs(text))

    def may_be_shown(demonstration: Demonstration) -> bool:
        pair = demonstration.shown.pair
        texts = [*_texts(pair), demonstration.reasoning or ""]
        return pair.hash not in hidden.hashes and not any(
            word.search(_folded(text)) for word in words for text in texts
        )

    return _only(prompt, is_quiet, [shown for shown in prompt.demonstrations if may_be_shown(shown)])


def without_pair(prompt: PersonalPrompt, pair: PreferencePair) -> PersonalPrompt:
    """The prompt as far as it can be kept without a pair: not shown, not quoted, not counted as evidence.

    Weights and sentences that were learned from it stay until the next fit.
    """
    runs = {run for text in _texts(pair) for run in _runs(text)}
    kept = [shown for shown in prompt.demonstrations if shown.shown.pair.hash != pair.hash]
    prompt = _only(prompt, lambda text: runs.isdisjoint(_runs(text)), kept)

    def others(ids: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in ids if name not in (pair.id, pair.hash))

    claims = tuple(
        replace(claim, supporting=others(claim.supporting), contradicting=others(claim.contradicting))
        for claim in prompt.persona.claims
    )
    roles = {key: role for key, role in prompt.roles.items() if key != pair.hash}
    return replace(prompt, persona=replace(prompt.persona, claims=claims), roles=roles)


def _only(
    prompt: PersonalPrompt, may_stay: Callable[[str], bool], demonstrations: Sequence[Demonstration]
) -> PersonalPrompt:
    """The prompt with these demonstrations and the sentences and notes that may stay."""
    claims = tuple(claim for claim in prompt.persona.claims if may_stay(claim.text))
    note = prompt.persona.note if may_stay(prompt.persona.note) else ""
    return replace(
        prompt,
        persona=replace(prompt.persona, claims=claims, note=note),
        written=tuple(text for text in prompt.written if may_stay(text)),
        notes=tuple(text for text in prompt.notes if may_stay(text)),
        demonstrations=tuple(demonstrations),
    )


def _texts(pair: PreferencePair) -> list[str]:
    return [pair.chosen, pair.rejected, *(turn.content for turn in pair.conversation)]


def _runs(text: str) -> set[tuple[str, ...]]:
    """Every `QUOTED_WORDS` words in a row; of a shorter text none, it is too common to be a quotation."""
    words = re.findall(r"\w+", _folded(text))
    return {tuple(words[start : start + QUOTED_WORDS]) for start in range(len(words) - QUOTED_WORDS + 1)}


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _pattern(word: str) -> re.Pattern[str]:
    """A whole word; anywhere in scripts that put no spaces between words (letters without case)."""
    escaped = re.escape(_folded(word))
    has_spaces = not any(unicodedata.category(character) == "Lo" for character in word)
    return re.compile(rf"(?<!\w){escaped}(?!\w)" if has_spaces else escaped)
