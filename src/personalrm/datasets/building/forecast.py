"""What a build would ask and cost, before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from personalrm.datasets.building.build import Build
from personalrm.datasets.building.model_stages import judging_cost
from personalrm.datasets.building.stages import IN_MEMORY
from personalrm.lm.prices import CHARACTERS_A_TOKEN, Price
from personalrm.lm.protocol import Usage
from personalrm.preferences.reading.grouping import group_by_user
from personalrm.wording import count

REPLY_TOKENS = 100


@dataclass
class ModelForecast:
    """What one model would be asked, at most: no filter is taken to remove anything."""

    model: str
    n_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    """In US dollars at list prices; None where the price is unknown."""

    def add(self, n_calls: int, n_characters: int) -> None:
        """Calls more."""
        self.n_calls += n_calls
        self.prompt_tokens += int(n_characters / CHARACTERS_A_TOKEN)
        self.completion_tokens += n_calls * REPLY_TOKENS


@dataclass
class BuildForecast:
    """At most so much; answers that are kept from an earlier run are not counted off."""

    n_pairs: int = 0
    """After the user filter."""
    n_users: int = 0
    models: list[ModelForecast] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """The forecast for machines."""
        return {"n_pairs": self.n_pairs, "n_users": self.n_users, "models": [vars(model) for model in self.models]}

    def lines(self) -> list[str]:
        """The forecast in sentences."""
        lines = [f"{count(self.n_pairs, 'pair')} of {count(self.n_users, 'user')} left after the user filter"]
        for model in self.models:
            cost = "price unknown" if model.cost is None else f"about {model.cost:.2f} USD"
            tokens = f"about {model.prompt_tokens + model.completion_tokens:,} tokens"
            lines.append(f"  {model.model}: at most {count(model.n_calls, 'call')}, {tokens}, {cost}")
        n_calls = sum(model.n_calls for model in self.models)
        priced = [model.cost for model in self.models if model.cost is not None]
        cost = f"about {sum(priced):.2f} USD" if len(priced) == len(self.models) else "price not known in full"
        return [*lines, f"together at most {count(n_calls, 'call')}, {cost}"]


def forecast_build(build: Build, prices: dict[str, Price | None]) -> BuildForecast:
    """Upper bound of calls and about how many tokens they take; reads the source, asks and writes nothing.

    Args:
        build: What would be run; its source is read, so it cannot be run afterwards.
        prices: What tokens of each model cost, by name.

    Raises:
        BadInput: If the source has bad rows and they are not to be skipped.
    """
    forecast = BuildForecast()
    filtered = build.personalizable
    judges = build.consensus.judges if build.consensus is not None else ()
    by_filter = [ModelForecast(filtered.asked.caller.lm.name)] if filtered is not None else []
    by_judge = [ModelForecast(judge.caller.lm.name) for judge in judges]
    if filtered is not None:
        for request in filtered.asked.measuring_requests():
            by_filter[0].add(1, request.n_characters)
    for user in group_by_user(build.source.pairs(), report=lambda line, error: None, in_memory=IN_MEMORY):
        if len(user) < build.settings.min_pairs:
            continue
        forecast.n_users += 1
        forecast.n_pairs += len(user)
        if filtered is not None:
            for request in filtered.requests(user):
                by_filter[0].add(1, request.n_characters)
        for judge, model in zip(judges, by_judge, strict=True):
            for pair in user.pairs:
                model.add(*judging_cost(judge, pair))
    forecast.models = [*by_filter, *by_judge]
    for model in forecast.models:
        price = prices.get(model.model)
        model.cost = price.of(Usage(model.prompt_tokens, model.completion_tokens)) if price is not None else None
    return forecast
