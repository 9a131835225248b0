"""A scorer for inspect_ai: would this person prefer the model's answer to the reference?

The extra `inspect` brings inspect_ai; it is imported when a scorer is made. A sample names
its user in its metadata, and its target is the reference completion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from personalrm.errors import MissingExtra, PersonalRMError
from personalrm.judging.personal import judge_pair
from personalrm.preferences.messages import Conversation, Message
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.verdicts import Judge, Verdict
from personalrm.wording import install_hint


def personal_scorer(
    prompts: Mapping[str, PersonalPrompt], judge: Judge | None = None, *, user_key: str = "user_id"
) -> Any:
    """An inspect_ai scorer that compares each answer with the sample's target, as the sample's user would.

    1 where the user prefers the model's answer, 0 where the reference, 0.5 for a tie; both
    orders are judged. A verdict that cannot be had is unscored with its reason and left out of
    the metrics. The standard error is clustered by user.

    Args:
        prompts: Personal prompts by user id.
        judge: A language model's judge; None judges by the weights the prompts carry.
        user_key: Key of the user id in a sample's metadata.

    Raises:
        MissingExtra: If inspect_ai is not installed.
    """
    try:
        from inspect_ai.scorer import Score, mean, scorer, stderr
    except ImportError:
        raise MissingExtra(f"the scorer needs inspect_ai; {install_hint('inspect')}") from None
    opening = asyncio.Lock()

    def make() -> Any:
        opened: list[bool] = []

        async def ask(prompt: PersonalPrompt, conversation: Conversation, answer: str, reference: str) -> Verdict:
            """The verdict from a thread of its own; only the first opens the judge's connection."""
            work = partial(judge_pair, prompt, conversation, answer, reference, judge)
            if opened:
                return await asyncio.to_thread(work)
            async with opening:
                verdict = await asyncio.to_thread(work)
                opened.append(True)
                return verdict

        async def score(state: Any, target: Any) -> Any:
            user_id = str((state.metadata or {}).get(user_key, ""))
            if user_id not in prompts:
                return Score.unscored(reason=f"no personal prompt of user {user_id!r}")
            answer, reference = state.output.completion, target.text
            for what, text in (("answer", answer), ("reference", reference)):
                if not text.strip():  # as everywhere: a blank completion was not written, and is not judged
                    return Score.unscored(reason=f"the {what} is blank")
            try:
                # the sample's input is one user turn, or chat messages
                is_text = isinstance(state.input, str)
                turns = [Message("user", state.input)] if is_text else [Message(t.role, t.text) for t in state.input]
                verdict = await ask(prompts[user_id], tuple(turns), answer, reference)
            except PersonalRMError as error:
                return Score.unscored(reason=str(error))
            if not verdict.is_scored:
                return Score.unscored(reason=verdict.unscored_reason)
            return Score(
                value={"first": 1.0, "second": 0.0, None: 0.5}[verdict.choice],
                answer=answer,
                explanation=verdict.reasoning,
                metadata={"probability": verdict.probability, "positions_agree": verdict.positions_agree},
            )

        return score

    # Called, not written with @: without inspect_ai installed the checker knows no type of the decorator.
    return scorer(metrics=[mean(), stderr(cluster=user_key)], name="personal_preference")(make)()
