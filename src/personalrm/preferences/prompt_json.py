"""Personal prompts and pairs as JSON, and back.

The same prompt always gives the same bytes: fixed key order, floats at six digits, no
dates. What is read back is checked field by field, so a truncated or foreign file is
refused with one sentence instead of failing later.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from personalrm.errors import BadInput, CorruptFile
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.drift import Drift
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import OrderedPair, PreferencePair
from personalrm.preferences.personal_prompts import FORMAT_VERSION, FeatureWeight, PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.typed_values import check_version, plain, saved_object, saved_value

AGAIN = "fit again"
DIGITS = 6
LARGEST, SMALLEST = 1e6, 1e-9
"""Beyond these a weight is a slip of the hand, and products of it would overflow."""
POSITIVE = ("scale", "spread", "sd")
"""Numbers of a weight that are divisors or standard deviations."""


@dataclass(frozen=True)
class _SavedPersona:
    """A persona in the file, where neither part may be left out."""

    claims: tuple[Claim, ...]
    note: str


@dataclass(frozen=True, repr=False)
class _SavedPair(PreferencePair):
    """A pair in the file; no version has checked its split, so another word than ours must still be read."""

    split: str | None = None  # type: ignore[assignment]


@dataclass(frozen=True)
class _SavedDemonstration:
    """A demonstration in the file, where the pair stands beside its order."""

    chosen_first: bool
    reasoning: str | None
    pair: _SavedPair


@dataclass(frozen=True)
class _SavedPrompt:
    """What the file says after its version; only `drift` may be left out."""

    user_id: str
    judge: str
    variant: str
    too_few_pairs: bool
    notes: tuple[str, ...]
    persona: _SavedPersona
    written: tuple[str, ...]
    demonstrations: tuple[_SavedDemonstration, ...]
    weights: tuple[FeatureWeight, ...]
    settings: Mapping[str, Any]
    roles: Mapping[str, str]
    drift: Drift | None = None


def prompt_to_json(prompt: PersonalPrompt) -> str:
    """The prompt as JSON text; equal prompts give equal bytes.

    Raises:
        BadInput: If a text holds a lone surrogate, which no file can carry.
    """
    content = {
        "format_version": 1 if prompt.drift is None else 2,
        "user_id": prompt.user_id,
        "judge": prompt.judge,
        "variant": prompt.variant,
        "too_few_pairs": prompt.too_few_pairs,
        "notes": prompt.notes,
        "persona": plain(prompt.persona),
        "written": prompt.written,
        "demonstrations": [
            {
                "chosen_first": demonstration.shown.chosen_first,
                "reasoning": demonstration.reasoning,
                "pair": pair_to_dict(demonstration.shown.pair),
            }
            for demonstration in prompt.demonstrations
        ],
        "weights": [_rounded(plain(weight)) for weight in prompt.weights],
        "settings": {key: prompt.settings[key] for key in sorted(prompt.settings)},
        "roles": {key: prompt.roles[key] for key in sorted(prompt.roles)},
    }
    if prompt.drift is not None:
        content["drift"] = _rounded(plain(prompt.drift))
    text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput(
            f"the prompt of user {prompt.user_id!r} holds a lone surrogate; fix the text it came from"
        ) from None
    return text


def prompt_from_json(text: str, *, where: str, expected_user: str | None = None) -> PersonalPrompt:
    """The prompt that `prompt_to_json` wrote, hand edits of the persona included.

    Args:
        text: The JSON text.
        where: File name for error messages.
        expected_user: Refuse the prompt of anybody else.

    Raises:
        CorruptFile: If it is truncated, not JSON, or a field is missing or of a wrong type.
        NewerVersion: If a later version wrote it.
        BadInput: If it belongs to another user.
    """
    prompt = prompt_from_dict(saved_object(text, where, again=AGAIN), where)
    if expected_user is not None and prompt.user_id != expected_user:
        raise BadInput(
            f"{where} is the prompt of user {prompt.user_id!r}, not of {expected_user!r}; pass the right file"
        )
    return prompt


def prompt_from_dict(content: Mapping[str, Any], where: str) -> PersonalPrompt:
    """The prompt that stands as keys and values in a larger file; raises as `prompt_from_json`."""
    check_version(content.get("format_version"), FORMAT_VERSION, where, again="pass a prompt that fit saved")
    said = {key: value for key, value in content.items() if key != "format_version"}
    saved = saved_value(_SavedPrompt, said, where, again=AGAIN)
    _check(saved, where)
    demonstrations = tuple(
        Demonstration(OrderedPair(PreferencePair(**vars(shown.pair)), shown.chosen_first), shown.reasoning)
        for shown in saved.demonstrations
    )
    persona = Persona(saved.persona.claims, saved.persona.note)
    return PersonalPrompt(**{**vars(saved), "persona": persona, "demonstrations": demonstrations})


def pair_to_dict(pair: PreferencePair) -> dict[str, Any]:
    """The pair in our own layout; optional fields only where they say something."""
    optional = {
        name: value
        for name in ("conversation_id", "pair_id", "timestamp", "order_index", "split")
        if (value := getattr(pair, name)) not in ("", None)
    }
    return {
        "user_id": pair.user_id,
        "conversation": [{"role": turn.role, "content": turn.content} for turn in pair.conversation],
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        **optional,
    }


def checked_pair(row: Any, where: str) -> PreferencePair:
    """The pair that `pair_to_dict` wrote, from a file that anybody may have changed.

    Raises:
        CorruptFile: If a field is missing or of a wrong type.
        BadRow: If it cannot be a choice.
    """
    pair = PreferencePair(**vars(saved_value(_SavedPair, row, where, again="pass it as it was written")))
    if pair.split not in (None, "train", "validation", "target"):
        raise CorruptFile(f"split of {where} is {pair.split!r}; write train, validation or target")
    if pair.timestamp is not None and not math.isfinite(pair.timestamp):
        raise CorruptFile(f"the timestamp of {where} is not a finite number; pass seconds since 1970")
    return pair


def pair_from_dict(row: Mapping[str, Any]) -> PreferencePair:
    """The pair that `pair_to_dict` wrote, unchecked: for our own working files, which hold millions of pairs."""
    conversation = tuple(Message(turn["role"], turn["content"]) for turn in row["conversation"])
    rest = {
        name: row[name] for name in ("conversation_id", "pair_id", "timestamp", "order_index", "split") if name in row
    }
    return PreferencePair(row["user_id"], conversation, row["chosen"], row["rejected"], **rest)


def _check(saved: _SavedPrompt, where: str) -> None:
    """Refuse what has the right types and cannot be meant: a weight that overflows, a pair of somebody else.

    Raises:
        CorruptFile: Naming the first of them.
    """
    for shown in saved.demonstrations:
        if shown.pair.user_id != saved.user_id:
            raise CorruptFile(f"a demonstration of {where} is of user {shown.pair.user_id!r}; {AGAIN}")
        if shown.pair.timestamp is not None and not math.isfinite(shown.pair.timestamp):
            raise CorruptFile(f"the timestamp of a demonstration of {where} is not a finite number; {AGAIN}")
    for weight in saved.weights:
        for name, value in vars(weight).items():
            if name != "feature" and not (abs(value) <= LARGEST and (name not in POSITIVE or value >= SMALLEST)):
                raise CorruptFile(f"{name} of weight {weight.feature!r} of {where} is {value:g}, out of range; {AGAIN}")
    drift = saved.drift
    if drift is not None and not (
        1 <= drift.pair_number <= drift.n_pairs and 0.0 <= drift.chance <= 1.0 and math.isfinite(drift.log_evidence)
    ):
        raise CorruptFile(
            f"drift of {where} stands at pair {drift.pair_number} of {drift.n_pairs} with chance {drift.chance:g} and "
            f"log evidence {drift.log_evidence:g}, out of range; {AGAIN}"
        )


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for key, value in row.items()}
