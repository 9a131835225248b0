"""The language models of a run, opened one after the other, within one budget for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from personalrm.bench.plan.spec import BudgetSpec, ModelSpec
from personalrm.errors import BadInput, BudgetSpent, UnknownName
from personalrm.judging.model import ModelJudge
from personalrm.judging.options import JudgeOptions
from personalrm.lm.batch import Caller
from personalrm.lm.cache import Cache
from personalrm.lm.opening import ModelName, found_in, open_model
from personalrm.lm.prices import price_of
from personalrm.lm.settings import Budget, Limits, Retry

SEEDS_APART = 1000
"""Sampling seeds of two runs lie so far apart that their samples never share one."""


class OpensModels(Protocol):
    """The language models of a run, by label."""

    def opened(self, label: str) -> AbstractContextManager[Caller]:
        """The caller of a model, for a while."""
        ...

    def judge(self, label: str, seed: int, caller: Caller) -> ModelJudge:
        """The model as a judge under a seed of the run, asked through its caller."""
        ...


class Models:
    """Opens the models of a run.

    Args:
        models: Of the run file.
        cache: File of all answers, shared with every other command of the home folder.
        budget: For the whole run; what one model spent the next has no more.
        keys: Key of each model that needs one, by label.
        retry: Ceilings of retries.
        retry_unscored: Ask again what had no usable answer the last time.
        folders: Where GGUF files are looked for.
    """

    def __init__(
        self,
        models: tuple[ModelSpec, ...],
        cache: Path,
        *,
        budget: BudgetSpec | None = None,
        keys: Mapping[str, str] | None = None,
        retry: Retry | None = None,
        retry_unscored: bool = False,
        folders: Sequence[Path] = (),
    ) -> None:
        self._models = {model.label: model for model in models}
        self._cache, self._budget, self._keys = cache, budget or BudgetSpec(), keys or {}
        self._retry, self._retry_unscored = retry, retry_unscored
        self._folders = folders
        self._n_calls, self._cost = 0, 0.0
        self._asked: Caller | None = None

    def progress(self) -> str:
        """What the model that is asked has answered; may be asked in any thread."""
        asked = self._asked
        return asked.progress() if asked is not None else "no model is asked just now"

    def check(self) -> None:
        """Refuse what could only fail later: a name that says not where the model is, a price nobody knows.

        Raises:
            UnknownName: Of the model or its price.
            BadInput: If a budget is not positive.
        """
        for model in self._models.values():
            open_model(self.name_of(model))
            if self._budget.max_cost is not None and price_of(model.name) is None:
                raise UnknownName(
                    f"the price of model {model.name!r} is unknown, so max_cost cannot be kept; use max_calls"
                )
        for name in ("max_calls", "max_cost"):
            value = getattr(self._budget, name)
            if value is not None and not 0 < value < float("inf"):
                raise BadInput(f"{name} of the budget is {value!r}; write a positive number")

    def name_of(self, model: ModelSpec) -> ModelName:
        """What is needed to open a model."""
        named = ModelName(model.name, model.base_url, timeout_s=model.timeout_s, key=self._keys.get(model.label))
        return replace(named, name=found_in(self._folders, model.name)) if named.is_file else named

    @contextmanager
    def opened(self, label: str) -> Iterator[Caller]:
        """The caller of a model, closed at the end; with nothing left to spend it answers from the cache only."""
        model = self._models[label]
        calls = None if self._budget.max_calls is None else self._budget.max_calls - self._n_calls
        cost = None if self._budget.max_cost is None else self._budget.max_cost - self._cost
        is_spent = (calls is not None and calls <= 0) or (cost is not None and cost <= 0)
        caller = Caller(
            open_model(self.name_of(model)),
            cache=Cache(self._cache),
            retry=self._retry,
            limits=Limits(model.max_in_flight),
            budget=None if is_spent else Budget(calls, cost),
            price=price_of(model.name),
            retry_unscored=self._retry_unscored,
        )
        with caller:
            if is_spent:
                caller.stop(BudgetSpent("the budget of the run is spent; run the same command with a larger one"))
            self._asked = caller
            try:
                yield caller
            finally:
                self._asked = None
                self._n_calls += caller.purse.n_calls
                self._cost += caller.purse.cost

    def judge(self, label: str, seed: int, caller: Caller) -> ModelJudge:
        """The model as a judge; its sampling seeds follow the seed of the run."""
        model = self._models[label]
        options = JudgeOptions(
            temperature=model.temperature,
            max_tokens=model.max_tokens,
            seed=SEEDS_APART * seed,
            n_samples=model.samples,
            max_prompt_tokens=model.context_tokens,
        )
        return ModelJudge(caller, options)
