"""The same questions for every client, and the clients in their environments."""

import hashlib
import json
import re
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peers.dspy_layout import Messages
from peers.environments import python_of
from personalrm.preferences.messages import Message
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.verdicts import Question
from personalrm.prompts.rendering import judge_instructions, pair_messages

CLIENTS = {
    "openai": ("clients", "openai"),
    "litellm": ("clients", "litellm"),
    "dspy 2.6.24": ("package", "dspy"),
    "dspy 3": ("clients", "dspy"),
}
Item = dict[str, Any]


def questions(run: str, n: int, persona: str) -> list[Question]:
    """Questions that name their run and number, so that no answer can be taken for another's."""
    known = Persona((Claim(persona),))
    return [
        Question("u", (Message("user", f"{run}?"),), f"call-{number} {run}", f"no call {number}", known)
        for number in range(n)
    ]


def item_of(question: Question) -> Item:
    """The question as chat messages (our prompt) and as the fields of a dspy program."""
    assert question.persona is not None
    system = judge_instructions(question.persona, ())
    shown = pair_messages(question.conversation, question.first, question.second).messages
    return {
        "persona": question.persona.text,
        "conversation": question.conversation[0].content,
        "first": question.first,
        "second": question.second,
        "messages": [{"role": turn.role, "content": turn.content} for turn in (Message("system", system), *shown)],
    }


def numbered(messages: Messages) -> str:
    """A reply that belongs to one question alone."""
    number = re.findall(r"call-(\d+)", messages[-1]["content"])[-1]
    even = hashlib.sha256(number.encode()).digest()[0] % 2 == 0
    return json.dumps({"reasoning": f"because {number}", "choice": "first" if even else "second"})


def ask(client: str, runs: Mapping[str, tuple[str, list[Item]]], *, in_flight: int) -> dict[str, Any]:
    """What came back of each run's questions, through a client in its own environment.

    Args:
        client: One of `CLIENTS`.
        runs: Server URL and questions by name.
        in_flight: Questions under way at one time.
    """
    environment, name = CLIENTS[client]
    plan = {"in_flight": in_flight, "runs": {run: {"url": url, "items": items} for run, (url, items) in runs.items()}}
    with tempfile.TemporaryDirectory() as folder:
        given, result = Path(folder) / "plan.json", Path(folder) / "result.json"
        given.write_text(json.dumps(plan))
        program = Path(__file__).parent / "call_client.py"
        command = [python_of(environment), str(program), name, str(given), str(result)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{client} failed: {done.stderr[-2000:]}")
        return dict(json.loads(result.read_text()))
