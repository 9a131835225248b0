"""What a fit with a language model would ask and cost, before anything is spent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

from personalrm.induction.draws import in_balanced_order
from personalrm.induction.fit_job import Todo
from personalrm.induction.roles import assign_roles
from personalrm.induction.settings import InductionSettings
from personalrm.judging.model import ModelJudge
from personalrm.lm.prices import Price
from personalrm.lm.protocol import Usage
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.verdicts import PersonaQuestion, Question

REASONING = "x" * 500
"""Stands for a reasoning that is not written yet."""
REPLY_TOKENS = 200
CHARACTERS_A_TOKEN = 4.0


@dataclass
class Forecast:
    """At most so much; what the cache holds already is not asked again and not counted off."""

    n_users: int = 0
    n_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0
    """In US dollars at list prices; None where the price is unknown."""

    def as_json(self) -> dict[str, Any]:
        """The forecast for machines."""
        return asdict(self)

    def line(self) -> str:
        """The forecast in a sentence."""
        cost = "price unknown" if self.cost is None else f"about {self.cost:.2f} USD"
        tokens = f"about {self.prompt_tokens + self.completion_tokens:,} tokens"
        return f"would fit {self.n_users:,} users: at most {self.n_calls:,} calls, {tokens}, {cost}"


def forecast(todo: Iterable[Todo], judge: ModelJudge, settings: InductionSettings, price: Price | None) -> Forecast:
    """Upper bound of calls (specification, induction section 4) and about how many tokens they take.

    Args:
        todo: Who would be fitted.
        judge: Who would be asked; nothing is asked.
        settings: Variant, trials, orders.
        price: What tokens cost.
    """
    total = Forecast()
    for one in todo:
        total.n_users += 1
        _add_user(total, one, judge, settings)
    usage = Usage(total.prompt_tokens, total.completion_tokens)
    total.cost = price.of(usage) if price else None
    return total


def _add_user(total: Forecast, todo: Todo, judge: ModelJudge, settings: InductionSettings) -> None:
    pairs = tuple(pair for pair in todo.user.pairs if pair.split != "target")
    split = assign_roles(pairs, todo.roles, settings.seed)
    train = in_balanced_order(split.train, settings.seed)
    shown = tuple(Demonstration(ordered, REASONING) for ordered in train)
    n_searches = {"all_pairs": 1, "persona": 1, "demonstrations": 1, "both": 2}[settings.variant]
    n_personas = settings.variant != "demonstrations"
    n_orders = 2 if settings.validation_orders == "both" else 1
    n_trials = (settings.n_trials + 1) * n_orders * len(split.validation)
    first = train[0] if train else None
    if first is None:
        return
    question = Question(todo.user.user_id, first.pair.conversation, first.first, first.second)
    bare = judge.judge_request(replace(question, wants_hypotheses=True), "bootstrap").n_characters
    # A trial shows half of the reasonings on average.
    full = judge.judge_request(replace(question, demonstrations=shown[: 1 + len(shown) // 2]), "trials").n_characters
    persona = judge.persona_request(PersonaQuestion(todo.user.user_id, shown)).n_characters
    n_calls = n_searches * (len(train) + n_trials) + n_personas
    n_characters = n_searches * (len(train) * bare + n_trials * full) + n_personas * persona
    total.n_calls += n_calls * judge.options.n_samples
    total.prompt_tokens += int(n_characters / CHARACTERS_A_TOKEN) * judge.options.n_samples
    total.completion_tokens += n_calls * REPLY_TOKENS * judge.options.n_samples
