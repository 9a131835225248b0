import json
from dataclasses import replace

import pytest

from personalrm.bench.plan.cells import Cell
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.records import (
    DatasetInfo,
    FunnelRow,
    JudgementRow,
    MethodInfo,
    ModelInfo,
    Removed,
    RunInfo,
    TargetRow,
)
from personalrm.errors import BadFile, BadInput, CorruptFile, NewerVersion, StoreError
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona

CELL = Cell("prism", "memory", "openai/gpt-4o-mini", k=3)
ROWS = [
    JudgementRow("p2", "u1", chosen_first=0.75, chosen_second=0.5),
    JudgementRow("p1", "u1", draw=1, margin=-0.25),
    JudgementRow("p1", "u1", chosen_first=1.0, unscored="refusal", reasoning="It is shorter."),
    JudgementRow("p1", "u0", unscored="time-out"),
]
INFO = RunInfo(
    "first",
    settings={"seeds": [0, 1], "nested": {"k": 3}},
    versions={"personalrm": "0.1.0"},
    methods=(MethodInfo("memory", "Memory", "judges", is_personal=True),),
    models=(ModelInfo("small", "scripted", "fake", 3e9, is_scripted=True),),
    datasets=(
        DatasetInfo(
            "prism", "ab12", "CC-BY", {"n_users": 2}, (FunnelRow("user filter", 4, 2, 1, {"few": 1}, (Removed("p9"),)),)
        ),
    ),
)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


def cell_file(folder):
    return next((folder.path / "judgements").iterdir())


def test_the_constructor_touches_nothing(folder) -> None:
    assert not folder.path.exists()


def test_a_run_reads_back_as_it_was_written(folder) -> None:
    folder.write_info(INFO)
    assert folder.info() == INFO


def test_rows_come_back_sorted_whatever_order_they_were_judged_in(folder, tmp_path) -> None:
    folder.write_cell(CELL, ROWS)
    other = RunFolder(tmp_path / "other")
    other.write_cell(CELL, ROWS[::-1])
    assert cell_file(folder).read_bytes() == cell_file(other).read_bytes()
    assert list(folder.rows(CELL)) == [ROWS[3], ROWS[2], ROWS[1], ROWS[0]]


def test_a_cell_is_finished_when_its_file_is_there(folder) -> None:
    assert (folder.cells(), folder.has_cell(CELL)) == ([], False)
    folder.write_cell(CELL, ROWS)
    assert (folder.cells(), folder.has_cell(CELL)) == ([CELL], True)


def test_every_field_of_a_cell_makes_another_file() -> None:
    cells = [
        CELL, Cell("prism", "memory", "openai/gpt-4o-mini"), Cell("prism", "memory", "openai-gpt-4o-mini", k=3),
        Cell("prism", "memory", "openai/gpt-4o-mini", k=3, seed=1), Cell("PRISM", "memory", "openai/gpt-4o-mini", k=3),
        Cell("prism", "memory", "openai/gpt-4o-mini", k=3, teacher="big"),
        Cell("prism", "memory", "openai/gpt-4o-mini", k=3, control="shuffled_user"),
    ]  # fmt: skip
    assert len({cell.name.lower() for cell in cells}) == len(cells)


def test_a_name_with_a_path_in_it_stays_inside_the_folder(folder) -> None:
    cell = Cell("../../etc", "a/b", "x" * 10_000)
    folder.write_cell(cell, ROWS)
    assert cell_file(folder).parent == folder.path / "judgements"
    assert len(cell.name) < 200
    assert folder.cells() == [cell]


def test_a_file_that_was_cut_short_is_refused_when_it_is_read(folder) -> None:
    folder.write_cell(CELL, ROWS)
    lines = cell_file(folder).read_text().splitlines(keepends=True)
    cell_file(folder).write_text("".join(lines[:-1]))
    with pytest.raises(CorruptFile, match="holds 3 of 4 judgements"):
        list(folder.rows(CELL))
    cell_file(folder).write_text("".join(lines)[:-9])
    with pytest.raises(CorruptFile, match="line 5"):
        list(folder.rows(CELL))
    cell_file(folder).write_text("")
    with pytest.raises(CorruptFile, match="not JSON"):
        folder.cells()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("chosen_first", 1.5, "chosen_first is 1.5"),
        ("chosen_first", "0.5", "chosen_first of .* line 2 is a text, not a number"),
        ("chosen_first", True, "is true or false, not a number"),
        ("margin", float("nan"), "margin is nan"),
        ("chosen_frist", 0.5, "did you mean 'chosen_first'"),
        ("user", None, "user of .* line 2 is empty, not a text"),
        ("draw", 0.5, "draw of .* is a number, not a whole number"),
    ],
)
def test_a_row_edited_by_hand_is_checked(folder, field, value, says) -> None:
    folder.write_cell(CELL, [JudgementRow("p", "u", unscored="refusal")])
    head, row = cell_file(folder).read_text().splitlines()
    cell_file(folder).write_text(f"{head}\n{json.dumps(json.loads(row) | {field: value})}\n")
    with pytest.raises(CorruptFile, match=says):
        list(folder.rows(CELL))


def test_the_file_of_another_cell_is_refused(folder) -> None:
    folder.write_cell(CELL, ROWS)
    cell_file(folder).rename(folder.path / "judgements" / "other.jsonl")
    with pytest.raises(CorruptFile, match="not the file of the cell it names"):
        folder.cells()


def test_a_later_version_and_a_foreign_folder_are_refused(folder) -> None:
    with pytest.raises(BadFile, match="holds no run"):
        folder.info()
    folder.write("run.json", ['{"format": "personalrm-run", "format_version": 2}'])
    with pytest.raises(NewerVersion, match="upgrade personalrm"):
        folder.info()
    folder.write("run.json", ['{"format": "other"}'])
    with pytest.raises(CorruptFile, match="pass a folder"):
        folder.info()


def test_a_row_says_what_it_rests_on() -> None:
    with pytest.raises(BadInput, match="unscored without a reason"):
        JudgementRow("p", "u")
    with pytest.raises(BadInput, match="a margin and orders"):
        JudgementRow("p", "u", margin=1.0, chosen_first=0.5)
    assert "shorter" not in repr(ROWS[2])


def test_a_pair_judged_twice_is_refused(folder) -> None:
    with pytest.raises(BadInput, match="stands twice"):
        folder.write_cell(CELL, [ROWS[0], ROWS[0]])


def test_an_unfinished_cell_has_no_rows(folder) -> None:
    with pytest.raises(BadFile, match="not finished"):
        list(folder.rows(CELL))


def test_targets_prompts_and_timings_read_back(folder) -> None:
    prompt = PersonalPrompt("u/1", Persona((Claim("Prefers short answers."),)))
    folder.write_prompt(CELL, prompt)
    folder.write_targets("prism", [TargetRow("p2", "u1", 10, 20), TargetRow("p1", "u1", 5, 5)])
    folder.note_timing({"wall_s": 1.5})
    with (folder.path / "timing.jsonl").open("a") as file:
        file.write('{"wall_s": 2')
    assert folder.prompt(CELL, "u/1") == prompt
    assert folder.prompt(CELL, "u2") is None
    assert [row.pair for row in folder.targets("prism")] == ["p1", "p2"]
    assert folder.timings() == [{"wall_s": 1.5}]


def test_a_folder_that_is_a_file_is_an_error_of_the_store(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        RunFolder(tmp_path / "file").write_info(INFO)


def test_settings_that_are_no_json_are_refused(folder) -> None:
    with pytest.raises(BadInput, match="values that JSON does not have"):
        folder.write_info(RunInfo("r", settings={"x": float("nan")}))


def test_a_targets_file_that_shrank_is_damage(folder) -> None:
    rows = [TargetRow(f"p{n}", "u1", 10, 20) for n in range(3)]
    folder.write_info(replace(INFO, datasets=(replace(INFO.datasets[0], statistics={"n_target_pairs": 3}),)))
    folder.write_targets("prism", rows)
    assert folder.targets("prism") == rows
    (path,) = (folder.path / "targets").iterdir()
    for kept in (path.read_text().splitlines(keepends=True)[:2], []):
        path.write_text("".join(kept))
        with pytest.raises(CorruptFile, match=f"holds {len(kept)} of 3 target pairs"):
            folder.targets("prism")
    path.unlink()
    with pytest.raises(CorruptFile, match="holds 0 of 3"):
        folder.targets("prism")


def test_a_folder_that_holds_something_else_is_refused(folder) -> None:
    folder.refuse_others()  # nothing is there
    folder.write_targets("prism", [])
    folder.refuse_others()  # a killed command's beginning
    (folder.path / "thesis.tex").write_text("x")
    with pytest.raises(BadInput, match=r"holds 'thesis\.tex' and no run"):
        folder.refuse_others()
