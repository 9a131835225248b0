"""How far a run is, and whether what it stored is whole; nothing here mends a run, the messages say how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from personalrm.bench.plan.cells import Cell, n_draws, n_targets, plan_cells
from personalrm.bench.plan.spec import spec_of
from personalrm.bench.results.folder import RunFolder
from personalrm.errors import PersonalRMError


@dataclass(frozen=True)
class RunState:
    """One run, as `bench ls` lists it."""

    name: str
    path: str
    n_done: int = 0
    n_planned: int = 0
    datasets: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    last: str = ""
    """When the last cell was finished, an ISO date; empty when none was."""
    problem: str = ""
    """Why nothing more can be said; empty when all is well."""

    @property
    def state(self) -> str:
        """`damaged`, `finished` or `unfinished`."""
        return "damaged" if self.problem else "finished" if self.n_done == self.n_planned else "unfinished"


def runs_in(folder: str | Path) -> list[RunState]:
    """The runs in a folder of runs, by name; other things in it are passed over."""
    return [state_of(path.parent) for path in sorted(Path(folder).glob("*/run.json")) if path.is_file()]


def state_of(path: Path) -> RunState:
    """How far one run is; a damaged one says so instead of raising."""
    folder = RunFolder(path)
    try:
        info = folder.info()
        planned = plan_cells(spec_of(info.settings, f"the settings of {str(path)!r}"))
        done = sum(folder.has_cell(cell) for cell in planned)
    except PersonalRMError as error:
        return RunState(path.name, str(path), problem=str(error))
    return RunState(
        info.name,
        str(path),
        done,
        len(planned),
        tuple(dataset.name for dataset in info.datasets),
        tuple(model.label for model in info.models),
        max((str(entry.get("finished", "")) for entry in folder.timings()), default=""),
    )


@dataclass(frozen=True)
class Validation:
    """What is in a run folder."""

    n_done: int
    missing: tuple[Cell, ...]
    """Planned cells that are not finished."""
    problems: tuple[str, ...]
    """Files that are damaged or do not belong, one sentence each."""
    n_unscored: int

    @property
    def is_whole(self) -> bool:
        """Whether every planned cell is there and can be trusted."""
        return not self.missing and not self.problems


def validate_run(path: str | Path) -> Validation:
    """What is there and what is wrong: every judgement of a run, held against the plan and the targets.

    Raises:
        BadFile: If there is no run.
        CorruptFile: If `run.json` is damaged.
    """
    folder = RunFolder(path)
    spec = spec_of(folder.info().settings, f"the settings of {str(path)!r}")
    planned = plan_cells(spec)
    missing, problems, n_unscored = [], [], 0
    for cell in planned:
        if not folder.has_cell(cell):
            missing.append(cell)
            continue
        try:
            targets = {(target.user, target.pair) for target in folder.targets(cell.dataset)}
            rows = list(folder.rows(cell))
        except PersonalRMError as error:
            problems.append(str(error))
            continue
        n_unscored += sum(not row.is_scored for row in rows)
        judged = {(row.user, row.pair) for row in rows}
        if n_strangers := sum((row.user, row.pair) not in targets for row in rows):
            problems.append(
                f"cell {cell.name!r} holds {n_strangers} judgements of pairs that are not targets; remove it and run "
                "again"
            )
        # A point of a curve is about those users only who have so many pairs, and nothing in the folder says who.
        n_pairs = len(judged if cell.k is not None else targets)
        n_expected = n_draws(spec, cell) * n_targets(spec, cell, n_pairs)
        # Of the pairs that an A/A cell drew, those of people who were erased since are gone, however many they were.
        is_smaller = folder.n_erased > 0 and cell.control == "identical" and len(rows) < n_expected
        if len(rows) != n_expected and not is_smaller:
            problems.append(
                f"cell {cell.name!r} holds {len(rows)} judgements instead of {n_expected}; remove it and run again"
            )
    names = {cell.name for cell in planned}
    for file in sorted((folder.path / "judgements").glob("[!.]*")):  # a kill may leave a hidden temporary file
        if file.stem not in names:
            problems.append(f"{file.name!r} is not a cell of this run; it came from other settings, remove it")
    return Validation(len(planned) - len(missing), tuple(missing), tuple(problems), n_unscored)
