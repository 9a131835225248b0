"""A model whose skill depends on the persona prompt in a known way, to hold a search for the prompt against."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence

from personalrm.testing.skill import (
    Messages,
    Rule,
    Seen,
    likes,
    majority,
    named_taste,
    share_of_pair,
    share_of_text,
    verdict_reply,
)


def coached(
    words: Mapping[str, float], base: float = 0.4, proposes: Sequence[str] = (), *, wavers: float = 0.0
) -> Rule:
    """A model that writes better personas the more of these words its persona prompt holds.

    A persona names the person's real taste if a draw fixed by the person's choices is below
    `base` plus the weights of all words found in the instruction and the examples, else the
    opposite taste. The judge follows the persona without fail, and knowing none it decides by
    a hash of the pair, so that its accuracy is one half.

    Args:
        words: Weight of each word.
        base: Chance of a right persona without any word.
        proposes: Instructions it proposes, one after the other.
        wavers: 0 draws by the person alone, so a better prompt is right about everybody a worse one is right
            about; 1 draws anew for each prompt, so that many people are needed to tell two prompts apart.
    """

    def rule(messages: Messages) -> str:
        system, seen = messages[0]["content"], Seen.of(messages)
        if '{"instruction"' in system:
            number = int((re.findall(r"Write proposal (\d+)\.", system) or ["1"])[-1])
            return json.dumps({"instruction": proposes[(number - 1) % len(proposes)] if proposes else "Describe them."})
        for key in ("observation", "summary"):
            if f'{{"{key}"' in system:
                return json.dumps({key: "Lengths differ, and people differ in which length they like."})
        if seen.asks_for_persona:
            quality = base + sum(weight for word, weight in words.items() if word in system)
            draw = (
                share_of_text(messages[-1]["content"]) + wavers * share_of_text(system + messages[-1]["content"])
            ) % 1.0
            taste = majority(seen) or "longer"
            if draw >= quality:
                taste = {"shorter": "longer", "longer": "shorter"}[taste]
            # A second sentence differs from prompt to prompt.
            mark = hashlib.sha256(system.encode("utf-8", "surrogatepass")).hexdigest()[:8]
            claims = [
                {"text": f"Prefers far {taste} answers than most people.", "supporting": [1]},
                {"text": f"Is known as {mark}.", "supporting": []},
            ]
            return json.dumps({"claims": claims})
        drawn = "shorter" if share_of_pair(seen.first, seen.second) < 0.5 else "longer"
        taste = named_taste(seen.persona) or drawn
        first = likes(taste, seen.first, seen.second)
        return verdict_reply(seen, "first" if first else "second", f"this person likes {taste} answers")

    return rule
