"""What a person changes in their persona: checked when it is written, and kept by the next fit."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace

from personalrm.errors import BadInput
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim
from personalrm.prompts.linting import is_order
from personalrm.stylometry.claims import link_claim
from personalrm.stylometry.observations import observe
from personalrm.stylometry.sentences import read_claim
from personalrm.wording import count

MOST_SENTENCES = 50
MOST_CHARACTERS = 1_000
"""Of one sentence."""


def edit_persona(prompt: PersonalPrompt, sentences: Sequence[str]) -> PersonalPrompt:
    """The prompt with these sentences as its persona; evidence of unchanged ones stays.

    Blank sentences and repeated ones are left out, runs of white space become one blank.

    Raises:
        BadInput: If no sentence is left, there are more than `MOST_SENTENCES`, or one is too long, holds control
            characters, or gives orders to a model instead of describing somebody.
    """
    cleaned = dict.fromkeys(" ".join(text.split()) for text in sentences)
    cleaned.pop("", None)
    if not cleaned:
        raise BadInput(f"no sentence is left in the persona of user {prompt.user_id!r}; write at least one")
    if len(cleaned) > MOST_SENTENCES:
        raise BadInput(
            f"the persona of user {prompt.user_id!r} would have {len(cleaned)} sentences; keep at most {MOST_SENTENCES}"
        )
    for number, text in enumerate(cleaned, 1):
        where = f"sentence {number} of the persona of user {prompt.user_id!r}"
        if len(text) > MOST_CHARACTERS:
            raise BadInput(f"{where} has {len(text):,} characters; keep to {MOST_CHARACTERS:,}")
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
            raise BadInput(f"{where} holds control characters or half a character; write plain text")
        if is_order(text):
            raise BadInput(
                f"{where} gives orders to a model ({len(text)} characters); say what the person likes instead"
            )
    known = {claim.text: claim for claim in prompt.persona.claims}
    claims = tuple(known.get(text, Claim(text)) for text in cleaned)
    return replace(prompt, persona=replace(prompt.persona, claims=claims))


def carry_edits(
    earlier: PersonalPrompt | None, prompt: PersonalPrompt, pairs: Sequence[PreferencePair] = ()
) -> PersonalPrompt:
    """The new prompt with the hand edits of the earlier one applied again.

    Sentences the person added are appended, linked to those of the context pairs that agree or
    disagree where the embedded engine can read them. A new sentence about a feature whose sentence
    they removed or replaced is left out, and so is one they removed word for word.
    """
    if earlier is None:
        return prompt
    now = [claim.text for claim in earlier.persona.claims]
    added = [text for text in now if text not in earlier.written]
    removed = [text for text in earlier.written if text not in now]
    if not added and not removed:
        return prompt
    settled = {leaning.feature for text in (*added, *removed) for leaning in read_claim(text)}
    seen = observe([pair for pair in pairs if pair.split != "target"])
    claims = [
        claim
        for claim in prompt.persona.claims
        if claim.text not in removed and not settled & {leaning.feature for leaning in read_claim(claim.text)}
    ]
    claims += [link_claim(text, seen) or Claim(text) for text in added]
    note = f"carried over from edits by hand: {count(len(added), 'sentence')} added, {len(removed)} removed"
    # `written` also names what was removed, so that the next fit and the judge see the edit again
    written = tuple(dict.fromkeys((*prompt.written, *removed)))
    persona = replace(prompt.persona, claims=tuple(claims))
    return replace(prompt, persona=persona, written=written, notes=(*prompt.notes, note))
