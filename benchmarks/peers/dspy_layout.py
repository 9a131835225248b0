"""Prompts of dspy programs for our fake server: read into our layout, answered by the same rule, written back as dspy
reads it.

A rule of `personalrm.testing.skill` sees nothing but our own tags. So the peer's prompt is translated into them and the
rule's reply back, and both sides are judged by one rule with the same wrong verdicts on the same pairs.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from personalrm.prompts.delimiters import field
from personalrm.testing.skill import Rule

Messages = Sequence[Mapping[str, str]]
_FIELD = re.compile(
    r"\[\[ ## (\w+) ## \]\]\n(.*?)(?=\n*\[\[ ## \w+ ## \]\]|\n+Respond with (?:the|a JSON)|\Z)", re.DOTALL
)
_PERSONA = re.compile(r"FOLLOWING PERSONA: ===\n(.*?)\n\s*===", re.DOTALL)
_JUDGED = re.compile(
    r"\*\*Completion One \(FIRST COMPLETION\)\*\*: «(.*?)»\n===\n"
    r"\*\*Completion Two \(SECOND COMPLETION\)\*\*: «(.*?)»\n===\n"
    r"(?:\*\*Reasoning\*\*: «.*?»\n===\n)?\*\*TRUE USER PREFERENCE\*\*: (First|Second)",
    re.DOTALL,
)
_SPEAKER = "[assistant]: "


def in_both_layouts(rule: Rule) -> Rule:
    """The rule for our prompts and for dspy's."""

    def answer(messages: Messages) -> str:
        system = messages[0]["content"]
        if "[[ ## " not in system and "Your input fields are:" not in system:
            return rule(messages)
        reply = json.loads(rule(as_ours(messages)))
        return as_dspys(reply, as_json="Outputs will be a JSON object" in system)

    return answer


def as_ours(messages: Messages) -> list[dict[str, str]]:
    """What stands in a dspy prompt, in our tags."""
    asked = _fields(messages[-1]["content"])
    if "past_judgements" in asked:
        shown = [_demonstration(*one) for one in _JUDGED.findall(asked["past_judgements"])]
        return [{"role": "system", "content": '{"claims"'}, {"role": "user", "content": "\n\n".join(shown)}]
    persona = _PERSONA.search(messages[0]["content"])
    known = [field("persona", persona.group(1))] if persona else []
    for question, answer in zip(messages[1:-1:2], messages[2:-1:2], strict=True):
        before, choice = _fields(question["content"]), _choice(answer["content"])
        known.append(_demonstration(before["first_completion"], before["second_completion"], choice))
    pair = (field("first", _bare(asked["first_completion"])), field("second", _bare(asked["second_completion"])))
    return [{"role": "system", "content": "\n\n".join(known)}, {"role": "user", "content": "\n".join(pair)}]


def as_dspys(reply: Mapping[str, Any], *, as_json: bool = False) -> str:
    """A reply to our prompt, with dspy's fields in dspy's layout."""
    if "claims" in reply:
        claims = " ".join(claim["text"] for claim in reply["claims"])
        fields = {"reasoning": "from the choices", "synthesized_persona": claims}
    else:
        fields = {"reasoning": f"My choice: {reply['reasoning']}", "preference": reply["choice"].capitalize()}
    if as_json:
        return json.dumps(fields)
    return "".join(f"[[ ## {name} ## ]]\n{value}\n\n" for name, value in fields.items()) + "[[ ## completed ## ]]"


def _fields(text: str) -> dict[str, str]:
    return {name: value.strip() for name, value in _FIELD.findall(text)}


def _choice(answer: str) -> str:
    """The verdict of a demonstration, in dspy's chat layout or as JSON."""
    fields = json.loads(answer) if answer.startswith("{") else _fields(answer)
    return fields["preference"]


def _demonstration(first: str, second: str, choice: str) -> str:
    return "\n".join((field("first", _bare(first)), field("second", _bare(second)), field("choice", choice.lower())))


def _bare(completion: str) -> str:
    """The completion without the speaker the package writes before it, so that both sides show the same pair."""
    return completion.removeprefix(_SPEAKER)
