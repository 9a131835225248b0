"""Personal prompts and pairs as JSON, and back.

The same prompt always gives the same bytes: fixed key order, floats at six digits, no
dates. What is read back is checked field by field, so a truncated or foreign file is
refused with one sentence instead of failing later.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from personalrm.errors import BadInput, CorruptFile, NewerVersion
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import OrderedPair, PreferencePair
from personalrm.preferences.personal_prompts import FORMAT_VERSION, FeatureWeight, PersonalPrompt
from personalrm.preferences.personas import Claim, Persona

DIGITS = 6
KEYS = (
    "format_version", "user_id", "judge", "variant", "too_few_pairs", "notes", "persona", "written",
    "demonstrations", "weights", "settings", "roles",
)  # fmt: skip


def prompt_to_json(prompt: PersonalPrompt) -> str:
    """The prompt as JSON text; equal prompts give equal bytes.

    Raises:
        BadInput: If a text holds a lone surrogate, which no file can carry.
    """
    content = {
        "format_version": FORMAT_VERSION,
        "user_id": prompt.user_id,
        "judge": prompt.judge,
        "variant": prompt.variant,
        "too_few_pairs": prompt.too_few_pairs,
        "notes": list(prompt.notes),
        "persona": {"claims": [asdict(claim) for claim in prompt.persona.claims], "note": prompt.persona.note},
        "written": list(prompt.written),
        "demonstrations": [_demonstration_to_dict(demonstration) for demonstration in prompt.demonstrations],
        "weights": [_rounded(asdict(weight)) for weight in prompt.weights],
        "settings": {key: prompt.settings[key] for key in sorted(prompt.settings)},
        "roles": {key: prompt.roles[key] for key in sorted(prompt.roles)},
    }
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
    content = _parse(text, where)
    try:
        prompt = _prompt_from_dict(content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CorruptFile(
            f"{where} is not a whole personal prompt ({type(error).__name__}: {error}); fit again"
        ) from None
    if expected_user is not None and prompt.user_id != expected_user:
        raise BadInput(
            f"{where} is the prompt of user {prompt.user_id!r}, not of {expected_user!r}; pass the right file"
        )
    return prompt


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


def pair_from_dict(row: Mapping[str, Any]) -> PreferencePair:
    """The pair that `pair_to_dict` wrote."""
    conversation = tuple(Message(turn["role"], turn["content"]) for turn in row["conversation"])
    rest = {
        name: row[name] for name in ("conversation_id", "pair_id", "timestamp", "order_index", "split") if name in row
    }
    return PreferencePair(row["user_id"], conversation, row["chosen"], row["rejected"], **rest)


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise CorruptFile(f"{where} is not JSON, perhaps cut short ({len(text)} characters); fit again") from None
    if not isinstance(content, dict) or not isinstance(content.get("format_version"), int):
        raise CorruptFile(f"{where} is no personal prompt, it has no format_version; pass a file that fit saved")
    if content["format_version"] > FORMAT_VERSION:
        raise NewerVersion(
            f"{where} has format version {content['format_version']}, this personalrm reads up to {FORMAT_VERSION}; "
            "upgrade personalrm"
        )
    for key in content:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            raise CorruptFile(
                f"{where} has an unknown key {key!r}; " + (f"did you mean {near[0]!r}?" if near else "remove it")
            )
    return content


def _prompt_from_dict(content: Mapping[str, Any]) -> PersonalPrompt:
    persona = content["persona"]
    return PersonalPrompt(
        user_id=_text(content["user_id"], "user_id"),
        persona=Persona(tuple(_claim(claim) for claim in persona["claims"]), _text(persona["note"], "note")),
        demonstrations=tuple(_demonstration_from_dict(row) for row in content["demonstrations"]),
        judge=_text(content["judge"], "judge"),
        variant=_text(content["variant"], "variant"),
        settings=dict(content["settings"]),
        roles={str(key): _text(value, "role") for key, value in content["roles"].items()},
        weights=tuple(FeatureWeight(**_numbers(row)) for row in content["weights"]),
        written=tuple(_text(one, "written") for one in content["written"]),
        notes=tuple(_text(one, "note") for one in content["notes"]),
        too_few_pairs=bool(content["too_few_pairs"]),
    )


def _claim(row: Mapping[str, Any]) -> Claim:
    return Claim(_text(row["text"], "claim"), tuple(row.get("supporting", ())), tuple(row.get("contradicting", ())))


def _demonstration_to_dict(demonstration: Demonstration) -> dict[str, Any]:
    shown = demonstration.shown
    return {"chosen_first": shown.chosen_first, "reasoning": demonstration.reasoning, "pair": pair_to_dict(shown.pair)}


def _demonstration_from_dict(row: Mapping[str, Any]) -> Demonstration:
    return Demonstration(OrderedPair(pair_from_dict(row["pair"]), bool(row["chosen_first"])), row["reasoning"])


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for key, value in row.items()}


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a weight; everything but the feature's name is a finite number."""
    names = {one.name for one in fields(FeatureWeight)}
    if set(row) != names:
        raise ValueError(f"a weight has keys {sorted(row)!r}")
    return {key: _text(value, key) if key == "feature" else _finite(value, key) for key, value in row.items()}


def _finite(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise ValueError(f"{name} is no finite number")
    return float(value)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value
