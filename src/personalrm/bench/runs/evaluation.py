"""What `evaluate` prints: a small benchmark run on people at hand, and its figures.

The run has one dataset, one engine (the embedded one or a language model) and one seed. It is made in a
temporary folder that is gone afterwards. Everything a method may see is the context pairs; targets are only
scored. Every table carries the controls that tell personalization from common taste: what everybody prefers (or
the model that knows nobody), and what was learned of one user handed to another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from tempfile import TemporaryDirectory

import numpy as np

from personalrm.bench.methods.method import N_DERANGEMENTS
from personalrm.bench.methods.table import METHODS as TABLE
from personalrm.bench.methods.table import entry_of
from personalrm.bench.plan.cells import Cell, plan_cells
from personalrm.bench.plan.spec import ByContextSpec, DatasetSpec, ModelSpec, RunEncoder, RunSpec, ShuffledSpec
from personalrm.bench.results.arrays import Measured, common_pairs, measured_of
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.paired import totals
from personalrm.bench.results.records import DatasetInfo, JudgementRow
from personalrm.bench.results.summary import accuracy_of
from personalrm.bench.runs.data import Dataset
from personalrm.bench.runs.runner import ONE_USER, Runner
from personalrm.datasets.targets import HeldOut
from personalrm.errors import BadInput, CorruptFile, NewerVersion, UnknownName
from personalrm.judging.model import ModelJudge
from personalrm.judging.personal import usable_weights
from personalrm.lm.batch import Caller
from personalrm.plugins import place_of
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.stats.accuracy import Accuracy, correctness
from personalrm.stats.arrays import FloatArray
from personalrm.stats.paired import Comparison, compare
from personalrm.stats.slopes import Slope, clustered_slope
from personalrm.stopping import Drain
from personalrm.stylometry.features import difference

SHUFFLED = "shuffled_user"
METHODS: dict[str, str] = {
    "random": "a coin",
    "first": "the completion shown first, both orders averaged",
    "longer": "the longer completion",
    "population": "what everybody else prefers",
    SHUFFLED: "the personal weights of somebody else",
    "personal": "the embedded engine, MAP on all context pairs",
    "just_persona": "the persona alone",
    "just_demonstrations": "selected demonstrations alone",
    "persona_and_demonstrations": "both",
}
"""Rows of the embedded engine, in their order."""
MODEL_METHODS: dict[str, str] = {
    "default": "the model, knowing nothing of the user",
    SHUFFLED: "the model with the persona and demonstrations of somebody else",
    "just_persona": "the model with the persona",
    "just_demonstrations": "the model with demonstrations chosen without a persona",
    "persona_and_demonstrations": "the model with both (SynthesizeMe)",
}
"""Rows of a language model, in their order."""
ALONE = "one user is not a population: the shipped prior takes its place, and shuffled_user is left out"
DATA, MODEL, ENCODER = "data", "model", "encoder"
"""What the dataset, the model and the encoder of the run are called inside it."""


@dataclass(frozen=True)
class MethodRow:
    """One method of the table."""

    method: str
    accuracy: Accuracy
    against_reference: Comparison | None = None
    """Paired with the population row, or with the default row of a model; None for that row itself."""
    position_consistency: float = float("nan")
    """Share of pairs on which both orders agree; NaN for a method that needs no order."""
    accuracy_orders: float = float("nan")
    """The paper's accuracy: mean over single orders; NaN for a method that needs no order."""


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy of the users that have at least `n_choices` context choices."""

    n_choices: int
    personal: Accuracy
    population: Accuracy


@dataclass(frozen=True)
class ContextCurve:
    """Accuracy by number of context choices (paper Figures 2 and 8), and how steeply it rises.

    For each k: the users with at least k context choices, k of them drawn at random, fitted on those, scored on
    all their targets; the population is the same throughout. Who has many choices is not who has few, so the slope
    of personal minus population, on the same users at every k, stands beside that of personal.
    """

    points: tuple[CurvePoint, ...] = ()
    personal: Slope | None = None
    """Change of accuracy for each additional choice; None with fewer than two points."""
    population: Slope | None = None
    """The same of the population, which learns nothing: what the users who have more choices add by being others."""
    gain: Slope | None = None
    """The same of personal minus population on the same users: the slope that learning alone makes."""

    @property
    def slopes(self) -> dict[str, Slope]:
        """Those that were measured, by name."""
        named = {"personal": self.personal, "population": self.population, "gain": self.gain}
        return {name: slope for name, slope in named.items() if slope is not None}


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The table, and what it was measured on."""

    rows: tuple[MethodRow, ...]
    judgements: Mapping[str, Sequence[JudgementRow]]
    """Every judgement of each method."""
    held_out: HeldOut
    reference: str
    """The row that the others are compared with."""
    curve: ContextCurve = ContextCurve()
    not_learned: Mapping[str, str] = field(default_factory=dict)
    """Users whose induction failed, with the reason; they are judged knowing nothing."""
    notes: tuple[str, ...] = ()
    """What limits the table, one sentence each."""

    def __getitem__(self, method: str) -> MethodRow:
        return next(row for row in self.rows if row.method == method)

    def correct(self, method: str) -> FloatArray:
        """Mean correctness of every target pair, in the order of the targets, shape `(targets,)`."""
        measured = measured_of(Cell(DATA, method), {0: self.judgements[method]})
        places = {pair: place for place, pair in enumerate(measured.pairs)}
        return measured.correct[[places[pair.hash] for pair in self.held_out.targets]]


def evaluate(
    held_out: HeldOut,
    *,
    judge: ModelJudge | None = None,
    methods: Sequence[str] | None = None,
    leave_out: str | None = None,
    trials: int = 10,
    seed: int = 0,
    n_shuffles: int | None = None,
    by_context: Sequence[int] = (),
) -> Evaluation:
    """Accuracy of each method on the target pairs, both orders averaged.

    A single user has no population: the shipped prior takes its place, `shuffled_user` is left out, and a note
    says so.

    Args:
        held_out: What `hold_out` returned.
        judge: A language model that induces and judges; the embedded engine when None.
        methods: Which rows of `METHODS`, or of `MODEL_METHODS` with a judge; all when None. The reference
            (`population`, or `default`) is always measured. Any other row of the benchmark's table that needs no base
            model may be named too, and a judge or reward model of another package by `package.module:Class` or its
            entry point; if it is personal, its shuffled-user row comes with it. Reward models read stylometric
            features.
        leave_out: A `meta` column; rows of others that share the target's value are left out of its population (for
            data where people judge the same items).
        trials: Candidate sets of demonstrations tried in each search.
        seed: Of the derangements, the trials and the draws of context choices.
        n_shuffles: Derangements the shuffled-user row is the mean of. When None, 20, or one with a judge, for whom each
            costs a judgement of every target in both orders.
        by_context: Numbers of context choices of a curve of the embedded engine.

    Raises:
        UnknownName: If a method or the column does not exist.
        BadInput: If a class of another package does not fit, or runs on what is not here.
        NoScoredPairs: If no judgement of a row could be read.
        ModelUnavailable: If the model can no longer be asked.
        KeyboardInterrupt: At the first SIGINT or SIGTERM; the temporary folder is removed.
    """
    titles, reference, shuffled = (
        (METHODS, "population", "personal")
        if judge is None
        else (MODEL_METHODS, "default", "persona_and_demonstrations")
    )
    others = [name for name in dict.fromkeys(methods or ()) if name not in titles]
    for name in others:
        if name not in TABLE and place_of(name, TABLE, "judges", "reward_models") is None:
            with_what = "with a model use" if judge is not None else "use"
            raise UnknownName(
                f"unknown method {name!r}; {with_what} some of {', '.join(titles)}, or package.module:Class"
            )
        entry = entry_of(name)
        if entry.base_model is not None:
            raise BadInput(f"method {name!r} trains a language model; write a run file for personalrm bench run")
        if judge is None and entry.model is not None:
            raise BadInput(f"method {name!r} runs on a language model; name one with --model")
        if judge is not None and entry.embedded is not None:
            raise BadInput(f"method {name!r} runs on the embedded engine; leave --model out")
    wanted = [name for name in titles if methods is None or name in (*methods, reference)]
    spec = RunSpec(
        "evaluate",
        (DatasetSpec(DATA, "-", population_leaves_out=leave_out, users="all"),),
        methods=(*(shuffled if name == SHUFFLED else name for name in wanted), *others),
        models=(ModelSpec(MODEL, judge.name),) if judge is not None else (),
        encoders=(RunEncoder(ENCODER),) if others else (),
        embedded=judge is None,
        seeds=(seed,),
        trials=trials,
        shuffled_users=ShuffledSpec(n_shuffles or N_DERANGEMENTS, n_shuffles or 1),
        identical=0,
        by_context=ByContextSpec(tuple(sorted(set(by_context))), ("personal", "population")) if by_context else None,
    )
    for name in others:
        wanted += [name, f"{SHUFFLED} of {name}"] if entry_of(name).is_personal else [name]
    # Of ours one shuffled row is enough for a look at one's own data; a run file has one for each personal method.
    names = {cell: cell.method for cell in plan_cells(spec) if cell.control is None}
    for cell in plan_cells(spec):
        if cell.control == SHUFFLED:
            names[cell] = SHUFFLED if cell.method == shuffled else f"{SHUFFLED} of {cell.method}"
    cells = [cell for cell, name in names.items() if name in wanted or cell.k is not None]
    judged, not_learned = _run(spec, cells, held_out, judge)
    judgements = {name: judged[cell] for cell, name in names.items() if cell in judged and cell.k is None}
    judgements = {name: judgements[name] for name in wanted if name in judgements}
    notes: tuple[str, ...] = ()
    if len(held_out.context) == 1:
        notes = (ALONE,) if judge is None else (ONE_USER,) if any(cell.control for cell in cells) else ()
    return Evaluation(
        rows=_table(judgements, reference),
        judgements=judgements,
        held_out=held_out,
        reference=reference,
        curve=_curve([measured_of(cell, {seed: rows}) for cell, rows in judged.items() if cell.k is not None]),
        not_learned=not_learned,
        notes=notes,
    )


def _run(
    spec: RunSpec, cells: Sequence[Cell], held_out: HeldOut, judge: ModelJudge | None
) -> tuple[dict[Cell, tuple[JudgementRow, ...]], dict[str, str]]:
    """The judgements of every cell that the data can make, and why some users were not learned."""
    judged: dict[Cell, tuple[JudgementRow, ...]] = {}
    not_learned: dict[str, str] = {}
    data = {DATA: Dataset(spec.datasets[0], held_out, {}, DatasetInfo(DATA), n_bad_rows=0)}
    with Drain(_stop), TemporaryDirectory(prefix="personalrm-evaluate-") as place:
        folder = RunFolder(place, is_temporary=True)
        runner = Runner(spec, data, folder, _OpenModel(judge), {}, embeddings=folder.path / "embeddings")
        with closing(runner.run(cells)) as reports:
            for report in reports:
                if report.error is not None:
                    raise report.error
                if report.is_done:
                    judged[report.cell] = tuple(folder.rows(report.cell))
                not_learned |= report.not_learned or {}
    return judged, not_learned


def _stop() -> None:
    """A SIGTERM too must remove the temporary folder."""
    raise KeyboardInterrupt


class _OpenModel:
    """The one model of the run, which is open already and keeps the sampling seed it was given.

    Args:
        judge: It; None for the embedded engine.
    """

    def __init__(self, judge: ModelJudge | None) -> None:
        self._judge = judge

    @contextmanager
    def opened(self, label: str) -> Iterator[Caller]:
        """Its caller, which stays open."""
        if self._judge is None:
            raise BadInput(f"model {label!r} is not part of this run; evaluate with a model")
        yield self._judge.caller

    def judge(self, label: str, seed: int, caller: Caller) -> ModelJudge:
        """The judge, whatever the seed of the run."""
        return self._judge or ModelJudge(caller)


def _table(judgements: Mapping[str, Sequence[JudgementRow]], reference: str) -> tuple[MethodRow, ...]:
    """A row for each method, in order."""
    measured = {name: measured_of(Cell(DATA, name), {0: rows}) for name, rows in judgements.items()}
    table = []
    for name, judged in measured.items():
        against = compare(*common_pairs(judged, measured[reference])) if name != reference else None
        row = MethodRow(name, accuracy_of(judged), against)
        if (orders := judged.orders) is not None:
            row = replace(row, position_consistency=orders.position_consistency, accuracy_orders=orders.accuracy_orders)
        table.append(row)
    return tuple(table)


def _curve(measured: Sequence[Measured]) -> ContextCurve:
    """The points that somebody has enough choices for, and the slopes of lines through them."""
    personal, population = (
        {judged.cell.k: judged for judged in measured if judged.cell.method == method}
        for method in ("personal", "population")
    )
    numbers = sorted(k for k in personal if k is not None)
    points = [CurvePoint(k, accuracy_of(personal[k]), accuracy_of(population[k])) for k in numbers]
    if len(points) < 2:
        return ContextCurve(tuple(points))
    x = np.array(numbers, dtype=np.float64)
    of_personal, counts = totals([personal[k] for k in numbers])
    of_population, _ = totals([population[k] for k in numbers])
    slopes = [clustered_slope(x, sums, counts) for sums in (of_personal, of_population, of_personal - of_population)]
    return ContextCurve(tuple(points), *slopes)


def half_of(evaluation: Evaluation, keep: Callable[[str], bool]) -> Evaluation:
    """The same table over some of the users only.

    Raises:
        BadInput: If nobody is among them.
    """
    kept = {name: [row for row in rows if keep(row.user)] for name, rows in evaluation.judgements.items()}
    if not kept[evaluation.reference]:
        raise BadInput("no user is in this part of the data; evaluate all of them")
    return replace(evaluation, rows=_table(kept, evaluation.reference), judgements=kept)


def in_development_half(user_id: str) -> bool:
    """Whether a user's targets may be looked at while features and defaults are designed (even first hash byte)."""
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).digest()[0] % 2 == 0


@dataclass(frozen=True, repr=False)
class SavedScores:
    """How saved prompts do on the targets of their users."""

    correct: FloatArray
    """Correctness of every target pair of a user whose prompt can be read, shape `(pairs,)`."""
    user_ids: tuple[str, ...]
    """The owner of each of these pairs."""
    unreadable: tuple[str, ...]
    """One sentence for each user left out because their prompt is damaged or newer."""


def score_prompts(held_out: HeldOut, load: Callable[[str], PersonalPrompt]) -> SavedScores:
    """Correctness of saved prompts on the targets.

    Raises:
        UnknownUser: If a user has no saved prompt.
        TargetLeak: If a prompt was made from one of its user's target pairs.
    """
    values: list[float] = []
    owners: list[str] = []
    unreadable: list[str] = []
    for user_id in held_out.context:
        try:
            prompt = load(user_id)
        except (CorruptFile, NewerVersion) as error:
            unreadable.append(f"user {user_id!r}: {error}")
            continue
        targets = [pair for pair in held_out.targets if pair.user_id == user_id]
        prompt.refuse_targets(targets)
        weights = usable_weights(prompt)
        rows = np.array([difference(pair.conversation, pair.chosen, pair.rejected) for pair in targets])
        values += correctness(weights.margin(rows)).tolist()
        owners += [user_id] * len(targets)
    return SavedScores(np.array(values), tuple(owners), tuple(unreadable))
