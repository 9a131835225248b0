"""What a run of the benchmark is to do, as small frozen values; `file.py` reads them from YAML."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from personalrm.bench.methods.table import METHODS
from personalrm.bench.methods.target_judgements import N_DERANGEMENTS
from personalrm.bench.plan.reward_spec import (
    EMBEDDED,
    BaseModel,
    RewardSettings,
    RunEncoder,
    check_prompts_of,
    check_reward_models,
)
from personalrm.errors import BadInput, UnknownName
from personalrm.induction.settings import InductionSettings
from personalrm.judging.options import JudgeOptions
from personalrm.lm.settings import Limits
from personalrm.rewards.language_models import FINE_TUNED
from personalrm.typed_values import suggestion

EXAMPLE = "example"
"""Path of the preferences that ship with the package."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class DatasetSpec:
    """Preference pairs and how their users are chosen."""

    name: str
    path: str
    """A file of preference pairs, a folder that `bench build` made, or `example` for the people that ship."""
    min_pairs: int = 5
    """Users with fewer pairs are left out."""
    skip_bad: bool = False
    layout: str | None = None
    user_column: str | None = None
    min_gap: float | None = None
    unfiltered: str | None = None
    """A file of more pairs, filtered out of this dataset, that fine-tuned language models learn from too."""
    population_leaves_out: str | None = None
    """A column; rows that share a target's value leave its population (people who judge the same items)."""
    users: str = "test"
    """Which users are scored where the data splits its users: train, dev, test or all; train users are learned from."""
    surveys: str | None = None
    """A file of surveys, for the demographics judge."""
    licence: str = ""
    shows_texts: bool = False
    """Whether a report may show queries and personas of these users."""

    def __post_init__(self) -> None:
        _check_name("dataset", self.name)
        if self.min_pairs < 1:
            raise BadInput(f"min_pairs of dataset {self.name!r} is {self.min_pairs!r}; it must be at least 1")
        if self.users not in ("train", "dev", "test", "all"):
            raise BadInput(f"users of dataset {self.name!r} is {self.users!r}; use train, dev, test or all")


@dataclass(frozen=True)
class ModelSpec:
    """One language model."""

    label: str
    """What tables call it."""
    name: str
    """What its server calls it; also openai/NAME and litellm/NAME."""
    base_url: str | None = None
    key_variable: str | None = None
    """Environment variable with the key of its server."""
    family: str = ""
    n_parameters: float | None = None
    scripted: bool = False
    """A fake that follows a script: every table and page says so."""
    temperature: float = JudgeOptions.temperature
    max_tokens: int = JudgeOptions.max_tokens
    context_tokens: int = JudgeOptions.max_prompt_tokens
    samples: int = JudgeOptions.n_samples
    max_in_flight: int = Limits.max_in_flight
    timeout_s: float = 120.0
    persona_prompt: str | None = None
    """File with the persona prompt of a larger model, for the rows + distill."""

    def __post_init__(self) -> None:
        if not self.label.strip() or self.label == EMBEDDED:
            raise BadInput(f"label of model {self.name!r} is {self.label!r}; give it a name other than {EMBEDDED!r}")
        if self.n_parameters is not None and not (math.isfinite(self.n_parameters) and self.n_parameters > 0):
            raise BadInput(f"n_parameters of model {self.label!r} is {self.n_parameters!r}; write a positive number")
        if self.base_url is not None and urlsplit(self.base_url).username:
            raise BadInput(f"base_url of model {self.label!r} holds a login; name the key's variable in key_variable")


@dataclass(frozen=True)
class ShuffledSpec:
    """Derangements of the shuffled-user control; 0 leaves it out."""

    embedded: int = N_DERANGEMENTS
    models: int = 1
    """Each costs a judgement of every target in both orders."""
    base_models: int = 1
    """Each costs a reward of both completions of every target."""

    def __post_init__(self) -> None:
        if min(self.embedded, self.models, self.base_models) < 0:
            raise BadInput("shuffled_users counts derangements; write 0 or more")


@dataclass(frozen=True)
class ByContextSpec:
    """Accuracy by number of context choices (Figures 2 and 8)."""

    k: tuple[int, ...]
    methods: tuple[str, ...] = ("personal", "persona_and_demonstrations")
    models: tuple[str, ...] | None = None
    """Labels, `embedded` among them; None is all."""

    def __post_init__(self) -> None:
        if not self.k or min(self.k) < 0 or len(set(self.k)) < len(self.k):
            raise BadInput(f"by_context needs different numbers k of at least 0, got {list(self.k)!r}")


@dataclass(frozen=True)
class TransferSpec:
    """Prompts fitted with one model and judged by another (6.3, Figures 4 and 9)."""

    methods: tuple[str, ...] = ("persona_and_demonstrations",)
    teachers: tuple[str, ...] | None = None
    students: tuple[str, ...] | None = None


@dataclass(frozen=True)
class FamiliesSpec:
    """Model families over several runs (Table 5)."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    methods: tuple[str, ...] = ("default", "persona_and_demonstrations")
    models: tuple[str, ...] | None = None


@dataclass(frozen=True)
class BudgetSpec:
    """What the whole run may spend, over all its models."""

    max_calls: int | None = None
    max_cost: float | None = None


@dataclass(frozen=True)
class RunSpec:
    """Methods x models x datasets x seeds, and the experiments around them."""

    name: str
    datasets: tuple[DatasetSpec, ...]
    methods: tuple[str, ...]
    models: tuple[ModelSpec, ...] = ()
    encoders: tuple[RunEncoder, ...] = ()
    base_models: tuple[BaseModel, ...] = ()
    reward_models: tuple[RewardSettings, ...] = ()
    seeds: tuple[int, ...] = (0,)
    trials: int = InductionSettings.n_trials
    schedule: Literal["latency", "cost"] = InductionSettings.schedule
    embedded: bool = True
    """Whether methods that run on the embedded engine are run on it."""
    shuffled_users: ShuffledSpec = ShuffledSpec()
    identical: int = 20
    """Most targets of a dataset about which every judge is asked with both completions the same; 0 leaves it out."""
    by_context: ByContextSpec | None = None
    transfer: TransferSpec | None = None
    families: FamiliesSpec | None = None
    budget: BudgetSpec = BudgetSpec()
    limit: int | None = None
    """Most users of each dataset, those with the smallest hashes of their ids."""

    def __post_init__(self) -> None:
        _check_name("run", self.name)
        if not self.datasets or not self.methods:
            raise BadInput(f"run {self.name!r} has no datasets or no methods; name at least one of each")
        _check_different("dataset", [one.name for one in self.datasets])
        _check_different("label of a model", self._own_labels)
        check_reward_models(self.base_models, self.reward_models, [one.label for one in self.encoders])
        if not self.seeds or min(self.seeds) < 0 or (self.families and min(self.families.seeds, default=-1) < 0):
            raise BadInput("seeds must be whole numbers of at least 0, one or more")
        if self.trials < 1 or (self.limit is not None and self.limit < 1):
            raise BadInput("trials and limit must be at least 1")
        if self.identical < 0:
            raise BadInput(f"identical is {self.identical!r}; it counts pairs of equal completions, write 0 or more")
        for names in (self.methods, *(one.methods for one in self._experiments)):
            _check_known("method", names, METHODS)
        check_prompts_of(self.base_models, self.methods, [one.label for one in self.models])
        self._check_curves()
        self._check_labels()
        self._check_prompts()

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the models, the embedded engine first where it is run."""
        own = dict.fromkeys([*self._own_labels, *(one.label for one in self.base_models)])
        return (*((EMBEDDED,) if self.embedded else ()), *own)

    @property
    def _own_labels(self) -> list[str]:
        return [one.label for one in self.models] + [one.label for one in self.encoders]

    @property
    def _experiments(self) -> list[ByContextSpec | TransferSpec | FamiliesSpec]:
        return [one for one in (self.by_context, self.transfer, self.families) if one is not None]

    def _check_labels(self) -> None:
        for one in (self.by_context, self.families):
            _check_known("model", (one.models if one else None) or (), self.labels)
        models = [one.label for one in self.models]
        if self.transfer is not None:
            _check_known("model", (*(self.transfer.teachers or ()), *(self.transfer.students or ())), models)

    def _check_curves(self) -> None:
        """A curve over k needs what is known of any k pairs; a persona is written from all of them, by one model."""
        for name in self.transfer.methods if self.transfer else ():
            if name in FINE_TUNED:
                raise BadInput(f"transfer cannot show {name!r}, which is trained and judges no prompts; leave it out")
        for name in self.by_context.methods if self.by_context else ():
            if name in FINE_TUNED and FINE_TUNED[name].needs_prompts:
                raise BadInput(
                    f"by_context cannot show {name!r}, whose personas are written from all pairs; leave it out"
                )

    def _check_prompts(self) -> None:
        for name in self.methods:
            if "persona_prompt" in METHODS[name].needs and not any(one.persona_prompt for one in self.models):
                raise BadInput(f"method {name!r} needs a model with a persona_prompt; name the file of one model")


def _check_name(what: str, name: str) -> None:
    """Names become file names."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"name of {what} is {name!r}; use up to 64 letters, digits, dots, dashes or underscores")


def _check_different(what: str, names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"{what} {twice!r} stands twice; keep one")


def _check_known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in set(known):
            raise UnknownName(f"unknown {what} {name!r} in the run file; {suggestion(name, known)}")
