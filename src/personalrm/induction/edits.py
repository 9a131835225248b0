"""What a person changed in their persona outlives the next fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim
from personalrm.stylometry.claims import link_claim, read_claim
from personalrm.stylometry.observations import observe


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
    kept = tuple(claim for claim in prompt.persona.claims if not _is_settled(claim, removed, settled))
    claims = kept + _linked(added, pairs)
    note = f"{len(added)} sentences added and {len(removed)} removed by hand were carried over"
    # `written` also names what was removed, so that the next fit and the judge see the edit again
    written = tuple(dict.fromkeys((*prompt.written, *removed)))
    persona = replace(prompt.persona, claims=claims)
    return replace(prompt, persona=persona, written=written, notes=(*prompt.notes, note))


def _linked(texts: list[str], pairs: Sequence[PreferencePair]) -> tuple[Claim, ...]:
    seen = observe([pair for pair in pairs if pair.split != "target"])
    return tuple(link_claim(text, seen) or Claim(text) for text in texts)


def _is_settled(claim: Claim, removed: list[str], settled: set[str]) -> bool:
    features = {leaning.feature for leaning in read_claim(claim.text)}
    return claim.text in removed or bool(features & settled)
