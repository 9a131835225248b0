"""What a model's reply says: a verdict or a persona. Pure, tolerant, and never guessing.

Accepted are strict JSON, JSON in a code fence, JSON behind thoughts or among other text,
marker-style fields, and a bare label. A reply that says two different things, or nothing
we know, is unreadable. No reply takes longer to read than its length allows: each pattern
here goes over a text once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from personalrm.errors import UnreadableReply
from personalrm.preferences.pairs import Choice
from personalrm.preferences.personas import Claim, Persona
from personalrm.prompts.linting import is_order

MOST_CLAIMS = 12
LONGEST = 1_000_000
"""Characters; no answer that was asked for is as long."""
_THOUGHTS = r"(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflect(?:ion)?|analysis|scratchpad|longcat_think|seed:think)"
_MARK = re.compile(
    # gpt-oss and gemma name channels, of which the last one is for the reader
    r"(?P<answer><\|?channel\|?>\s*(?:final|response|answer)\b(?:\s*<\|constrain\|>\s*\w+)?(?:\s*<\|?message\|?>)?"
    r"|<\|(?:begin_of_solution|start_response)\|>)"
    r"|(?P<opens><\|?channel\|?>\s*(?:analysis|commentary|thoughts?|thinking|reasoning)\b"
    rf"|<{_THOUGHTS}>|\[think\]|◁think▷|<\|(?:begin_of_thought|start_thinking|think)\|>|<unused94>)"
    rf"|(?P<closes></{_THOUGHTS}>|\[/think\]|◁/think▷|<\|(?:end_of_thought|end_thinking|/think)\|>|<channel\|>|<unused95>)"
    r"|(?P<ends><\|[\w/]+\|>|</s>|<end_of_turn>|<eos>)",  # tokens that are not text
    re.IGNORECASE,
)
"""Where models that think aloud begin and end their thoughts."""
_LEAKED_NAMES = re.compile(r"\s*(?:analysis|commentary)(?=[A-Z ])")
"""How the channels of gpt-oss begin where a server leaves out their marks."""
_LABELS: dict[str, Choice] = {"first": "first", "a": "first", "1": "first", "one": "first"}
_LABELS |= {"second": "second", "b": "second", "2": "second", "two": "second"}
_NOUN = r"(?:completion|response|answer|option|choice)"
_LABEL = re.compile(rf"(?:the\s+)?(?:{_NOUN}\s+)?(first|second|one|two|a|b|1|2)(?:\s+{_NOUN})?")
_MARKED = re.compile(
    rf"(?:\[\[\s*##\s*(?:choice|verdict|preference|answer|label)\s*##\s*\]\]|<(?:choice|verdict|preference|answer)>|"
    rf"\b(?:choice|verdict|preference|preferred|winner|label|answer)\b[\"'”*_`]*\s*(?:is\s*)?[:=])"
    rf"[\s\"'“”*_`(\[]*((?:the\s+)?(?:{_NOUN}\s+)?(?:first|second|one|two|a|b|1|2))\b",
    re.IGNORECASE,
)
_REASONED = re.compile(
    r"(?:\[\[\s*##\s*reasoning\s*##\s*\]\]|\breasoning\b[*_`\"'”]*\s*:)\s*(.*?)"
    r"(?=\[\[\s*##|\n[ \t]*[*_`\"']*(?:choice|verdict|preference|preferred|answer)\b|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_OPENING = re.compile(r"\{\s*[\"}]")
_YES_KEYS = ("disagree", "taste", "answer", "verdict", "label")
_YES = {"yes": True, "true": True, "no": False, "false": False}
_MARKED_YES = re.compile(
    rf"\b(?:{'|'.join(_YES_KEYS)})\b[\"'”*_`]*\s*(?:is\s*)?[:=][\s\"'“”*_`(\[]*(yes|no|true|false)\b", re.IGNORECASE
)
_MARKED_PERSONA = re.compile(
    r"(?:\[\[\s*##\s*synthesized_persona\s*##\s*\]\]|\bpersona\s*:)(.*?)(?=\[\[\s*##|\Z)", re.DOTALL | re.IGNORECASE
)
CHOICE_KEYS = ("choice", "verdict", "preference", "preferred", "answer", "label", "winner")


@dataclass(frozen=True, repr=False)
class ReadVerdict:
    """What a judge's reply says."""

    choice: Choice
    reasoning: str = ""
    hypotheses: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Reasoning and hypotheses as one paragraph, for a demonstration."""
        return " ".join(part for part in (self.reasoning, *self.hypotheses) if part)


def read_verdict(reply: str) -> ReadVerdict:
    r"""The verdict in a reply.

    Raises:
        UnreadableReply: If there is none, or there are two.

    >>> read_verdict('<think>hm</think> ```json\n{"reasoning": "shorter", "choice": "B"}\n```').choice
    'second'
    """
    text = _without_thoughts(reply)
    objects = [content for content in _objects(text) if _values(content, CHOICE_KEYS)]
    # A label given once more outside the JSON is read too: a contradiction is not for us to settle.
    choices = {label for content in objects for label in _labels_in(content)}
    choices |= {_label(words) for words in _MARKED.findall(_outside_json(text) if objects else text)}
    if len(choices) > 1:
        raise UnreadableReply("the reply names both completions")
    choice = choices.pop() if choices else None
    if objects:
        if choice is None:
            raise UnreadableReply("the choice is neither first nor second")
        lines = objects[-1].get("hypotheses")
        hypotheses = tuple(filter(None, map(_words, lines))) if isinstance(lines, list) else ()
        return ReadVerdict(choice, _words(objects[-1].get("reasoning")), hypotheses)
    if choice is not None:
        reasoned = _REASONED.search(text)
        return ReadVerdict(choice, reasoned.group(1).strip() if reasoned else "")
    bare = _label(text.strip().rstrip("."))
    if bare is None:
        raise UnreadableReply("no verdict in the reply")
    return ReadVerdict(bare)


def read_yes_or_no(reply: str) -> bool:
    r"""The answer to a question of yes or no: JSON, a marked field, or the bare word.

    Raises:
        UnreadableReply: If there is none, or there are two.

    >>> read_yes_or_no('```json\n{"reasoning": "a fact", "disagree": "no"}\n```'), read_yes_or_no("Yes.")
    (False, True)
    """
    text = _without_thoughts(reply)
    objects = list(_objects(text))
    answers = {_truth(value) for content in objects for value in _values(content, _YES_KEYS)}
    answers |= {_truth(word) for word in _MARKED_YES.findall(_outside_json(text) if objects else text)}
    answers = answers or {_truth(text)}
    if len(answers) > 1:
        raise UnreadableReply("the reply says yes and no")
    answer = answers.pop()
    if answer is None:
        raise UnreadableReply("neither yes nor no in the reply")
    return answer


def _truth(value: Any) -> bool | None:
    return _YES.get(str(value).strip(" \t\n\"'*_`.()[]").lower())


def read_persona(reply: str, pair_ids: Sequence[str]) -> Persona:
    """The persona in a reply; claims are tied to pairs by the numbers the model gives.

    A sentence that names no choice, or only choices that were not shown, stays but is
    marked in the persona's note; a sentence that gives orders is left out and counted.

    Args:
        reply: The model's text.
        pair_ids: Ids of the pairs that were shown, numbered from 1.

    Raises:
        UnreadableReply: If there is no claim in it.
    """
    text = _without_thoughts(reply)
    rows = next((content["claims"] for content in _objects(text) if isinstance(content.get("claims"), list)), None)
    if rows is None:  # a persona written as text after a marker, as DSPy programs do
        marked = _MARKED_PERSONA.search(text)
        if marked is None:
            raise UnreadableReply("no claims in the reply")
        rows = [part for part in re.split(r"(?<=[.!?])\s+|\n+", marked.group(1)) if part.strip(" -*")]
    written = []
    for row in rows[:MOST_CLAIMS]:
        content = {"text": row} if isinstance(row, str) else row if isinstance(row, dict) else {}
        sentence = " ".join(_words(content.get("text")).split())
        if sentence:
            ids = (_ids(content.get(key), pair_ids) for key in ("supporting", "contradicting"))
            written.append(Claim(sentence, *ids))
    claims = tuple(claim for claim in written if not is_order(claim.text))
    if not claims:
        raise UnreadableReply("no claim in the reply" if not written else "the persona gives orders")
    notes = []
    if n_orders := len(written) - len(claims):
        notes.append(f"{n_orders} sentences were left out because they give orders")
    if n_loose := sum(not claim.supporting for claim in claims):
        notes.append(f"{n_loose} of {len(claims)} sentences name no supporting choice")
    return Persona(claims, "; ".join(notes))


def _ids(numbers: Any, pair_ids: Sequence[str]) -> tuple[str, ...]:
    """The ids behind the numbers of pairs; numbers nobody was shown are dropped."""
    ids: dict[str, None] = {}
    for number in numbers if isinstance(numbers, list) else ():
        digits = re.search(r"\d+", str(number))
        if digits and 1 <= int(digits.group()[:9]) <= len(pair_ids):
            ids.setdefault(pair_ids[int(digits.group()[:9]) - 1])
    return tuple(ids)


def _without_thoughts(reply: str) -> str:
    """What stands outside of thoughts, and behind the last sign that the answer begins."""
    if len(reply) > LONGEST:
        raise UnreadableReply("the reply is longer than any answer")
    with suppress(ValueError, RecursionError):
        content = json.loads(reply, strict=False)
        if isinstance(content, dict):
            return reply  # marks in its texts are texts
        if isinstance(content, str):
            reply = content
    if _LEAKED_NAMES.match(reply):
        reply = reply.rpartition("assistantfinal")[2]
    outside: list[str] = []
    at, is_thought = 0, False
    for mark in _MARK.finditer(reply):
        if mark["answer"] or (mark["closes"] and not is_thought):
            outside.clear()  # all before it was thought, though nothing said so
        elif not is_thought:
            outside.append(reply[at : mark.start()])
        at, is_thought = mark.end(), bool(mark["opens"] or (is_thought and mark["ends"] not in (None, "<|end|>")))
    if is_thought:
        raise UnreadableReply("the reply ends inside its thoughts")
    return " ".join([*outside, reply[at:]])


def json_objects(reply: str) -> Iterator[dict[str, Any]]:
    """Every JSON object in a reply, thoughts left out.

    Raises:
        UnreadableReply: If the reply ends inside its thoughts.
    """
    return _objects(_without_thoughts(reply))


def _objects(text: str) -> Iterator[_Object]:
    """Every JSON object that stands in the text and not inside another; inside a broken one they count.

    Each broken one is read to where it breaks, so that many within each other are read many
    times, and lines are counted up to there; when that comes to four times the text, the
    rest is given up.
    """
    decoder, left = json.JSONDecoder(strict=False, object_pairs_hook=_Object), 4 * len(text) + 1000
    opening = _OPENING.search(text)
    while opening is not None and left > 0:
        at = opening.start()
        try:
            value, end = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            end = at + 1
            left -= error.pos - at + error.pos // 64
        except (ValueError, RecursionError):  # a number of thousands of digits, or too deep for an answer
            return
        else:
            if isinstance(value, _Object):
                yield value
        opening = _OPENING.search(text, end)


def _outside_json(text: str) -> str:
    """What stands behind the last brace, then what stands before the first."""
    return text[text.rfind("}") + 1 :] + "\n" + text[: max(0, text.find("{"))]


class _Object(dict[str, Any]):
    """A JSON object that remembers what stood under a key that was written twice; `dict` keeps the last."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _values(content: _Object, keys: Sequence[str]) -> list[Any]:
    """What stands under any of these keys, the first key of the list first; null says nothing."""
    named = [(key.lower().strip(), value) for key, value in content.pairs if value is not None]
    return [value for key in keys for name, value in named if name == key]


def _labels_in(content: _Object) -> set[Choice | None]:
    """The labels of an object; None where its first key holds none. What stands under the others may be any text."""
    first, *others = _values(content, CHOICE_KEYS)
    return {_label(first)} | {label for value in others if (label := _label(value)) is not None}


def _label(value: Any) -> Choice | None:
    match = _LABEL.fullmatch(re.sub(r"[\s\"'*_`().\[\]]+", " ", str(value)).strip().lower())
    return _LABELS[match.group(1)] if match else None


def _words(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""
