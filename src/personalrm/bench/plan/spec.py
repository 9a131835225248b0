"""What a run of the benchmark is to do, as small frozen values, and the run file (YAML) that says it.

Datasets, models and experiments first, then trained reward models, then the run itself, then how it is read from a
file and written into `run.json`. Wrong keys and types are refused with the place and a suggestion.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from personalrm.bench.methods.method import N_DERANGEMENTS
from personalrm.bench.methods.table import entry_of
from personalrm.bench.methods.trained import PoolFinal, PoolSettings
from personalrm.errors import BadInput, UnknownName
from personalrm.induction.settings import InductionSettings
from personalrm.judging.options import JudgeOptions
from personalrm.lm.settings import Limits
from personalrm.rewards.encoder_spec import STYLOMETRIC, EncoderSpec
from personalrm.rewards.methods import Pool, RewardMethod, reward_method
from personalrm.typed_values import plain, read_yaml, spec_from, suggestion

EXAMPLE = "example"
"""Path of the preferences that ship with the package."""
EMBEDDED = "embedded"
"""Label of the embedded engine where models are named."""
PLACES = ("base_url", "key_variable")
"""Where a model is found is not a setting of a run: the same model elsewhere gives the same run."""
HASHES = ("persona_prompts", "prepared_prompts")
"""What `run.json` says of files beside the settings."""
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
            raise BadInput(f"users of dataset {self.name!r} is {self.users[:80]!r}; use train, dev, test or all")


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
        _check_label("model", self.name, self.label)
        _check_size("model", self.label, self.n_parameters)
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
class RunEncoder:
    """What reads texts for trained reward models; their rows of the table are run on each."""

    label: str
    """What tables call it."""
    name: str = STYLOMETRIC
    """`stylometric` (no model), or a Hugging Face model: a name on the hub, a folder or a GGUF file."""
    pooling: Literal["last", "mean"] = "last"
    max_tokens: int = 8192
    device: str = "cpu"
    layer: int | None = None
    """Which hidden layer; the last where None."""

    def __post_init__(self) -> None:
        _check_label("encoder", self.name, self.label)

    @property
    def encoder(self) -> EncoderSpec:
        """What opens it."""
        return EncoderSpec(self.name, max_tokens=self.max_tokens, device=self.device, layer=self.layer)


@dataclass(frozen=True)
class BaseModel:
    """A language model that is fine-tuned into reward models; their rows of the table are run on each."""

    label: str
    """What tables call it; the label of a model of the run puts both into one column."""
    name: str
    """A Hugging Face causal language model: a name on the hub or a folder, relative to the run file."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where it is trained and scores; `auto` is a GPU where there is one."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the frozen part; what is trained is fp32 in any case."""
    family: str = ""
    n_parameters: float | None = None
    plain_template: bool = False
    """Take a model without a chat template, with a plain one of ours."""
    prompts_of: str | None = None
    """Label of the model that writes the personas, or `embedded`; left out: the model of this label, else the only
    one, else the embedded engine."""
    prompts: str | None = None
    """A file of `prepare-prompts` in place of that."""
    cross_fitted: bool = False
    """A training pair's persona is written without its conversation; of a file of prompts, the file decides."""
    encoder: str | None = None
    """Label of the encoder by which a method reads users' choices, where it does; left out: the first, else
    stylometric features."""

    def __post_init__(self) -> None:
        _check_label("base model", self.name, self.label)
        if not self.name.strip():
            raise BadInput(f"base model {self.label!r} has no name; write a name on the hub or a folder")
        _check_size("base model", self.label, self.n_parameters)
        if self.prompts is not None and (self.prompts_of is not None or self.cross_fitted):
            raise BadInput(
                f"base model {self.label!r} has a file of prompts, which says all of them; leave out prompts_of and "
                "cross_fitted"
            )


@dataclass(frozen=True)
class RewardSettings:
    """Settings of one trained reward model that differ from its defaults."""

    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    faithful: bool = False
    """Start from the published settings instead of ours."""
    pool: Pool | None = None
    """What is learned from where the data splits its users; left out: what is usual for the method, `unfiltered`
    for most on base models and `plus_context` for most on embeddings."""
    pool_final: PoolFinal | None = None
    """`selection`: dev users choose the step; `paper`: their targets are learned from too, the last step is kept."""


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
        models, encoders = [model.label for model in self.models], [encoder.label for encoder in self.encoders]
        _check_different("dataset", [dataset.name for dataset in self.datasets])
        _check_different("label of a model", models + encoders)
        self._check_trained(encoders)
        if not self.seeds or min(self.seeds) < 0 or (self.families and min(self.families.seeds, default=-1) < 0):
            raise BadInput("seeds must be whole numbers of at least 0, one or more")
        if self.trials < 1 or (self.limit is not None and self.limit < 1):
            raise BadInput("trials and limit must be at least 1")
        if self.identical < 0:
            raise BadInput(f"identical is {self.identical!r}; it counts pairs of equal completions, write 0 or more")
        for experiment in (self, self.by_context, self.transfer, self.families):
            for name in experiment.methods if experiment is not None else ():
                entry_of(name, " in the run file")  # which refuses what is not there
        self._check_personas(models)
        self._check_experiments(models)
        for name in self.methods:
            if "persona_prompt" in entry_of(name).needs and not any(model.persona_prompt for model in self.models):
                raise BadInput(f"method {name!r} needs a model with a persona_prompt; name the file of one model")

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the models, the embedded engine first where it is run."""
        labels = [model.label for model in self.models] + [encoder.label for encoder in self.encoders]
        labels += [base.label for base in self.base_models]  # which may bear the label of a model
        return (*((EMBEDDED,) if self.embedded else ()), *dict.fromkeys(labels))

    def _check_trained(self, encoders: Sequence[str]) -> None:
        """Refuse labels that meet, encoders that are not there, devices that differ, and settings of nobody."""
        _check_different("label of a base model", [*(base.label for base in self.base_models), *encoders])
        for base in self.base_models:
            if base.encoder is not None:
                _check_known([base.encoder], encoders, "encoder", f"of base model {base.label!r}")
        if len({base.device for base in self.base_models}) > 1:
            raise BadInput("base models of one run train on one device; give all of them the same, or make two runs")
        for given in self.reward_models:
            method = reward_method(given.method)
            if given.faithful and not method.has_published:
                raise BadInput(
                    f"reward model {method.name!r} has no published settings apart from ours; leave out faithful"
                )

    def _check_experiments(self, models: Sequence[str]) -> None:
        """A curve over k needs what is known of any k pairs; a persona is written from all of them, by one model."""
        by_context, transfer = self.by_context, self.transfer
        for name in transfer.methods if transfer else ():
            if entry_of(name).base_model is not None:
                raise BadInput(f"transfer cannot show {name!r}, which is trained and judges no prompts; leave it out")
        for name in by_context.methods if by_context else ():
            if (trained := trained_method(name)) is not None and trained.needs_prompts:
                raise BadInput(
                    f"by_context cannot show {name!r}, whose personas are written from all pairs; leave it out"
                )
        for labeled in (by_context, self.families):
            _check_known((labeled.models if labeled else None) or (), self.labels)
        if transfer is not None:
            _check_known((*(transfer.teachers or ()), *(transfer.students or ())), models)

    def _check_personas(self, models: Sequence[str]) -> None:
        """Refuse rows without a base model, and a base model of which nobody knows who writes its personas."""
        trained = [method for name in self.methods if (method := trained_method(name)) is not None]
        if trained and not self.base_models:
            raise BadInput(
                f"method {trained[0].name!r} trains a language model and the run file names none; add base_models"
            )
        with_personas = [method.name for method in trained if method.needs_prompts]
        for base in self.base_models:
            if base.prompts_of is not None:
                where = f"in prompts_of of base model {base.label!r}"
                _check_known([base.prompts_of], (EMBEDDED, *models), "model", where)
            if with_personas and base.prompts is None and writer_of(base, models) is None:
                raise BadInput(
                    f"method {with_personas[0]!r} tells base model {base.label!r} personas and {len(models)} models "
                    "could write them; name one in prompts_of"
                )


def trained_method(name: str) -> RewardMethod | None:
    """The language model that the row of a name trains; None for every other row."""
    return reward_method(name) if entry_of(name).base_model is not None else None


def given_for(spec: RunSpec, name: str) -> RewardSettings:
    """What the run file sets for a reward model: under its own name, else under that of its family."""
    by_name = {settings.method: settings for settings in spec.reward_models}
    return by_name.get(name) or by_name.get(reward_method(name).family) or RewardSettings(name)


def pool_of(spec: RunSpec, name: str) -> PoolSettings:
    """What a reward model learns from where the data splits its users."""
    given = given_for(spec, name)
    return PoolSettings(given.pool or reward_method(name).usual_pool, given.pool_final or "selection")


def options_of(
    spec: RunSpec, name: str, *, seed: int, base: BaseModel | None = None, encoder: RunEncoder | None = None
) -> Any:
    """The options of a reward model, by the run's settings and a cell's seed.

    Args:
        spec: The run.
        name: Of the method.
        seed: What holds where the settings name none.
        base: The language model it trains, if it does.
        encoder: What reads texts for it; for a base model, what reads users' choices.
    """
    given = given_for(spec, name)
    return reward_method(name).options(
        given.settings,
        where=f"settings of reward model {name!r}",
        faithful=given.faithful,
        pooling=encoder.pooling if encoder is not None else None,
        seed=seed,
        precision=base.dtype if base is not None else None,
    )


def encoder_of(base: BaseModel, encoders: Sequence[RunEncoder]) -> RunEncoder:
    """What reads users' choices for a base model."""
    return next((encoder for encoder in encoders if base.encoder in (None, encoder.label)), RunEncoder(STYLOMETRIC))


def writer_of(base: BaseModel, models: Sequence[str]) -> str | None:
    """Who writes the personas a base model is told: a label, `embedded`, or None where nothing says who."""
    if base.prompts_of is not None:
        return base.prompts_of
    if base.label in models:
        return base.label
    return EMBEDDED if not models else models[0] if len(models) == 1 else None


def read_run_file(path: str | Path) -> RunSpec:
    """The run a file describes; paths in it are relative to the file's folder.

    Raises:
        BadFile: If it cannot be read or is not YAML.
        UnknownName: If a key, method or model is unknown, with the one that was probably meant.
        BadInput: If a value is missing or does not fit.
    """
    return spec_from(RunSpec, read_yaml(path, "run file"), str(path))


def settings_of(spec: RunSpec) -> dict[str, Any]:
    """The run as plain values for `run.json`, without where models are found and what may be spent."""
    settings: dict[str, Any] = plain(spec)
    for model in settings["models"]:
        for name in PLACES:
            model.pop(name)
    settings.pop("budget")
    return settings


def spec_of(settings: Mapping[str, Any], where: str) -> RunSpec:
    """The run that `settings_of` wrote down; its models have no place and cannot be asked."""
    return spec_from(RunSpec, {key: value for key, value in settings.items() if key not in HASHES}, where)


def _check_name(what: str, name: str) -> None:
    """Names become file names."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"name of {what} is {name[:80]!r}; use up to 64 letters, digits, dots, dashes or underscores")


def _check_different(what: str, names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"{what} {twice!r} stands twice; keep one")


def _check_known(
    names: Iterable[str], known: Sequence[str], what: str = "model", where: str = "in the run file"
) -> None:
    for name in names:
        if name not in known:
            raise UnknownName(f"unknown {what} {name!r} {where}; {suggestion(name, known)}")


def _check_label(what: str, name: str, label: str) -> None:
    if not label.strip() or label == EMBEDDED:
        raise BadInput(f"label of {what} {name!r} is {label!r}; give it a name other than {EMBEDDED!r}")


def _check_size(what: str, label: str, n_parameters: float | None) -> None:
    if n_parameters is not None and not (math.isfinite(n_parameters) and n_parameters > 0):
        raise BadInput(f"n_parameters of {what} {label!r} is {n_parameters!r}; write a positive number")
