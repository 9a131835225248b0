"""What a run file says of trained reward models: encoders, base models, and settings of the methods."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from personalrm.errors import BadInput, UnknownName
from personalrm.rewards.encoder_spec import STYLOMETRIC, EncoderSpec
from personalrm.rewards.language_models import FINE_TUNED
from personalrm.rewards.methods import REWARD_METHODS
from personalrm.typed_values import suggestion

EMBEDDED = "embedded"
"""Label of the embedded engine where models are named."""
Pool = Literal["train_users", "plus_context", "unfiltered"]
PoolFinal = Literal["selection", "paper"]


@dataclass(frozen=True)
class RunEncoder:
    """What reads texts for trained reward models; their rows of the table are run on each."""

    label: str
    """What tables call it."""
    name: str = STYLOMETRIC
    """`stylometric` (no model), or a Hugging Face model: a name on the hub or a folder."""
    pooling: Literal["last", "mean"] = "last"
    max_tokens: int = 8192
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.label.strip() or self.label == EMBEDDED:
            raise BadInput(f"label of encoder {self.name!r} is {self.label!r}; give it a name other than {EMBEDDED!r}")

    @property
    def encoder(self) -> EncoderSpec:
        """What opens it."""
        return EncoderSpec(self.name, max_tokens=self.max_tokens, device=self.device)


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
        if not self.label.strip() or self.label == EMBEDDED:
            raise BadInput(
                f"label of base model {self.name!r} is {self.label!r}; give it a name other than {EMBEDDED!r}"
            )
        if not self.name.strip():
            raise BadInput(f"base model {self.label!r} has no name; write a name on the hub or a folder")
        if self.n_parameters is not None and not (math.isfinite(self.n_parameters) and self.n_parameters > 0):
            raise BadInput(
                f"n_parameters of base model {self.label!r} is {self.n_parameters!r}; write a positive number"
            )
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
    """What is learned from where the data splits its users; left out: `unfiltered` for rows on base models,
    `train_users` for gpo, `plus_context` for the others."""
    pool_final: PoolFinal | None = None
    """`selection`: dev users choose the step; `paper`: their targets are learned from too, the last step is kept."""


def check_reward_models(
    bases: Sequence[BaseModel], settings: Sequence[RewardSettings], encoders: Sequence[str]
) -> None:
    """Refuse labels that meet, devices that differ, and settings of nobody.

    Raises:
        UnknownName: If settings are of a method that is no trained one.
        BadInput: If anything else does not fit.
    """
    labels = [one.label for one in bases]
    for label in labels:
        if labels.count(label) > 1 or label in encoders:
            raise BadInput(f"label of a base model {label!r} stands twice; keep one")
    for base in bases:
        if base.encoder is not None and base.encoder not in encoders:
            raise UnknownName(
                f"unknown encoder {base.encoder!r} of base model {base.label!r}; {suggestion(base.encoder, encoders)}"
            )
    if len({one.device for one in bases}) > 1:
        raise BadInput("base models of one run train on one device; give all of them the same, or make two runs")
    known = {**REWARD_METHODS, **FINE_TUNED}
    for one in settings:
        if one.method not in known:
            raise UnknownName(f"unknown reward model {one.method!r} in the run file; {suggestion(one.method, known)}")
        if one.method in REWARD_METHODS and one.faithful and REWARD_METHODS[one.method].faithful is None:
            raise BadInput(f"reward model {one.method!r} has no published settings apart from ours; leave out faithful")
        if one.method in FINE_TUNED and one.faithful:
            raise BadInput(f"reward model {one.method!r} takes its settings one by one; leave out faithful")


def check_prompts_of(bases: Sequence[BaseModel], methods: Iterable[str], models: Sequence[str]) -> None:
    """Refuse rows without a base model, and a base model of which nobody knows who writes its personas.

    Raises:
        UnknownName: If `prompts_of` is no model of the run.
        BadInput: If there is no base model, or `prompts_of` is left out where several could be meant.
    """
    tuned = [name for name in methods if name in FINE_TUNED]
    if tuned and not bases:
        raise BadInput(f"method {tuned[0]!r} trains a language model and the run file names none; add base_models")
    told = [name for name in tuned if FINE_TUNED[name].needs_prompts]
    for base in bases:
        if base.prompts_of is not None and base.prompts_of not in (EMBEDDED, *models):
            raise UnknownName(
                f"unknown model {base.prompts_of!r} in prompts_of of base model {base.label!r}; "
                f"{suggestion(base.prompts_of, (EMBEDDED, *models))}"
            )
        if told and base.prompts is None and writer_of(base, models) is None:
            raise BadInput(
                f"method {told[0]!r} tells base model {base.label!r} personas and {len(models)} models could write "
                "them; name one in prompts_of"
            )


def encoder_of(base: BaseModel, encoders: Sequence[RunEncoder]) -> RunEncoder:
    """What reads users' choices for a base model."""
    return next((one for one in encoders if base.encoder in (None, one.label)), RunEncoder(STYLOMETRIC))


def writer_of(base: BaseModel, models: Sequence[str]) -> str | None:
    """Who writes the personas a base model is told: a label, `embedded`, or None where nothing says who."""
    if base.prompts_of is not None:
        return base.prompts_of
    if base.label in models:
        return base.label
    return EMBEDDED if not models else models[0] if len(models) == 1 else None
