"""What a run of the benchmark is made of: cells, judgements, and what was run on what.

A cell is one method with one model on one dataset under one seed; its judgements are rows
of numbers and hashes, without the texts of the pairs. `folder.py` puts them on disk.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, get_args

from personalrm.errors import BadInput

FORMAT = "personalrm-run"
FORMAT_VERSION = 1
NOTHING: Mapping[str, Any] = MappingProxyType({})
Control = Literal["shuffled_user", "identical"]
CONTROLS: tuple[Control, ...] = get_args(Control)


@dataclass(frozen=True)
class Cell:
    """One line of the plan of a run: which method judges which dataset, with what."""

    dataset: str
    method: str
    """Key of the table of methods."""
    model: str | None = None
    """Label of the model or engine that judges; None for a method without one (random, longer)."""
    seed: int = 0
    k: int | None = None
    """Number of context pairs a user, drawn at random; None means all of them."""
    teacher: str | None = None
    """Label of the model that wrote the prompts, when another one judges (paper 6.3)."""
    control: Control | None = None
    """`shuffled_user`: everybody is judged with what is known of somebody else; `identical` (A/A test): a judge is
    asked about two completions that are the same."""

    def __post_init__(self) -> None:
        for name in ("dataset", "method"):
            if not getattr(self, name).strip():
                raise BadInput(f"{name} of a cell is blank; name it")
        if self.k is not None and self.k < 0:
            raise BadInput(f"k of a cell is {self.k!r}; it counts context pairs, so 0 is the least")
        if self.control not in (None, *CONTROLS):
            known = " or ".join(map(repr, CONTROLS))
            raise BadInput(f"control of a cell is {self.control!r}; use {known}, or leave it out")

    @property
    def name(self) -> str:
        """A name that is safe as a file name and differs between cells: readable words and eight hex digits."""
        words = [self.dataset, self.method, self.model, self.teacher and f"by-{self.teacher}"]
        words += [f"k{self.k}" if self.k is not None else None, self.control, f"s{self.seed}"]
        text = ".".join(re.sub(r"[^a-z0-9_]+", "-", word.lower()).strip("-")[:32] for word in words if word)
        exact = "\0".join("" if value is None else repr(value) for value in asdict(self).values())
        return f"{text}.{hashlib.sha256(exact.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


@dataclass(frozen=True, repr=False)
class JudgementRow:
    """One judged pair: both orders of a judge, or the margin of a scalar model, or why there is neither."""

    pair: str
    """`PreferencePair.hash`."""
    user: str
    """Id of the pair's owner, the cluster of every interval."""
    draw: int = 0
    """Number of the derangement or of the draw of context pairs; 0 where there is one."""
    chosen_first: float | None = None
    """Probability that the chosen completion is preferred, shown first; None where that order is unscored."""
    chosen_second: float | None = None
    """Probability that the *chosen* completion is preferred, shown second (high is right in both orders)."""
    margin: float | None = None
    """reward(chosen) - reward(rejected) of a model that needs no order."""
    unscored: str = ""
    """Why one order or the whole pair is unscored; never empty when nothing was scored."""
    reasoning: str = ""
    """What the judge said, if it said anything."""

    def __post_init__(self) -> None:
        where = f"judgement of pair {self.pair!r}"
        for name in ("chosen_first", "chosen_second"):
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= 1.0:
                raise BadInput(f"{where}: {name} is {value!r}; it is a probability, or None where unscored")
        if self.margin is not None and not math.isfinite(self.margin):
            raise BadInput(f"{where}: margin is {self.margin!r}; leave it out and say why in unscored")
        if self.margin is not None and (self.chosen_first, self.chosen_second) != (None, None):
            raise BadInput(f"{where} has a margin and orders; a judge gives orders, a scalar model a margin")
        if not self.is_scored and not self.unscored.strip():
            raise BadInput(f"{where} is unscored without a reason; say why in unscored")

    @property
    def is_scored(self) -> bool:
        """Whether there is anything to decide by."""
        return (self.margin, self.chosen_first, self.chosen_second) != (None, None, None)

    def __repr__(self) -> str:
        return f"JudgementRow(pair={self.pair!r}, draw={self.draw}, is_scored={self.is_scored})"


@dataclass(frozen=True)
class TargetRow:
    """A target pair of a dataset without its texts: what the strata of the report need."""

    pair: str
    """`PreferencePair.hash`."""
    user: str
    chosen_characters: int
    rejected_characters: int


@dataclass(frozen=True)
class MethodInfo:
    """One method of the run."""

    name: str
    title: str
    """As in the table, such as `SynthesizeMe, just personas`."""
    group: str = ""
    """Heading in the table: controls, judges, reward models, ..."""
    is_personal: bool = False
    """Whether it knows the user, so that the shuffled-user control says something."""


@dataclass(frozen=True)
class ModelInfo:
    """One model or engine of the run."""

    label: str
    kind: str = ""
    """Server, library or engine behind it."""
    family: str = ""
    """Rows of Table 5 and lines of the figures by size; empty stands alone."""
    n_parameters: float | None = None
    is_scripted: bool = False
    """A fake that follows a script: every page says so."""


@dataclass(frozen=True)
class Removed:
    """One pair that a stage of the funnel removed."""

    pair: str
    reason: str = ""
    text: str = ""
    """The query; kept only where the licence of the data allows it, shown only when asked for."""


@dataclass(frozen=True)
class FunnelRow:
    """What one stage of building a dataset left over."""

    stage: str
    n_pairs: int
    n_users: int
    n_removed: int = 0
    """Pairs removed by this stage."""
    reasons: Mapping[str, int] = field(default_factory=lambda: NOTHING)
    """Reason -> pairs."""
    examples: tuple[Removed, ...] = ()


@dataclass(frozen=True)
class DatasetInfo:
    """One dataset of the run."""

    name: str
    hash: str = ""
    licence: str = ""
    statistics: Mapping[str, float] = field(default_factory=lambda: NOTHING)
    """n_users, n_conversations, n_pairs, n_unique_queries, multi_turn_share, n_target_users, n_target_pairs, ..."""
    funnel: tuple[FunnelRow, ...] | None = None
    """None for a dataset that was loaded as it is."""
    shows_texts: bool = False
    """Whether licence and consent allow a report to show queries and personas of its users."""


@dataclass(frozen=True)
class RunInfo:
    """What was run, resolved: the same settings give the same bytes."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    versions: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    """personalrm, python and the packages that decide numbers."""
    methods: tuple[MethodInfo, ...] = ()
    models: tuple[ModelInfo, ...] = ()
    datasets: tuple[DatasetInfo, ...] = ()


def row_to_dict(row: JudgementRow) -> dict[str, Any]:
    """The row without fields that say nothing; numbers at nine digits."""
    values = ((one.name, one.default, getattr(row, one.name)) for one in fields(JudgementRow))
    return {name: _rounded(value) for name, default, value in values if name in ("pair", "user") or value != default}


def _rounded(value: Any) -> Any:
    return float(f"{value:.9g}") if isinstance(value, float) else value
