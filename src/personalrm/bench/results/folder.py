"""The folder of a run of the benchmark; the constructor touches nothing.

    run.json                     what was run on what
    judgements/<cell>.jsonl      the cell, then a row a judgement; there whole or not at all
    targets/<dataset>.jsonl      target pairs by hash, with lengths
    prompts/<cell>/<user>.json   personal prompts, under the hash of the user's id
    prepared/<...>.jsonl         personal prompts that language models were trained with
    trained/<cell>.f<fold>/      a trained language model: adapter, settings, what it was trained on
    experiments/<what>.<cell>.json  what `bench personas` found
    erased.json                  how many people were erased from the run since, where there were any
    timing.jsonl                 clock times, durations, usage; the only file with times
    summary.json, tables/, pictures/, report.html    written by `bench report`

Rows are sorted, so the bytes of a cell do not depend on which answer came first.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from personalrm.bench.plan.cells import Cell
from personalrm.bench.results.records import FORMAT, FORMAT_VERSION, JudgementRow, RunInfo, TargetRow, row_to_dict
from personalrm.errors import BadFile, BadInput, CorruptFile, StoreError
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prompt_json import prompt_from_json, prompt_to_json
from personalrm.typed_values import check_version, plain, saved_object, saved_value
from personalrm.whole_files import open_private, private_folder, replace_file

Record = TypeVar("Record")
AGAIN = "remove it and run again"


class RunFolder:
    """Reads and writes the files of one run.

    Args:
        path: The folder; made by the first write.
        is_temporary: It goes when the run ends: personal prompts are not kept, and an interrupt stops the run at once.
        is_private: Only the owner may read what is written; a report elsewhere may be for everybody.
    """

    def __init__(self, path: str | Path, *, is_temporary: bool = False, is_private: bool = True) -> None:
        self.path, self.is_temporary, self._is_private = Path(path), is_temporary, is_private

    def write_info(self, info: RunInfo) -> None:
        """Write `run.json`; equal runs give equal bytes.

        Raises:
            BadInput: If a setting is not a plain JSON value.
        """
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **plain(info)}
        try:
            text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
        except (TypeError, ValueError, RecursionError) as error:
            raise BadInput(
                f"run {info.name!r} holds values that JSON does not have ({error}); pass plain settings"
            ) from None
        self.write("run.json", [text])

    def refuse_others(self) -> None:
        """Refuse a folder that holds something and no run; what a killed command has begun is none of that.

        Raises:
            BadInput: If there is anything else.
            StoreError: If the folder cannot be read.
        """
        try:
            held = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
        except OSError as error:
            raise self._refused("read", error) from None
        if others := sorted(name for name in held - {"targets"} if not name.startswith(".new-")):
            raise BadInput(f"{str(self.path)!r} holds {others[0]!r} and no run; name another folder, or an empty one")

    def info(self) -> RunInfo:
        """What was run.

        Raises:
            BadFile: If there is no run here.
            CorruptFile: If `run.json` is damaged; NewerVersion if a later personalrm wrote it.
        """
        path = self.path / "run.json"
        if not path.is_file():
            raise BadFile(f"{str(self.path)!r} holds no run (no run.json); pass a folder that `bench run` made")
        where = repr(str(path))
        content = saved_object(self._text(path), where, again=AGAIN)
        if content.pop("format", None) != FORMAT:
            raise CorruptFile(f"{where} is not the run.json of a benchmark run; pass a folder that `bench run` made")
        check_version(content.pop("format_version", None), FORMAT_VERSION, where, again="run the benchmark again")
        return saved_value(RunInfo, content, where, again=AGAIN)

    @property
    def n_erased(self) -> int:
        """How many people were erased from the run since it was made."""
        path = self.path / "erased.json"
        return int(saved_object(self._text(path), repr(str(path)), again=AGAIN)["n_people"]) if path.is_file() else 0

    def note_erased(self) -> None:
        """Note that one more person was erased."""
        self.write("erased.json", [json.dumps({"n_people": self.n_erased + 1}) + "\n"])

    def write_cell(self, cell: Cell, rows: Sequence[JudgementRow]) -> None:
        """Store a finished cell, sorted by user, pair and draw.

        Raises:
            BadInput: If a pair was judged twice in one draw.
        """
        ordered = sorted(rows, key=_place)
        for before, after in pairwise(ordered):
            if _place(before) == _place(after):
                raise BadInput(f"pair {after.pair!r} stands twice in cell {cell.name!r}; keep one judgement a draw")
        head = {"format_version": FORMAT_VERSION, "n_rows": len(ordered), **plain(cell)}
        lines = (head, *map(row_to_dict, ordered))
        self.write(f"judgements/{cell.name}.jsonl", (json.dumps(line, ensure_ascii=False) + "\n" for line in lines))

    def has_cell(self, cell: Cell) -> bool:
        """Whether the cell is finished."""
        return self._cell_path(cell).is_file()

    def cells(self) -> list[Cell]:
        """Every finished cell, in the order of file names.

        Raises:
            CorruptFile: If a file does not begin with a cell, or bears another cell's name.
        """
        return [self._head(path)[0] for path in sorted(self.path.glob("judgements/*.jsonl"))]

    def readable_cells(self) -> tuple[list[Cell], list[str]]:
        """The finished cells, and a sentence for each file that is not one: a report goes on without it."""
        cells, damaged = [], []
        for path in sorted(self.path.glob("judgements/*.jsonl")):
            try:
                cells.append(self._head(path)[0])
            except StoreError as error:
                damaged.append(str(error))
        return cells, damaged

    def rows(self, cell: Cell) -> Iterator[JudgementRow]:
        """The judgements of a finished cell, by user, pair and draw.

        Raises:
            BadFile: If the cell is not finished.
            CorruptFile: If the file was cut short or a row is damaged, at the row.
        """
        path = self._cell_path(cell)
        if not path.is_file():
            raise BadFile(f"cell {cell.name!r} is not finished in {str(self.path)!r}; run the same command again")
        n_rows = self._head(path)[1]
        n_read = 0
        for row in _lines(path, JudgementRow, skip=1):
            n_read += 1
            yield row
        if n_read != n_rows:
            raise CorruptFile(f"{str(path)!r} holds {n_read} of {n_rows} judgements; remove it and run again")

    def write_targets(self, dataset: str, rows: Sequence[TargetRow]) -> None:
        """Store the target pairs of a dataset, without texts."""
        ordered = sorted(rows, key=lambda row: (row.user, row.pair))
        lines = (json.dumps(plain(row), ensure_ascii=False) + "\n" for row in ordered)
        self.write(f"targets/{_file_stem(dataset)}.jsonl", lines)

    def targets(self, dataset: str) -> list[TargetRow]:
        """The target pairs of a dataset; empty where `run.json` says that there are none, or does not say.

        Raises:
            CorruptFile: If there are fewer or more than the run had: what was cut short is not a smaller dataset.
        """
        path = self.path / "targets" / f"{_file_stem(dataset)}.jsonl"
        rows = list(_lines(path, TargetRow)) if path.is_file() else []
        known = self.info().datasets if (self.path / "run.json").is_file() else ()
        n_targets = next((held.statistics.get("n_target_pairs") for held in known if held.name == dataset), None)
        if n_targets is not None and n_targets != len(rows):
            raise CorruptFile(
                f"{str(path)!r} holds {len(rows):,} of {n_targets:,.0f} target pairs; the same bench run writes it "
                "again"
            )
        return rows

    def write_prompt(self, cell: Cell, prompt: PersonalPrompt) -> None:
        """Store the personal prompt that a cell used for a user."""
        name = self._prompt_path(cell, prompt.user_id).relative_to(self.path)
        self.write(name.as_posix(), [prompt_to_json(prompt)])

    def prompt(self, cell: Cell, user_id: str) -> PersonalPrompt | None:
        """The personal prompt that a cell used for a user; None when none was stored."""
        path = self._prompt_path(cell, user_id)
        return prompt_from_json(self._text(path), where=str(path), expected_user=user_id) if path.is_file() else None

    def prompts(self, cell: Cell) -> list[PersonalPrompt]:
        """Every personal prompt a cell stored, by user id."""
        paths = sorted((self.path / "prompts" / cell.name).glob("*.json"))
        found = [prompt_from_json(self._text(path), where=str(path)) for path in paths]
        return sorted(found, key=lambda prompt: prompt.user_id)

    def model_folder(self, cell: Cell, fold: int) -> Path:
        """Where the language model is kept that a cell trained for a fold of users."""
        return self.path / "trained" / f"{cell.name}.f{fold}"

    def trainings(self, cell: Cell) -> list[dict[str, Any]]:
        """What the finished trainings of a cell saw and did, fold by fold.

        Raises:
            CorruptFile: If a file is not what was written.
        """
        return self._objects(f"trained/{cell.name}.f*/training.json")

    def experiments(self, what: str) -> list[dict[str, Any]]:
        """What `bench personas` found on one question, a cell each.

        Raises:
            CorruptFile: If a file is not what was written.
        """
        return self._objects(f"experiments/{what}.*.json")

    def has_prompt(self, cell: Cell, user_id: str) -> bool:
        """Whether a cell stored a personal prompt of a user."""
        return self._prompt_path(cell, user_id).is_file()

    def has_prompts(self, cell: Cell) -> bool:
        """Whether a cell stored any personal prompt."""
        return (self.path / "prompts" / cell.name).is_dir()

    def note_timing(self, entry: Mapping[str, Any]) -> None:
        """Append clock times, durations or usage; the one file that differs between equal runs."""
        try:
            private_folder(self.path)
            with open(self.path / "timing.jsonl", "a", encoding="utf-8", opener=open_private) as file:
                file.write(json.dumps(plain(entry), ensure_ascii=False) + "\n")
        except OSError as error:
            raise self._refused("written", error) from None

    def timings(self) -> list[dict[str, Any]]:
        """The entries of `timing.jsonl`; a line that was cut short says nothing."""
        path = self.path / "timing.jsonl"
        entries = []
        for line in self._text(path).splitlines() if path.is_file() else ():
            with suppress(CorruptFile):
                entries.append(saved_object(line, path.name, again=AGAIN))
        return entries

    def write(self, name: str, pieces: Sequence[str | bytes] | Iterator[str]) -> None:
        """Write a file of the folder whole or not at all.

        Raises:
            StoreError: If the folder cannot be written.
        """
        path = self.path / name
        try:
            if self._is_private:
                private_folder(path.parent)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, pieces, is_private=self._is_private)
        except OSError as error:
            raise self._refused("written", error) from None
        except UnicodeEncodeError:
            raise BadInput(f"{name} would hold a lone surrogate; fix the text or id it came from") from None

    def _cell_path(self, cell: Cell) -> Path:
        return self.path / "judgements" / f"{cell.name}.jsonl"

    def _prompt_path(self, cell: Cell, user_id: str) -> Path:
        digest = hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]
        return self.path / "prompts" / cell.name / f"{digest}.json"

    def _head(self, path: Path) -> tuple[Cell, int]:
        """The cell of a file and the number of its judgements."""
        where = repr(str(path))
        try:
            with path.open(encoding="utf-8", errors="replace") as file:
                line = file.readline()
        except OSError as error:
            raise self._refused("read", error) from None
        head = saved_object(line, where, again=AGAIN)
        check_version(head.pop("format_version", None), FORMAT_VERSION, where, again="run the benchmark again")
        n_rows = head.pop("n_rows", None)
        cell = saved_value(Cell, head, where, again=AGAIN)
        if not isinstance(n_rows, int) or path.stem != cell.name:
            raise CorruptFile(f"{where} is not the file of the cell it names; remove it and run again")
        return cell, n_rows

    def _objects(self, pattern: str) -> list[dict[str, Any]]:
        """The JSON object of each file that fits, by name."""
        paths = sorted(self.path.glob(pattern))
        return [saved_object(self._text(path), repr(str(path)), again=AGAIN) for path in paths]

    def _text(self, path: Path) -> str:
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise self._refused("read", error) from None

    def _refused(self, verb: str, error: OSError) -> StoreError:
        reason = error.strerror or type(error).__name__
        return StoreError(f"run folder {str(self.path)!r} cannot be {verb} ({reason}); check the path and the disk")


def _lines(path: Path, kind: type[Record], *, skip: int = 0) -> Iterator[Record]:
    """The records of a JSONL file."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if number > skip:
                where = f"{str(path)!r} line {number}"
                yield saved_value(kind, saved_object(line, where, again=AGAIN), where, again=AGAIN)


def _place(row: JudgementRow) -> tuple[str, str, int]:
    return row.user, row.pair, row.draw


def _file_stem(dataset: str) -> str:
    """A dataset's name as a file name: no path of its own, and different names differ."""
    return Cell(dataset, "targets").name
