"""What the sections of the report are made of: the summary, its names, and what may be shown."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from personalrm.bench.plan.cells import Cell
from personalrm.bench.report.tables import DASH, Table, Value
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.paired import PairedRow
from personalrm.bench.results.records import DatasetInfo, MethodInfo, ModelInfo
from personalrm.bench.results.summary import CellSummary, Summary
from personalrm.stats.accuracy import percent
from personalrm.stats.paired import points
from personalrm.stats.runs import stars
from personalrm.wording import count

Texts = Literal["allowed", "all", "none"]
SCRIPTED = " (scripted)"
GROUPS = ("controls", "embedded engine", "judges", "SynthesizeMe", "reward models")
PUBLISHED_MODELS = {"3B": 3e9, "8B": 8e9, "70B": 70e9}


def read_published() -> dict[str, Any]:
    """Numbers printed in papers, from the data file beside this module."""
    content: dict[str, Any] = json.loads(files(__package__).joinpath("published.json").read_text(encoding="utf-8"))
    return content


@dataclass(frozen=True)
class Chart:
    """A picture: its Vega-Lite specification, and words for who cannot see it."""

    name: str
    """File name without ending, and anchor in the page."""
    caption: str
    alt: str
    specification: dict[str, Any]


class Content(NamedTuple):
    """What a part of the report shows."""

    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    is_damaged: bool = False
    """Whether its text says what could not be read, in place of what the part is about."""


@dataclass(frozen=True)
class Material:
    """Everything a section may draw on."""

    summary: Summary
    folders: Sequence[RunFolder]
    texts: Texts = "allowed"
    """Whether queries and personas of people are shown: where the data allows it, everywhere, nowhere."""
    user: str | None = None
    """Whose personas are shown; None picks the one whom most models described."""
    published: dict[str, Any] = field(default_factory=read_published)

    @cached_property
    def datasets(self) -> tuple[DatasetInfo, ...]:
        """Every dataset with an entry, described or not."""
        known = {dataset.name: dataset for dataset in self.summary.run.datasets}
        names = dict.fromkeys([*known, *(entry.cell.dataset for entry in self.summary.entries)])
        return tuple(known.get(name, DatasetInfo(name)) for name in names)

    @cached_property
    def methods(self) -> tuple[MethodInfo, ...]:
        """Every method with an entry, in the order of the table."""
        known = {method.name: method for method in self.summary.run.methods}
        names = dict.fromkeys([*known, *sorted({entry.cell.method for entry in self.summary.entries})])
        methods = [known.get(name, MethodInfo(name, name, "not in the table of methods")) for name in names]
        place = {group: number for number, group in enumerate(GROUPS)}
        return tuple(sorted(methods, key=lambda method: place.get(method.group, len(place))))

    @cached_property
    def models(self) -> tuple[ModelInfo, ...]:
        """Every model with an entry, engines first, then by size."""
        known = {model.label: model for model in self.summary.run.models}
        labels = {entry.cell.model for entry in self.summary.entries if entry.cell.model is not None}
        models = [known.get(label, ModelInfo(label)) for label in labels]
        return tuple(sorted(models, key=lambda model: (model.n_parameters or 0.0, model.label)))

    @property
    def is_scripted(self) -> bool:
        """Whether any model is a fake that follows a script."""
        return any(model.is_scripted for model in self.models)

    def main(self, dataset: str, method: str, model: str | None) -> CellSummary | None:
        """The entry of Table 3: all context pairs, own prompts, no control."""
        cell = Cell(dataset, method, model)
        return self.summary.entry(cell) or self.summary.entry(replace(cell, teacher=model))

    def entries(self, dataset: str) -> list[CellSummary]:
        """The entries of Table 3 that were run, method by method."""
        labels = (None, *(model.label for model in self.models))
        cells = ((method.name, label) for method in self.methods for label in labels)
        return [entry for cell in cells if (entry := self.main(dataset, *cell)) is not None]

    def group(self, method: str) -> str:
        """The heading in tables under which a method stands."""
        return next((known.group for known in self.methods if known.name == method), "")

    def label(self, model: str | None) -> str:
        """A model as tables call it; scripted ones say so."""
        if model is None:
            return "no model"
        is_scripted = any(known.label == model and known.is_scripted for known in self.models)
        return model + SCRIPTED if is_scripted and "scripted" not in model.lower() else model

    def title(self, method: str) -> str:
        """A method as tables call it."""
        return next((known.title for known in self.methods if known.name == method), method)

    def name_of(self, entry: CellSummary) -> str:
        """A method and model as tables call them together."""
        return f"{self.title(entry.cell.method)}, {self.label(entry.cell.model)}"

    def shows(self, dataset: DatasetInfo) -> bool:
        """Whether texts of this dataset's users may stand in the report."""
        return self.texts == "all" or (self.texts == "allowed" and dataset.shows_texts)

    def benchmark(self, dataset: str) -> str | None:
        """Which published benchmark the dataset's name says it belongs to."""
        return next((name for name in ("arena", "prism") if name in dataset.lower()), None)


def accuracy_value(entry: CellSummary | None, *, is_best: bool = False, mark: str = "") -> Value:
    """Accuracy in percent with its interval; a dash where nothing was run, words where nothing was scored."""
    if entry is None:
        return Value(DASH)
    accuracy = entry.accuracy
    if accuracy is None:
        return Value(f"not scored ({entry.n_unscored} unscored)")
    return Value(percent(accuracy.accuracy), interval(accuracy.low, accuracy.high), mark, is_best)


def paired_values(row: PairedRow | None, *, is_starred: bool = True) -> tuple[Value, Value]:
    """A difference in points with its interval, and its p after Holm; dashes where nothing was compared."""
    if row is None:
        return Value(DASH), Value(DASH)
    c, mark = row.comparison, stars(row.p_holm) if is_starred else ""
    return Value(points(c.difference), gap_interval(c.low, c.high), mark), Value(p_text(row.p_holm))


def interval(low: float, high: float) -> tuple[str, str] | None:
    """Both ends in percent; None for a single user."""
    return None if low != low else (percent(low), percent(high))


def gap_interval(low: float, high: float) -> tuple[str, str] | None:
    """Both ends in signed points; None for a single user."""
    return None if low != low else (points(low), points(high))


def p_text(p: float) -> str:
    """A p-value as tables print it."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many digits; a dash where it was not measured."""
    return DASH if value is None or value != value else f"{value:.{digits}f}"


def share(value: float | None) -> str:
    """A share in percent; a dash where it was not measured."""
    return DASH if value is None or value != value else percent(value)


def slug(name: str) -> str:
    """A name for files and anchors; names that had to be changed get digits, so that none meets another."""
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower())[:60]
    digits = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:6]
    return plain if plain == name else f"{plain}-{digits}"


def sizes(entries: Iterable[CellSummary]) -> str:
    """Users, target pairs and runs of the entries; a range where they differ."""
    scored = [(entry, entry.accuracy) for entry in entries if entry.accuracy]
    if not scored:
        return "nothing scored"
    n_runs = max(len(entry.seeds) for entry, _ in scored)
    parts = [_range([a.n_users for _, a in scored], "user"), _range([a.n_pairs for _, a in scored], "target pair")]
    return ", ".join([*parts, f"mean of up to {n_runs} runs"] if n_runs > 1 else parts)


def unscored(entries: Iterable[CellSummary]) -> str:
    """A sentence with the unscored judgements of all entries together."""
    return f"Unscored: {_unscored(list(entries))}."


def measured(entries: Iterable[CellSummary]) -> str:
    """Sizes and unscored judgements in one phrase, for a caption."""
    measured_entries = list(entries)
    return f"{sizes(measured_entries)}, unscored {_unscored(measured_entries)}"


def _unscored(entries: Sequence[CellSummary]) -> str:
    n_judgements = sum(entry.n_judgements for entry in entries)
    return f"{sum(entry.n_unscored for entry in entries):,} of {count(n_judgements, 'judgement')}"


def _range(numbers: Sequence[int], noun: str) -> str:
    low, high = min(numbers), max(numbers)
    return count(high, noun) if low == high else f"{low:,} to {high:,} {noun}s"
