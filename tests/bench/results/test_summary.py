import json
from dataclasses import replace

import numpy as np
import pytest
from tests.bench.runs.simulated_run import METHODS, Judge, judged, simulated_run

from personalrm.bench.plan.cells import Cell
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.records import JudgementRow, MethodInfo, RunInfo, TargetRow
from personalrm.bench.results.summary import summarize
from personalrm.errors import BadFile, BadInput
from personalrm.stats.paired import compare

DEFAULT = Cell("d", "default", "m")
MEMORY = Cell("d", "memory", "m")
SHUFFLED = replace(MEMORY, control="shuffled_user")


def run_of(path, cells, methods=METHODS):
    folder = RunFolder(path)
    folder.write_info(RunInfo("r", methods=methods))
    for cell, rows in cells.items():
        folder.write_cell(cell, rows)
    return folder


def ordered(pair, user, first, second):
    return JudgementRow(pair, user, 0, first, second)


def test_a_pair_counts_by_the_mean_of_its_orders(tmp_path) -> None:
    rows = [ordered("a", "u1", 0.9, 0.4), ordered("b", "u1", 1.0, 0.0), ordered("c", "u2", 0.3, 0.6)]
    run_of(tmp_path, {DEFAULT: rows})
    entry = summarize(tmp_path).entry(DEFAULT)
    assert entry.accuracy.accuracy == 0.5  # right, tie, wrong
    assert (entry.accuracy.n_ties, entry.accuracy_orders) == (1, 0.5)
    assert entry.position_consistency == 0.0
    assert entry.first_share == pytest.approx((0.75 + 1.0 + 0.35) / 3)


@pytest.mark.parametrize("probability", [0.1, 0.3, 0.7, 0.9, 1 / 3])
def test_orders_that_cancel_are_a_tie_whatever_their_last_bit(tmp_path, probability) -> None:
    run_of(tmp_path, {DEFAULT: [ordered("a", "u", probability, 1.0 - probability)]})
    assert summarize(tmp_path).entry(DEFAULT).accuracy.n_ties == 1


def test_seeds_and_draws_are_averaged_within_a_pair(tmp_path) -> None:
    rows = {
        0: [JudgementRow("a", "u", 0, margin=1.0), JudgementRow("a", "u", 1, margin=-1.0)],
        1: [JudgementRow("a", "u", 0, margin=2.0)],
    }
    run_of(tmp_path, {replace(DEFAULT, seed=seed): one for seed, one in rows.items()})
    entry = summarize(tmp_path).entry(DEFAULT)
    assert (entry.accuracy.accuracy, entry.accuracy.n_pairs, entry.n_judgements) == (pytest.approx(2 / 3), 1, 3)
    assert (entry.seeds, entry.runs.mean) == ((0, 1), 0.75)
    assert (entry.accuracy_orders, entry.calibration) == (None, None)


@pytest.mark.slow
def test_comparisons_are_made_on_the_pairs_both_judged(tmp_path) -> None:
    mine, other = judged(MEMORY, Judge(0.8)), judged(DEFAULT, Judge(0.5))
    run_of(tmp_path, {MEMORY: mine, DEFAULT: other[:200], SHUFFLED: judged(SHUFFLED, Judge(0.5), n_draws=3)})
    summary = summarize(tmp_path)
    row = summary.paired("reference", MEMORY)
    assert (row.other, row.comparison.n_pairs) == (DEFAULT, 200)
    assert summary.paired("shuffled_user", MEMORY).comparison.difference > 0.15
    assert summary.paired("best", MEMORY) is None
    assert summary.paired("best", DEFAULT).other == MEMORY
    assert summary.paired("reference", DEFAULT) is None


@pytest.mark.slow
def test_the_gap_is_what_compare_says_of_the_mean_over_derangements(tmp_path) -> None:
    own, control = judged(MEMORY, Judge(0.7)), judged(SHUFFLED, Judge(0.5), n_draws=4)
    run_of(tmp_path, {MEMORY: own, SHUFFLED: control})
    right = [np.mean([(r.chosen_first + r.chosen_second) / 2 > 0.5 for r in control if r.pair == p.pair]) for p in own]
    mine = np.array([float((r.chosen_first + r.chosen_second) / 2 > 0.5) for r in own])
    expected = compare(mine, np.array(right), [row.user for row in own])
    assert summarize(tmp_path).paired("shuffled_user", MEMORY).comparison.difference == pytest.approx(
        expected.difference
    )


@pytest.mark.slow
def test_holm_is_taken_over_the_table_of_a_dataset(tmp_path) -> None:
    cells = {replace(MEMORY, model=name): judged(replace(MEMORY, model=name), Judge(0.62)) for name in "abc"}
    cells |= {replace(DEFAULT, model=name): judged(replace(DEFAULT, model=name), Judge(0.5)) for name in "abc"}
    run_of(tmp_path, cells)
    rows = [row for row in summarize(tmp_path).comparisons if row.kind == "reference"]
    assert len(rows) == 3
    assert min(row.p_holm for row in rows) == pytest.approx(3 * min(row.comparison.p for row in rows))


@pytest.mark.slow
def test_a_leaning_judge_a_deaf_one_and_a_failing_one_are_told_apart(tmp_path) -> None:
    """Issue 4: consistency, shuffled-user gap and unscored counts tell exactly that."""
    judges = {"leaning": Judge(0.6, lean=0.3), "deaf": Judge(0.6), "failing": Judge(0.6, failing=1 / 3)}
    cells = {replace(MEMORY, model=name): judged(replace(MEMORY, model=name), judge) for name, judge in judges.items()}
    deaf = replace(SHUFFLED, model="deaf")
    run_of(tmp_path, cells | {deaf: cells[replace(MEMORY, model="deaf")]})
    leaning, ignoring, failing = (summarize(tmp_path).entry(replace(MEMORY, model=name)) for name in judges)
    assert leaning.position_consistency < 0.5 < 0.9 < ignoring.position_consistency
    assert leaning.first_share > 0.65 > 0.55 > ignoring.first_share
    gap = summarize(tmp_path).paired("shuffled_user", ignoring.cell).comparison
    assert (gap.difference, gap.p) == (0.0, 1.0)
    assert 0.05 < failing.n_unscored / failing.n_judgements < 0.18  # a third squared
    assert 0.3 < failing.accuracy.n_half_scored / failing.n_judgements < 0.6
    assert set(failing.reasons) == {"refusal"}


def test_all_unscored_is_no_accuracy_but_does_not_stop_the_rest(tmp_path) -> None:
    rows = [JudgementRow(row.pair, row.user, unscored="time-out") for row in judged(DEFAULT, Judge())]
    run_of(tmp_path, {DEFAULT: rows, MEMORY: judged(MEMORY, Judge())})
    summary = summarize(tmp_path)
    entry = summary.entry(DEFAULT)
    assert (entry.accuracy, entry.runs, entry.n_unscored, entry.reasons) == (None, None, 240, {"time-out": 240})
    assert summary.entry(MEMORY).accuracy.n_users == 40
    assert summary.comparisons == ()


def test_length_strata_need_the_targets(tmp_path) -> None:
    folder = run_of(tmp_path, {DEFAULT: [JudgementRow("a", "u", margin=1.0), JudgementRow("b", "u", margin=1.0)]})
    assert summarize(tmp_path).entry(DEFAULT).length is None
    folder.write_targets("d", [TargetRow("a", "u", 9, 3), TargetRow("b", "u", 3, 9)])
    strata = summarize(tmp_path).entry(DEFAULT).length
    assert (strata.longer.n_pairs, strata.shorter.accuracy, strata.equal.n_pairs) == (1, 1.0, 0)


@pytest.mark.slow
def test_slopes_are_found_with_all_and_with_the_same_users(tmp_path) -> None:
    simulated_run(tmp_path, seeds=(0,))
    rows = {row.cell.model: row for row in summarize(tmp_path).slopes}
    assert rows["large"].numbers == (1, 2, 4, 8)
    assert (rows["large"].all_users.n_users, rows["large"].same_users.n_users) == (38, 24)
    assert rows["large"].all_users.low < rows["large"].all_users.slope < rows["large"].all_users.high


def test_damaged_files_are_named_and_left_out(tmp_path) -> None:
    folder = run_of(tmp_path, {DEFAULT: judged(DEFAULT, Judge()), MEMORY: judged(MEMORY, Judge())})
    path = tmp_path / "judgements" / f"{MEMORY.name}.jsonl"
    path.write_text(path.read_text()[:-40])
    (tmp_path / "judgements" / "unknown.jsonl").write_text('{"method": "x"}\n')
    summary = summarize(tmp_path)
    assert [entry.cell for entry in summary.entries] == [DEFAULT]
    assert len(summary.left_out) == 2
    assert folder.path.name not in summary.entries[0].cell.name


def test_two_runs_read_as_one_and_the_first_wins(tmp_path) -> None:
    run_of(tmp_path / "a", {DEFAULT: judged(DEFAULT, Judge())})
    run_of(tmp_path / "b", {DEFAULT: [], MEMORY: judged(MEMORY, Judge())}, (MethodInfo("memory", "Other title"),))
    summary = summarize(tmp_path / "a", tmp_path / "b")
    assert [entry.cell.method for entry in summary.entries] == ["default", "memory"]
    assert {one.name: one.title for one in summary.run.methods}["memory"] == "Memory"
    assert "also in an earlier run" in summary.left_out[0]


def test_nothing_to_report_is_an_error(tmp_path) -> None:
    with pytest.raises(BadFile, match="holds no run"):
        summarize(tmp_path)
    run_of(tmp_path, {})
    with pytest.raises(BadInput, match="run it first"):
        summarize(tmp_path)


@pytest.mark.slow
def test_the_summary_is_plain_json_and_does_not_change(tmp_path) -> None:
    simulated_run(tmp_path, seeds=(0,))
    text = summarize(tmp_path).to_json()
    assert text == summarize(tmp_path).to_json()
    assert json.loads(text)["entries"][0]["accuracy"]["n_users"] > 20
    assert "NaN" not in text


def test_one_user_has_numbers_without_intervals(tmp_path) -> None:
    run_of(tmp_path, {DEFAULT: judged(DEFAULT, Judge(), n_users=1), MEMORY: judged(MEMORY, Judge(), n_users=1)})
    summary = summarize(tmp_path)
    assert np.isnan(summary.entry(DEFAULT).accuracy.low)
    assert json.loads(summary.to_json())["entries"][0]["accuracy"]["low"] is None
