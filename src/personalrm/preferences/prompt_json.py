"""Personal prompts and pairs as JSON, and back.

The same prompt always gives the same bytes: fixed key order, floats at six digits, no
dates. What is read back is checked field by field, so a truncated or foreign file is
refused with one sentence instead of failing later.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from personalrm.errors import BadInput, CorruptFile, NewerVersion
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.drift import Drift
from personalrm.preferences.messages import ROLES, Message
from personalrm.preferences.pairs import OrderedPair, PreferencePair
from personalrm.preferences.personal_prompts import FORMAT_VERSION, FeatureWeight, PersonalPrompt
from personalrm.preferences.personas import Claim, Persona

DIGITS = 6
LARGEST, SMALLEST = 1e6, 1e-9
"""Beyond these a weight is a slip of the hand, and products of it would overflow."""
POSITIVE = ("scale", "spread", "sd")
"""Numbers of a weight that are divisors or standard deviations."""
KEYS = (
    "format_version", "user_id", "judge", "variant", "too_few_pairs", "notes", "persona", "written",
    "demonstrations", "weights", "settings", "roles", "drift",
)  # fmt: skip


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
        "notes": list(prompt.notes),
        "persona": {"claims": [asdict(claim) for claim in prompt.persona.claims], "note": prompt.persona.note},
        "written": list(prompt.written),
        "demonstrations": [_demonstration_to_dict(demonstration) for demonstration in prompt.demonstrations],
        "weights": [_rounded(asdict(weight)) for weight in prompt.weights],
        "settings": {key: prompt.settings[key] for key in sorted(prompt.settings)},
        "roles": {key: prompt.roles[key] for key in sorted(prompt.roles)},
    }
    if prompt.drift is not None:
        content["drift"] = _rounded(asdict(prompt.drift))
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
    if not isinstance(content, dict) or not _is_version(content.get("format_version")):
        raise CorruptFile(f"{where} is no personal prompt, it has no valid format_version; pass a file that fit saved")
    version = content["format_version"]
    if version > FORMAT_VERSION:
        raise NewerVersion(
            f"{where} has format version {version}, this personalrm reads up to {FORMAT_VERSION}; upgrade personalrm"
        )
    for key in content:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            raise CorruptFile(
                f"{where} has an unknown key {key!r}; " + (f"did you mean {near[0]!r}?" if near else "remove it")
            )
    return content


def _is_version(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _prompt_from_dict(content: Mapping[str, Any]) -> PersonalPrompt:
    persona = _object(content["persona"], "persona")
    user_id = _text(content["user_id"], "user_id")
    return PersonalPrompt(
        user_id=user_id,
        persona=Persona(
            tuple(_claim(_object(row, "claim")) for row in _list(persona["claims"], "claims")),
            _text(persona["note"], "note"),
        ),
        demonstrations=tuple(
            _demonstration_from_dict(_object(row, "demonstration"), user_id)
            for row in _list(content["demonstrations"], "demonstrations")
        ),
        judge=_text(content["judge"], "judge"),
        variant=_text(content["variant"], "variant"),
        settings=_object(content["settings"], "settings"),
        roles={key: _text(value, "role") for key, value in _object(content["roles"], "roles").items()},
        weights=tuple(_weight(_object(row, "weight")) for row in _list(content["weights"], "weights")),
        written=_texts(content["written"], "written"),
        notes=_texts(content["notes"], "notes"),
        too_few_pairs=_truth(content["too_few_pairs"], "too_few_pairs"),
        drift=None if content.get("drift") is None else _drift(_object(content["drift"], "drift")),
    )


def _claim(row: Mapping[str, Any]) -> Claim:
    supporting, contradicting = (_texts(row.get(name, []), name) for name in ("supporting", "contradicting"))
    return Claim(_text(row["text"], "claim"), supporting, contradicting)


def _demonstration_to_dict(demonstration: Demonstration) -> dict[str, Any]:
    shown = demonstration.shown
    return {"chosen_first": shown.chosen_first, "reasoning": demonstration.reasoning, "pair": pair_to_dict(shown.pair)}


def _demonstration_from_dict(row: Mapping[str, Any], user_id: str) -> Demonstration:
    pair = _checked_pair(_object(row["pair"], "pair"))
    if pair.user_id != user_id:
        raise ValueError(f"a demonstration is of user {pair.user_id!r}")
    reasoning = None if row["reasoning"] is None else _text(row["reasoning"], "reasoning")
    return Demonstration(OrderedPair(pair, _truth(row["chosen_first"], "chosen_first")), reasoning)


def _checked_pair(row: Mapping[str, Any]) -> PreferencePair:
    """The pair of a demonstration, which a person may have edited."""
    for name in ("user_id", "chosen", "rejected", "conversation_id", "pair_id", "split"):
        _text(row.get(name, ""), name)
    for name in ("timestamp", "order_index"):
        _number(row.get(name, 0), name)
    for turn in _list(row["conversation"], "conversation"):
        _text(_object(turn, "turn")["content"], "content")
        if turn["role"] not in ROLES:
            raise ValueError("a turn has an unknown role")
    return pair_from_dict(row)


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {key: float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value for key, value in row.items()}


def _weight(row: Mapping[str, Any]) -> FeatureWeight:
    """A weight: the feature's name and numbers within `LARGEST`, those that divide or spread positive."""
    names = {one.name for one in fields(FeatureWeight)}
    if set(row) != names:
        raise ValueError(f"a weight has keys {sorted(row)!r}")
    values = {name: _number(row[name], name) for name in names - {"feature"}}
    for name, value in values.items():
        if abs(value) > LARGEST or (name in POSITIVE and value < SMALLEST):
            raise ValueError(f"{name} of a weight is {value:g}, out of range")
    return FeatureWeight(feature=_text(row["feature"], "feature"), **values)


def _drift(row: Mapping[str, Any]) -> Drift:
    """A change of taste: numbers of pairs in their order, a share, and ids."""
    names = {one.name for one in fields(Drift)}
    if set(row) != names:
        raise ValueError(f"drift has keys {sorted(row)!r}")
    pair_number, n_pairs = (_whole(row[name], name) for name in ("pair_number", "n_pairs"))
    log_evidence, chance = (_number(row[name], name) for name in ("log_evidence", "chance"))
    if not 1 <= pair_number <= n_pairs or not 0.0 <= chance <= 1.0:
        raise ValueError(f"drift at pair {pair_number} of {n_pairs} with chance {chance:g} is out of range")
    features, before, since = (_texts(row[name], name) for name in ("features", "before", "since"))
    pair_id = _text(row["pair_id"], "pair_id")
    return Drift(pair_id, pair_number, n_pairs, log_evidence, chance, features, before, since)


def _whole(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is no whole number")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < sys.float_info.max:
        raise ValueError(f"{name} is no finite number")
    return float(value)


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} is no text")
    return value


def _texts(value: Any, name: str) -> tuple[str, ...]:
    return tuple(_text(one, name) for one in _list(value, name))


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{name} is no list")
    return value


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is no object")
    return value


def _truth(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name} is neither true nor false")
    return value
