"""What a search would ask at most, before anything is spent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from personalrm.induction.forecast import REASONING, REPLY_TOKENS
from personalrm.induction.search.mipro import mipro_calls_by_purpose
from personalrm.induction.search.optimize import calls_by_purpose
from personalrm.induction.search.people import People
from personalrm.induction.search.settings import SearchSettings
from personalrm.judging.model import ModelJudge
from personalrm.lm.prices import CHARACTERS_A_TOKEN, Price
from personalrm.lm.protocol import Usage
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.pairs import OrderedPair
from personalrm.preferences.verdicts import PersonaQuestion, Question
from personalrm.wording import count

LOOKED_AT = 50
"""Pairs whose length is taken for all."""


@dataclass(frozen=True)
class SearchForecast:
    """At most so many calls; answers that are kept already are not counted off."""

    n_train_users: int
    n_dev_users: int
    calls: dict[str, int]
    """By purpose."""
    n_calls: int
    n_tokens: int
    """About."""
    cost: float | None
    """In US dollars at list prices; None where the price is unknown."""

    def as_json(self) -> dict[str, Any]:
        """The forecast for machines."""
        return asdict(self)

    def line(self) -> str:
        """The forecast in a sentence."""
        cost = "price unknown" if self.cost is None else f"about {self.cost:.2f} USD"
        parts = ", ".join(f"{name} {n:,}" for name, n in self.calls.items())
        return (
            f"would search over {self.n_train_users:,} train and {count(self.n_dev_users, 'dev user')}: at most "
            f"{self.n_calls:,} calls ({parts}), about {self.n_tokens:,} tokens, {cost}"
        )


def forecast_search(
    people: People, judge: ModelJudge, settings: SearchSettings, price: Price | None, *, with_dspy: bool = False
) -> SearchForecast:
    """Upper bound of calls, and about how many tokens they take.

    Args:
        people: Train and dev users.
        judge: Who would be asked; nothing is asked.
        settings: Of the search.
        price: What tokens cost.
        with_dspy: Whether DSPy's MIPROv2 searches.
    """
    count_calls = mipro_calls_by_purpose if with_dspy else calls_by_purpose
    calls = count_calls(people, settings, judge.options.n_samples)
    n_calls = sum(calls.values())
    lengths = []
    for _, split in people.dev[:LOOKED_AT]:
        # About how long a prompt is, over judgements with and without demonstrations and personas' prompts.
        shown = tuple(Demonstration(OrderedPair(pair, chosen_first=True), REASONING) for pair in split.train)
        pair = split.target[0]
        question = Question(pair.user_id, pair.conversation, pair.chosen, pair.rejected)
        judged = judge.judge_request(question, "judge").n_characters
        written = judge.persona_request(PersonaQuestion(pair.user_id, shown)).n_characters
        n = 2 * len(split.target)
        lengths.append((n * judged + written) / (n + 1))
    n_prompt = int(n_calls * (sum(lengths) / len(lengths)) / CHARACTERS_A_TOKEN)
    usage = Usage(n_prompt, n_calls * REPLY_TOKENS)
    cost = price.of(usage) if price else None
    return SearchForecast(len(people.train), len(people.dev), calls, n_calls, n_prompt + usage.completion_tokens, cost)
