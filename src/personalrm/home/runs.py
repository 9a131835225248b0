"""A person's rows in the run folders of a home: found for their export, taken out when they are erased.

Files are read as JSON, not as records of the benchmark, so that damage or a later personalrm hides nobody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from personalrm.errors import PersonalRMError, StoreError
from personalrm.whole_files import replace_file

Line = dict[str, Any]
REPORTS = ("report.html", "report.md", "summary.json")


@dataclass(frozen=True)
class RunsErased:
    """What left the run folders with a person."""

    n_rows: int = 0
    """Judgements, targets and prompts."""
    runs: tuple[str, ...] = ()
    """Runs that held something of theirs."""
    models: tuple[Path, ...] = ()
    """Trained models that learned from them: these hold what they learned, and are only named."""
    notes: tuple[str, ...] = ()
    """What else happened: reports written anew, experiments to be asked again."""


def rows_in_runs(runs: Path, user_id: str) -> Iterator[tuple[str, Line]]:
    """Every row about a person in a folder of runs, with the name of its run."""
    for folder in _runs_in(runs):
        for path in _row_files(folder):
            for line in _lines(path):
                if _is_about(line, user_id):
                    yield folder.name, line
        for path in _prompt_files(folder):
            for line in _lines(path, whole=path.suffix == ".json"):
                if _is_about(line, user_id):
                    yield folder.name, line


def erase_from_runs(runs: Path, user_id: str) -> RunsErased:
    """Take a person out of every run of a folder; counts and reports are written anew.

    Raises:
        StoreError: If a file cannot be read or written.
    """
    n_rows, names, models, notes = 0, [], [], []
    try:
        for folder in _runs_in(runs):
            if not _may_hold(folder, user_id):
                continue
            n_gone = sum(_erase_lines(path, user_id) for path in _row_files(folder))
            for path in _prompt_files(folder):
                if path.suffix == ".jsonl":
                    n_gone += _erase_lines(path, user_id)
                elif any(_is_about(line, user_id) for line in _lines(path, whole=True, damaged={"user": user_id})):
                    path.unlink()
                    n_gone += 1
            n_rows += n_gone
            names.append(folder.name)
            models += sorted(path for path in folder.glob("trained/*") if path.is_dir())
            notes += _refresh(folder)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise StoreError(f"runs in {str(runs)!r} cannot be changed ({reason}); check the rights and the disk") from None
    return RunsErased(n_rows, tuple(names), tuple(models), tuple(notes))


def _may_hold(folder: Path, user_id: str) -> bool:
    """Whether a run has a row about a person, or one that cannot be read."""
    damaged = {"user": user_id}
    lines = chain(
        (line for path in _row_files(folder) for line in _lines(path, damaged=damaged)),
        (
            line
            for path in _prompt_files(folder)
            for line in _lines(path, whole=path.suffix == ".json", damaged=damaged)
        ),
    )
    return any(_is_about(line, user_id) for line in lines)


def _refresh(folder: Path) -> list[str]:
    """Bring what was computed from the rows in line with those that are left; sentences on what was done."""
    from personalrm.bench.report.writing import write_report
    from personalrm.bench.results.folder import RunFolder

    _lower_counts(folder)
    RunFolder(folder).note_erased()
    notes = []
    # Experiments quote personas and list people by place, and cost calls: they go, and are asked again by hand.
    experiments = sorted(folder.glob("experiments/*.json"))
    for path in experiments:
        path.unlink()
    if experiments:
        notes.append(
            f"what bench personas found in run {folder.name!r} was removed; run it again for those who are left"
        )
    reports = [
        path
        for path in (*(folder / name for name in REPORTS), *folder.glob("tables/*"), *folder.glob("pictures/*"))
        if path.is_file()
    ]
    for path in reports:
        path.unlink()
    if reports:
        try:
            write_report([folder])
            notes.append(f"the report of run {folder.name!r} was written anew")
        except PersonalRMError as error:
            notes.append(f"the report of run {folder.name!r} was removed and cannot be written anew: {error}")
    return notes


def _lower_counts(folder: Path) -> None:
    """Count those who are left in `run.json`; figures that the rows of targets do not tell are left out of it."""
    from personalrm.bench.plan.cells import Cell  # with all methods a second, which most homes do not need

    path = folder / "run.json"
    info = next(iter(_lines(path, whole=True)), None)
    if info is None or not isinstance(info.get("datasets"), list):
        return
    for dataset in info["datasets"]:
        if not (isinstance(dataset, dict) and isinstance(dataset.get("statistics"), dict)):
            continue
        path_of_targets = folder / "targets" / f"{Cell(str(dataset.get('name')), 'targets').name}.jsonl"
        targets = list(_lines(path_of_targets)) if path_of_targets.is_file() else []
        before, n_left = dataset["statistics"], len({line.get("user") for line in targets})
        n_gone = before.get("n_target_users", n_left) - n_left
        dataset["statistics"] = {"n_users": before["n_users"] - n_gone} if "n_users" in before else {}
        dataset["statistics"] |= {"n_target_users": n_left, "n_target_pairs": len(targets)}
    replace_file(path, [json.dumps(info, ensure_ascii=False, indent=1) + "\n"], is_private=True)


def _erase_lines(path: Path, user_id: str) -> int:
    """Write a file of JSON lines without those about a person; how many went.

    Judgements of a control were made with another person's prompt, whose words their reasoning may repeat, so that it
    goes for everybody. A line that cannot be read may be about anybody and goes too.
    """
    lines = list(_lines(path, damaged={"user": user_id}))
    kept = [line for line in lines if not _is_about(line, user_id)]
    n_gone = len(lines) - len(kept)
    head = kept[0] if kept and "n_rows" in kept[0] else None
    is_control = head is not None and head.get("control") is not None
    if not n_gone and not is_control:
        return 0
    if head is not None:
        head["n_rows"] = len(kept) - 1
    for line in kept if is_control else ():
        line.pop("reasoning", None)
    replace_file(path, (json.dumps(line, ensure_ascii=False) + "\n" for line in kept), is_private=True)
    return n_gone


def _runs_in(runs: Path) -> list[Path]:
    return sorted(path.parent for path in runs.glob("*/run.json"))


def _row_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("judgements/*.jsonl")) + sorted(folder.glob("targets/*.jsonl"))


def _prompt_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("prompts/*/*.json")) + sorted(folder.glob("prepared/*.jsonl"))


def _is_about(line: Line, user_id: str) -> bool:
    """Whether a row is a person's, or shows a choice of theirs."""
    if user_id in (line.get("user"), line.get("user_id")):
        return True
    prompt = line.get("prompt", line)
    shown = prompt.get("demonstrations") if isinstance(prompt, dict) else None
    if isinstance(prompt, dict) and prompt.get("user_id") == user_id:
        return True
    return isinstance(shown, list) and any(
        isinstance(demonstration, dict)
        and isinstance(demonstration.get("pair"), dict)
        and demonstration["pair"].get("user_id") == user_id
        for demonstration in shown
    )


def _lines(path: Path, *, whole: bool = False, damaged: Line | None = None) -> Iterator[Line]:
    """The objects of a file, a line each or the whole file one; what cannot be read is left out, or `damaged`."""
    text = path.read_text(encoding="utf-8", errors="replace")
    for part in [text] if whole else text.splitlines():
        try:
            line = json.loads(part)
        except (ValueError, RecursionError):
            line = None
        if isinstance(line, dict):
            yield line
        elif damaged is not None:
            yield dict(damaged)
