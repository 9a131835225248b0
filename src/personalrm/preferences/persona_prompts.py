"""The persona prompt: instructions that write personas, with example personas (the paper's optimized prompt)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from personalrm.errors import CorruptFile, TargetLeak
from personalrm.preferences.pairs import PreferencePair
from personalrm.typed_values import check_version, saved_object, saved_value

FORMAT_VERSION = 1
AGAIN = "pass a persona prompt of ours, or a DSPy program with synthesize.predict"
DSPY_FIELDS = (
    {"prefix": "Past Judgements:", "description": "${past_judgements}"},
    {"prefix": "Reasoning:", "description": "${reasoning}"},
    {"prefix": "Synthesized Persona:", "description": "${synthesized_persona}"},
)
"""Fields of the published program; descriptions of this form say nothing and are not taken over."""


@dataclass(frozen=True, repr=False)
class ExamplePersona:
    """Choices of somebody else and the persona written from them."""

    choices: str
    persona: str
    pairs: tuple[str, ...] = ()
    """Hashes of the pairs behind them, where known."""


@dataclass(frozen=True, repr=False)
class PersonaPrompt:
    """What a model is told before it writes a persona."""

    instruction: str
    examples: tuple[ExamplePersona, ...] = ()
    source: str = ""
    """Who wrote or optimized it."""
    n_trimmed: int = 0
    """Examples left out to keep the token budget."""
    provenance: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Models, seed, trials and scores of a search, and `seen`, the hashes of all pairs it looked at; plain JSON."""

    def trimmed(self, max_characters: int) -> PersonaPrompt:
        """The same with as many whole examples, from the first on, as fit; the others are counted."""
        kept: list[ExamplePersona] = []
        n_left = max_characters
        for example in self.examples:
            size = len(example.choices) + len(example.persona)
            if size <= n_left:
                kept.append(example)
                n_left -= size
        return replace(self, examples=tuple(kept), n_trimmed=len(self.examples) - len(kept))

    def refuse_targets(self, targets: Iterable[PreferencePair]) -> None:
        """Stop when a pair to be scored was looked at while this prompt was searched for.

        Raises:
            TargetLeak: Naming the first such pair.
        """
        seen = frozenset(self.provenance.get("seen", ())).union(*(example.pairs for example in self.examples))
        for pair in targets:
            if pair.hash in seen:
                raise TargetLeak(
                    f"the persona prompt was searched for with pair {pair.id!r} of user {pair.user_id!r}, which is to "
                    "be scored; evaluate people who were neither train nor dev users of the search"
                )

    def __repr__(self) -> str:
        return f"PersonaPrompt(characters={len(self.instruction)}, examples={len(self.examples)})"


def persona_prompt_from_json(text: str, *, where: str) -> PersonaPrompt:
    """A persona prompt of ours, or a published DSPy program (paper's package), told apart by its keys.

    Raises:
        CorruptFile: If it is neither.
        NewerVersion: If a later personalrm wrote it.
    """
    content = saved_object(text, where, again=AGAIN)
    if "format_version" in content:
        check_version(content.pop("format_version"), FORMAT_VERSION, where, again=AGAIN)
        return _checked(saved_value(PersonaPrompt, content, where, again=AGAIN), where)
    try:
        return _from_dspy(content, where)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{where} is not a persona prompt ({type(error).__name__}); {AGAIN}") from None


def persona_prompt_to_json(prompt: PersonaPrompt) -> str:
    """The file `persona_prompt_from_json` reads."""
    examples = [
        {"choices": example.choices, "persona": example.persona}
        | ({"pairs": list(example.pairs)} if example.pairs else {})
        for example in prompt.examples
    ]
    content = {"format_version": FORMAT_VERSION, "source": prompt.source, "instruction": prompt.instruction}
    content |= {"examples": examples} | ({"provenance": dict(prompt.provenance)} if prompt.provenance else {})
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def persona_prompt_to_dspy(prompt: PersonaPrompt) -> str:
    """A program file of the published package's layout, for `dspy.Module.load`; reads back as the same prompt.

    What DSPy has no place for (source, pairs, provenance) stands under `metadata.personalrm`.
    """
    demos = [
        {"augmented": True, "past_judgements": example.choices, "synthesized_persona": example.persona}
        for example in prompt.examples
    ]
    ours: dict[str, Any] = {"source": prompt.source, "pairs": [list(example.pairs) for example in prompt.examples]}
    ours |= {"provenance": dict(prompt.provenance)}
    predict: dict[str, Any] = {
        "traces": [],
        "train": [],
        "demos": demos,
        "signature": {"instructions": prompt.instruction, "fields": [dict(entry) for entry in DSPY_FIELDS]},
        "lm": None,
    }
    content = {"synthesize.predict": predict, "metadata": {"dependency_versions": {}, "personalrm": ours}}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


@dataclass(frozen=True)
class _Exported:
    """What `persona_prompt_to_dspy` adds to a program."""

    source: str
    pairs: tuple[tuple[str, ...], ...]
    """Of each demonstration."""
    provenance: Mapping[str, Any] = field(default_factory=dict)


def _checked(prompt: PersonaPrompt, where: str) -> PersonaPrompt:
    """The prompt, whose provenance must name the pairs it has seen as a list of hashes."""
    seen = prompt.provenance.get("seen", [])
    if not isinstance(seen, list) or not all(isinstance(pair_hash, str) for pair_hash in seen):
        raise CorruptFile(f"seen in the provenance of {where} is not a list of hashes; {AGAIN}")
    return replace(prompt, provenance=MappingProxyType(prompt.provenance))


def _from_dspy(content: Mapping[str, Any], where: str) -> PersonaPrompt:
    """`synthesize.predict` of a published program; `lm`, `traces` and `train` are ignored."""
    predict = content["synthesize.predict"] if "synthesize.predict" in content else content["synthesize"]["predict"]
    signature = predict["signature"]
    ours = content.get("metadata", {}).get("personalrm")
    if ours is not None:
        exported = saved_value(_Exported, ours, f"metadata.personalrm of {where}", again=AGAIN)
        examples = tuple(
            ExamplePersona(_text(demo["past_judgements"]), _text(demo["synthesized_persona"]), pairs)
            for demo, pairs in zip(predict["demos"], exported.pairs, strict=True)
        )
        instruction = _text(signature["instructions"])
        return _checked(PersonaPrompt(instruction, examples, exported.source, provenance=exported.provenance), where)
    # a description `${name}` is DSPy's where nobody wrote one, and says nothing
    described = [entry for entry in signature.get("fields", ()) if entry.get("description")]
    descriptions = [
        f"- {entry['prefix']} {entry['description']}"
        for entry in described
        if not str(entry["description"]).startswith("${")
    ]
    instruction = "\n".join([_text(signature["instructions"]), *descriptions])
    examples = tuple(
        ExamplePersona(
            "\n".join(_flat(demo[key]) for key in ("past_judgements", "reasoning") if demo.get(key)),
            _flat(demo["synthesized_persona"]),
        )
        for demo in predict.get("demos", ())
        if demo.get("synthesized_persona")
    )
    return PersonaPrompt(instruction, examples, f"DSPy program {where}")


def _flat(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value
