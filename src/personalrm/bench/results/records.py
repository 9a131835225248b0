"""What a run of the benchmark leaves behind: judgements, and what was run on what.

The judgements of a cell are rows of numbers and hashes, without the texts of the pairs.
`folder.py` puts them on disk.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from personalrm.errors import BadInput

FORMAT = "personalrm-run"
FORMAT_VERSION = 1
NOTHING: Mapping[str, Any] = MappingProxyType({})


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
    """The query; kept only where the license of the data allows it, shown only when asked for."""


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


_DEFAULTS = {item.name: item.default for item in fields(JudgementRow)}


def row_to_dict(row: JudgementRow) -> dict[str, Any]:
    """The row without fields that say nothing; numbers at nine digits."""
    return {
        name: float(f"{value:.9g}") if isinstance(value, float) else value
        for name, default in _DEFAULTS.items()
        if (value := getattr(row, name)) != default or name in ("pair", "user")
    }
