"""A Bradley-Terry model that runs on a server: same states and scores, no torch here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from personalrm.errors import ModelUnavailable
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.protocol import Request
from personalrm.lm.reward_server import read_reward
from personalrm.preferences.messages import Conversation, Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.language.user_turns import KNOWS, Nothing, UserTurn, UserTurns
from personalrm.rewards.reward_model import ScoreItem
from personalrm.stats.arrays import FloatArray


class ServedRewards:
    """Rewards of a served model (see `lm.reward_server`), many at a time.

    The user's turn comes first, so a server that keeps prefixes computes it once.

    Args:
        caller: Around a `RewardServer`; its cache keeps rewards.
        turns: What is told of users.
    """

    def __init__(self, caller: Caller, *, turns: UserTurns | None = None) -> None:
        self.caller, self.turns = caller, turns or Nothing()

    @property
    def name(self) -> str:
        """The method's name in tables."""
        return f"{KNOWS[self.turns.knows]}_served"

    def condition_many(self, contexts: Sequence[Sequence[PreferencePair]]) -> list[UserTurn]:
        """The system turn of each user."""
        return [UserTurn(self.turns.of_context(context)) for context in contexts]

    def condition(self, context: Sequence[PreferencePair]) -> UserTurn:
        """The system turn of one user."""
        return self.condition_many([context])[0]

    def score_many(self, items: Sequence[ScoreItem]) -> list[FloatArray]:
        """The rewards of each item's completions; NaN where the server gave none, as what was not measured is no 0.

        Raises:
            ModelUnavailable: If the server cannot be reached or refuses access.
        """
        asks = [_ask(item, completion) for item in items for completion in item.completions]
        outcomes = self.caller.ask_all(asks) if asks else []
        if self.caller.stopped is not None:
            raise self.caller.stopped
        if outcomes and all(outcome.value is None for outcome in outcomes):
            raise ModelUnavailable(
                f"the server gave none of {len(outcomes)} rewards ({outcomes[0].reason}); check that it serves a "
                "reward model on this route"
            )
        rewards = np.array(
            [np.nan if outcome.value is None else outcome.value for outcome in outcomes], dtype=np.float64
        )
        return np.split(rewards, np.cumsum([len(item.completions) for item in items])[:-1]) if items else []

    def score(self, state: UserTurn, conversation: Conversation, completions: Sequence[str]) -> FloatArray:
        """Rewards of the completions, shape `(completions,)`."""
        return self.score_many([ScoreItem(state, conversation, tuple(completions))])[0]


def _ask(item: ScoreItem, completion: str) -> Ask[float]:
    system = [Message("system", item.state.system)] if item.state.system else []
    messages = (*system, *item.conversation, Message("assistant", completion))
    return Ask(lambda: Request(messages, stage="reward", user_id=item.user_id), read_reward)
