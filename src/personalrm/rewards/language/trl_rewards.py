"""A trained reward model as a reward function of TRL's online trainers (GRPO, RLOO).

The data set needs a column that names the user of each prompt; TRL hands it on with the
prompts and completions of each group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from personalrm.errors import BadInput
from personalrm.preferences.messages import Conversation, Message, check_conversation
from personalrm.rewards.reward_model import RewardModel, ScoreItem

Turns = Sequence[Mapping[str, Any]]
RewardFunction = Callable[..., list[float | None]]


def reward_function(
    model: RewardModel[Any], states: Mapping[str, Any], *, column: str = "user_id", strict: bool = False
) -> RewardFunction:
    """A function `(prompts, completions, user_id, ...) -> rewards` for `reward_funcs`.

    Args:
        model: A fitted reward model.
        states: User id -> what `condition` returned.
        column: Name of the data set's column with user ids.
        strict: Refuse users without a state; otherwise they are the average user.

    A completion without text gets None, which TRL leaves out of the group's advantage:
    what was not measured is no 0.
    """
    average: list[Any] = []  # made at the first need: an unknown user may never come

    def state_of(user_id: str) -> Any:
        if user_id in states:
            return states[user_id]
        if strict:
            raise BadInput(f"user {user_id!r} has no state among {len(states)}; add one or leave the user out")
        if not average:
            average.append(model.condition([]))
        return average[0]

    def personal_reward(
        prompts: Sequence[str | Turns], completions: Sequence[str | Turns], **columns: Any
    ) -> list[float | None]:
        users = columns.get(column)
        if users is None:
            raise BadInput(f"the data set has no column {column!r} that names each prompt's user; add it")
        texts = [completion if isinstance(completion, str) else _text(*completion) for completion in completions]
        rows: dict[tuple[str, Conversation], list[int]] = {}
        for place, (prompt, user_id, text) in enumerate(zip(prompts, users, texts, strict=True)):
            if text.strip():
                if isinstance(prompt, str):
                    turns = [Message("user", prompt)]
                else:
                    turns = [Message(turn["role"], _text(turn)) for turn in prompt]
                rows.setdefault((str(user_id), check_conversation(turns)), []).append(place)
        items = [
            ScoreItem(state_of(user_id), conversation, tuple(texts[place] for place in places), user_id)
            for (user_id, conversation), places in rows.items()
        ]
        rewards: list[float | None] = [None] * len(texts)
        for places, of_group in zip(rows.values(), model.score_many(items), strict=True):
            for place, reward in zip(places, of_group, strict=True):
                rewards[place] = float(reward) if np.isfinite(reward) else None
        return rewards

    return personal_reward


def _text(*turns: Mapping[str, Any]) -> str:
    """The turns' text; of content in several parts, that of those that are text."""
    text = ""
    for turn in turns:
        content = turn.get("content")
        if isinstance(content, list):
            text += "".join(str(part.get("text") or "") for part in content)
        elif isinstance(content, str):
            text += content
    return text
