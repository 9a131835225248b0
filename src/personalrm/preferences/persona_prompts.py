"""The persona prompt: instructions that write personas, with example personas (the paper's optimised prompt)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from personalrm.errors import CorruptFile, NewerVersion

FORMAT_VERSION = 1


@dataclass(frozen=True, repr=False)
class ExamplePersona:
    """Choices of somebody else and the persona written from them."""

    choices: str
    persona: str


@dataclass(frozen=True, repr=False)
class PersonaPrompt:
    """What a model is told before it writes a persona."""

    instruction: str
    examples: tuple[ExamplePersona, ...] = ()
    source: str = ""
    """Who wrote or optimised it."""
    n_trimmed: int = 0
    """Examples left out to keep the token budget."""

    def trimmed(self, max_characters: int) -> PersonaPrompt:
        """The same with as many whole examples, from the first on, as fit; the others are counted."""
        kept: list[ExamplePersona] = []
        room = max_characters
        for example in self.examples:
            size = len(example.choices) + len(example.persona)
            if size <= room:
                kept.append(example)
                room -= size
        return replace(self, examples=tuple(kept), n_trimmed=len(self.examples) - len(kept))

    def __repr__(self) -> str:
        return f"PersonaPrompt(characters={len(self.instruction)}, examples={len(self.examples)})"


def persona_prompt_from_json(text: str, *, where: str) -> PersonaPrompt:
    """A persona prompt of ours, or a published DSPy program (paper's package), told apart by its keys.

    Raises:
        CorruptFile: If it is neither.
        NewerVersion: If a later personalrm wrote it.
    """
    try:
        content = json.loads(text)
        if "format_version" in content:
            return _ours(content, where)
        return _from_dspy(content, where)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptFile(
            f"{where} is no persona prompt ({type(error).__name__}); pass a file of ours, or a DSPy program with "
            "synthesize.predict"
        ) from None


def persona_prompt_to_json(prompt: PersonaPrompt) -> str:
    """The file `persona_prompt_from_json` reads."""
    examples = [{"choices": one.choices, "persona": one.persona} for one in prompt.examples]
    content = {"format_version": FORMAT_VERSION, "source": prompt.source, "instruction": prompt.instruction}
    return json.dumps(content | {"examples": examples}, ensure_ascii=False, indent=1) + "\n"


def _ours(content: Mapping[str, Any], where: str) -> PersonaPrompt:
    if content["format_version"] > FORMAT_VERSION:
        raise NewerVersion(f"{where} has format version {content['format_version']}; upgrade personalrm")
    examples = tuple(ExamplePersona(_text(one["choices"]), _text(one["persona"])) for one in content["examples"])
    return PersonaPrompt(_text(content["instruction"]), examples, _text(content.get("source", "")))


def _from_dspy(content: Mapping[str, Any], where: str) -> PersonaPrompt:
    """`synthesize.predict` of a published program; `lm`, `traces` and `train` are ignored."""
    predict = content["synthesize.predict"] if "synthesize.predict" in content else content["synthesize"]["predict"]
    signature = predict["signature"]
    told = [f"- {one['prefix']} {one['description']}" for one in signature.get("fields", ()) if _describes(one)]
    instruction = "\n".join([_text(signature["instructions"]), *told])
    examples = tuple(
        ExamplePersona(
            "\n".join(_flat(demo[key]) for key in ("past_judgements", "reasoning") if demo.get(key)),
            _flat(demo["synthesized_persona"]),
        )
        for demo in predict.get("demos", ())
        if demo.get("synthesized_persona")
    )
    return PersonaPrompt(instruction, examples, f"DSPy program {where}")


def _describes(one: Mapping[str, Any]) -> bool:
    """Whether a field's description says something; DSPy writes `${name}` where nobody did."""
    return bool(one.get("description")) and not str(one["description"]).startswith("${")


def _flat(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value
