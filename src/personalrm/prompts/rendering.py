"""A personal prompt as text: for a judge, for a writer, for a reader.

Pure functions. What many calls share comes first (instructions, persona,
demonstrations in a stable order), the pair last, so servers can reuse the prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.messages import Conversation, Message
from personalrm.preferences.pairs import OrderedPair, PreferencePair
from personalrm.preferences.persona_prompts import ExamplePersona, PersonaPrompt, persona_prompt_from_json
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.verdicts import PersonaTask
from personalrm.prompts.delimiters import field

EXTENTS: Mapping[PersonaTask, str] = {
    "persona": "Write one sentence a claim, most telling first, at most eight.",
    "insights": "Write one sentence an insight, one to five of them, most telling first.",
    "digest": "Write one sentence an observation, most telling first, at most twelve.",
    "profile": "Write two to four sentences, most telling first.",
}
_SLOT = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, repr=False)
class Shown:
    """Messages of one question, and what did not fit into them."""

    messages: tuple[Message, ...]
    n_turns_left_out: int = 0


def judge_messages(
    prompt: PersonalPrompt,
    conversation: Conversation,
    first: str,
    second: str,
    *,
    max_characters: int | None = None,
) -> tuple[Message, ...]:
    """Messages that ask a chat model to judge as this user would.

    Args:
        prompt: What is known of the user.
        conversation: The turns before the completions.
        first: The completion shown first.
        second: The completion shown second.
        max_characters: Longest conversation to show; the oldest turns go first, the
            last user turn always stays, and the prompt says how many were left out.
    """
    system = judge_instructions(prompt.persona, prompt.demonstrations)
    return (Message("system", system), *pair_messages(conversation, first, second, max_characters).messages)


def judge_instructions(
    persona: Persona | None, demonstrations: Sequence[Demonstration], *, with_hypotheses: bool = False
) -> str:
    """What comes before a pair: the task and what is known of the user; the same for every pair of a trial."""
    shown = "\n\n".join(_demonstration(demonstration) for demonstration in demonstrations)
    known = {
        "persona": _persona(persona) if persona is not None else "",
        "demonstrations": f"Choices they made:\n\n{shown}\n\n" if shown else "",
        "task": _template("task_reason" if with_hypotheses else "task_judge").strip(),
    }
    return _fill("judge", known)


def pair_messages(conversation: Conversation, first: str, second: str, max_characters: int | None = None) -> Shown:
    """The pair itself, cut to a length by leaving out the oldest turns."""
    turns = _newest(conversation, max_characters)
    shown = "\n".join((_turns(turns, len(conversation) - len(turns)), field("first", first), field("second", second)))
    return Shown((Message("user", shown),), len(conversation) - len(turns))


def describing_messages(
    task: PersonaTask, demonstrations: Sequence[Demonstration], known: Sequence[str], prompt: PersonaPrompt
) -> tuple[Message, ...]:
    """Messages that ask for a persona, or for one of the texts that lead to one (see `PersonaTask`).

    Args:
        task: What is to be written.
        demonstrations: Choices of the user, numbered from 1.
        known: What was written of them before, numbered from 1, in front of the choices.
        prompt: Instruction and examples of the task `persona`; the others have their own.
    """
    is_persona = task == "persona"
    examples = examples_shown(prompt.examples if is_persona else ())
    values = {
        "instruction": prompt.instruction if is_persona else _template(task).strip(),
        "examples": f"Examples of other people:\n\n{examples}\n\n" if examples else "",
        "extent": EXTENTS[task],
        "thing": "observation" if task == "profile" else "choice",
    }
    lines = "\n".join(f"{n}. {text}" for n, text in enumerate(known, 1))
    parts = (
        [f"{'Observations:' if task == 'profile' else 'Insights so far:'}\n{field('persona', lines)}"] if known else []
    )
    parts += [choices_shown(demonstrations)] if demonstrations else []
    return (Message("system", _fill("persona", values)), Message("user", "\n\n".join(parts)))


def choices_shown(demonstrations: Sequence[Demonstration]) -> str:
    """The choices as material to learn from, numbered from 1."""
    return "\n\n".join(f"Choice {n}\n{_demonstration(shown)}" for n, shown in enumerate(demonstrations, 1))


def examples_shown(examples: Sequence[ExamplePersona]) -> str:
    """Other people's choices, each with the persona they led to."""
    return "\n\n".join(
        f"{field('demonstration', example.choices)}\n{field('persona', example.persona)}" for example in examples
    )


def describe_demographics(demographics: Mapping[str, str]) -> Persona:
    """What a survey says of a user, as the persona of the demographics judge (paper 5.1, after Dong et al. 2024).

    One sentence with the survey's demographic fields; an empty persona where none is answered.
    """
    answers = [(name.replace("_", " "), " ".join(answer.split())) for name, answer in demographics.items()]
    fields = "; ".join(f"{name}: {answer}" for name, answer in answers if answer)
    if not fields:
        return Persona(note="the survey has no demographic field")
    return Persona((Claim(fill_template("demographics", {"fields": fields})),))


def generation_prompt(prompt: PersonalPrompt) -> str:
    """A system prompt that makes a chat model write as this user likes."""
    shown = [demonstration.shown.pair for demonstration in prompt.demonstrations]
    return _fill("generation", {"persona": _persona(prompt.persona), "demonstrations": _preferred(shown)})


def reward_instructions(persona: Persona | None, choices: Sequence[PreferencePair]) -> str:
    """What a trained reward model is told of a user, as a system turn; empty when there is nothing to tell."""
    known = {"persona": _persona(persona) if persona is not None else "", "demonstrations": _preferred(choices)}
    return _fill("reward", known).strip() if any(known.values()) else ""


def as_markdown(prompt: PersonalPrompt) -> str:
    """The personal prompt for a reader: persona with evidence, demonstrations, notes."""
    lines = [f"# {_plain(prompt.user_id)}", ""]
    for claim in prompt.persona.claims:
        lines.append(f"- {_plain(claim.text)} ({len(claim.supporting)} pairs for, {len(claim.contradicting)} against)")
    if not prompt.persona.claims:
        lines.append(_plain(prompt.persona.note or "No persona."))
    if prompt.demonstrations:
        lines += ["", "## Demonstrations", ""]
    for demonstration in prompt.demonstrations:
        pair = demonstration.shown.pair
        lines.append(f"- {_plain(pair.id)}: {_plain(demonstration.reasoning or 'without reasoning')}")
    if prompt.notes:
        lines += ["", "## Notes", "", *(f"- {_plain(note)}" for note in prompt.notes)]
    lines += ["", f"Learned from {len(prompt.roles)} pairs by {_plain(prompt.judge)}, variant {prompt.variant}."]
    return "\n".join(lines) + "\n"


@cache
def _template(name: str) -> str:
    return (files("personalrm.prompts") / "templates" / f"{name}.md").read_text(encoding="utf-8")


@cache
def shipped_persona_prompt() -> PersonaPrompt:
    """The persona prompt that ships: ours, not the paper's."""
    text = (files("personalrm.prompts") / "persona_prompt.json").read_text(encoding="utf-8")
    return persona_prompt_from_json(text, where="the shipped persona prompt")


def _fill(name: str, values: Mapping[str, str]) -> str:
    """The template with all slots filled in one pass, so filled-in text cannot open another slot.

    The last line break of the file stays: kept answers are found by the bytes of their prompt.
    """
    return _SLOT.sub(lambda slot: values[slot.group(1)], _template(name))


def _persona(persona: Persona) -> str:
    return f"What is known of them:\n{field('persona', persona.text)}\n\n" if persona.claims else ""


def _preferred(choices: Sequence[PreferencePair]) -> str:
    """Choices by what was preferred over what, in no order a reader could take for a position."""
    liked = "\n\n".join(
        f"{_turns(pair.conversation)}\nThey preferred:\n{field('first', pair.chosen)}\n"
        f"over:\n{field('second', pair.rejected)}"
        for pair in choices
    )
    return f"Choices they made:\n\n{liked}\n\n" if liked else ""


def _demonstration(demonstration: Demonstration) -> str:
    shown: OrderedPair = demonstration.shown
    parts = [_turns(shown.pair.conversation), field("first", shown.first), field("second", shown.second)]
    if demonstration.reasoning is not None:
        parts.append(field("reasoning", demonstration.reasoning))
    parts.append(field("choice", shown.answer))
    return "\n".join(parts)


def _newest(conversation: Conversation, max_characters: int | None) -> Conversation:
    """The newest turns that fit, the last user turn and what follows it in any case."""
    if max_characters is None:
        return conversation
    last_user = max(place for place, turn in enumerate(conversation) if turn.role == "user")
    start, left = len(conversation), max_characters
    while start > 0 and (start > last_user or left >= len(conversation[start - 1].content)):
        start -= 1
        left -= len(conversation[start].content)
    return conversation[start:]


def _turns(turns: Conversation, n_left_out: int = 0) -> str:
    note = [f"({n_left_out} older turns left out)"] if n_left_out else []
    return "\n".join([*note, *(field("turn", turn.content, f'role="{turn.role}"') for turn in turns)])


def _plain(text: str) -> str:
    """One line of Markdown that is text and nothing else."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", " ".join(text.split()))


def conversation_messages(conversation: Conversation, max_characters: int | None = None) -> Shown:
    """A conversation alone, cut to a length by the rule of `pair_messages`."""
    turns = _newest(conversation, max_characters)
    n_left_out = len(conversation) - len(turns)
    return Shown((Message("user", _turns(turns, n_left_out)),), n_left_out)


def fill_template(name: str, values: Mapping[str, str]) -> str:
    """A template with all its slots filled in one pass, without the last line break."""
    return _fill(name, values).strip()
