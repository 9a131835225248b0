"""Raw files in exactly the layouts of Chatbot Arena and PRISM, made up, and judges whose decisions can be computed.

What every stage of a build must leave is planted in the texts: a request about "taste" is
personalizable, a completion marked "(same)" differs in nothing, one marked "(plain)" is
seen through by every judge, one marked "(trap)" fools every judge.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from personalrm.prompts.delimiters import read_fields
from personalrm.testing.skill import Messages, Rule

MARKS = ("contested", "plain", "trap", "same", "fact")
"""What is planted in a pair; only contested ones survive both filters."""


@dataclass(frozen=True)
class Planted:
    """One planted pair."""

    user_id: str
    mark: str


def arena_rows(n_users: int, n_battles: int, *, seed: int = 0) -> Iterator[tuple[dict[str, Any], Planted | None]]:
    """Rows of Chatbot Arena in the order of their time, and what is planted in each (None for a tie).

    Args:
        n_users: Judges; the number of battles of each varies from 1 to `2 * n_battles - 1`.
        n_battles: Battles of a judge on average.
        seed: Of everything.
    """
    rng = random.Random(seed)
    owners = [number for number in range(n_users) for _ in range(rng.randint(1, 2 * n_battles - 1))]
    rng.shuffle(owners)
    for row, owner in enumerate(owners):
        mark = rng.choice(MARKS)
        winner = rng.choice(("model_a", "model_b", "model_a", "model_b", "tie"))
        chosen, rejected = _texts(mark, row)
        texts = (chosen, rejected) if winner == "model_a" else (rejected, chosen)
        asked = {"role": "user", "content": _query(mark, row)}
        battle = {
            "question_id": f"{seed:04x}-{row:08x}",
            "model_a": "vicuna-13b",
            "model_b": "koala-13b",
            "winner": winner,
            "judge": f"arena_user_{owner}",
            "conversation_a": [asked, {"role": "assistant", "content": texts[0]}],
            "conversation_b": [asked, {"role": "assistant", "content": texts[1]}],
            "turn": 1,
            "anony": True,
            "language": "English",
            "tstamp": 1_682_351_591.0 + row,
            "openai_moderation": "{}",
            "toxic_chat_tag": "{}",
        }
        yield battle, None if winner == "tie" else Planted(f"arena_user_{owner}", mark)


def prism_rows(n_users: int, n_conversations: int, *, seed: int = 0) -> Iterator[tuple[dict[str, Any], list[Planted]]]:
    """Rows of PRISM's `conversations`, one scored couple a turn, and what is planted in each."""
    rng = random.Random(seed)
    for owner in range(n_users):
        for number in range(rng.randint(1, 2 * n_conversations - 1)):
            history: list[dict[str, Any]] = []
            planted = []
            for turn in range(rng.randint(1, 3)):
                mark = rng.choice(MARKS)
                row = (owner * 1_000 + number) * 10 + turn
                history.append({"turn": turn, "role": "user", "content": _query(mark, row)})
                best = rng.randint(60, 100)
                for place, text in enumerate(_texts(mark, row)):
                    scored = {"score": best - 30 * place, "if_chosen": place == 0, "within_turn_id": place}
                    history.append({"turn": turn, "role": "model", "content": text, "model_name": "m"} | scored)
                planted.append(Planted(f"user{owner}", mark))
            yield (
                {
                    "conversation_id": f"c{owner * 1_000 + number}",
                    "user_id": f"user{owner}",
                    "conversation_type": "unguided",
                    "opening_prompt": history[0]["content"],
                    "conversation_turns": len(planted),
                    "conversation_history": history,
                    "generated_datetime": f"2023-12-{1 + number % 28:02d} 10:{owner % 60:02d}:00.000000+00:00",
                },
                planted,
            )


def survey_rows(n_users: int) -> Iterator[dict[str, Any]]:
    """Rows of PRISM's `survey`."""
    for owner in range(n_users):
        yield {
            "user_id": f"user{owner}",
            "self_description": f"I am person {owner}.",
            "system_string": "Be kind and brief.",
            "age": "25-34 years old",
            "gender": "Female",
            "religion": {"self_described": "", "categorised": "Other", "simplified": "Other"},
            "ethnicity": {"self_described": "", "categorised": "Mixed", "simplified": "Mixed"},
            "location": {"birth_country": "Peru", "reside_country": "Peru"},
        }


def write_lines(path: Path, rows: Iterator[Mapping[str, Any]]) -> Path:
    """The rows as JSON lines; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def planted_filter(messages: Messages) -> str:
    """A model that answers both questions of the personalizable filter as planted."""
    shown = messages[-1]["content"]
    if '"taste"' in messages[0]["content"]:
        firsts = read_fields(shown, "first") + read_fields(shown, "second")
        return _yes("taste", not any("(same)" in text for text in firsts))
    return _yes("disagree", "taste" in read_fields(shown, "turn")[-1])


def planted_judge(leaning: str = "first") -> Rule:
    """A judge that sees through "(plain)", is fooled by "(trap)", and else picks the position it leans to."""

    def rule(messages: Messages) -> str:
        shown = messages[-1]["content"]
        texts = {"first": read_fields(shown, "first")[-1], "second": read_fields(shown, "second")[-1]}
        right = next((side for side, text in texts.items() if text.startswith("Good")), leaning)
        wrong = next(side for side in texts if side != right)
        choice = leaning
        if "(plain)" in texts[right]:
            choice = right
        elif "(trap)" in texts[right]:
            choice = wrong
        return json.dumps({"reasoning": "as planted", "choice": choice})

    return rule


def planted_model(messages: Messages) -> str:
    """One model that is both: the filter and a judge."""
    return planted_filter(messages) if '"choice"' not in messages[0]["content"] else planted_judge()(messages)


def _query(mark: str, row: int) -> str:
    return f"What is {row} plus one?" if mark == "fact" else f"What is to your taste on day {row}?"


def _texts(mark: str, row: int) -> tuple[str, str]:
    """Chosen and rejected."""
    return f"Good answer {row} ({mark})", f"Other answer {row} ({mark})"


def _yes(key: str, answer: bool) -> str:
    return json.dumps({"reasoning": "as planted", key: "yes" if answer else "no"})
