"""Runs: resumed with the same bytes, nothing asked twice, budgets kept, damage found."""

import json
from dataclasses import replace

import pytest

from personalrm.bench.plan.cells import Cell, plan_cells
from personalrm.bench.plan.spec import (
    BudgetSpec,
    ByContextSpec,
    DatasetSpec,
    ModelSpec,
    RunSpec,
    ShuffledSpec,
    TransferSpec,
)
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.paired import compare_runs
from personalrm.bench.results.state import runs_in, state_of, validate_run
from personalrm.bench.runs.data import load_dataset
from personalrm.bench.runs.forecast import forecast_run
from personalrm.bench.runs.models import Models
from personalrm.bench.runs.runner import Runner
from personalrm.bench.runs.setup import begin_run, load_datasets, load_persona_prompts
from personalrm.errors import BadInput, TargetLeak, UnknownName
from personalrm.lm.settings import Retry
from personalrm.preferences.persona_prompts import persona_prompt_to_json
from personalrm.preferences.prompt_json import pair_to_dict
from personalrm.preferences.reading.surveys import Survey, survey_to_dict
from personalrm.prompts.rendering import shipped_persona_prompt
from personalrm.testing import tiny_pair, tiny_users, write_pairs
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import failing, skilled

pytestmark = pytest.mark.slow
BOTH = "persona_and_demonstrations"
DATA = (DatasetSpec("tiny", "tiny.jsonl"),)
MODEL = ModelSpec("m", "m", "http://127.0.0.1:1/v1", scripted=True)


@pytest.fixture(autouse=True)
def people(tmp_path):
    return write_pairs(tmp_path / "tiny.jsonl", [pair for user in tiny_users(6, 8) for pair in user])


@pytest.fixture
def server():
    with FakeServer(skilled(0.9)) as server:
        yield server


def models_at(url, *labels):
    return tuple(ModelSpec(label, label, url, scripted=True) for label in labels)


def go(spec, tmp_path, *, name="run", budget=None, retry_unscored=False, cells=None):
    """Runs a spec into a folder; only the first `cells` of it if given."""
    folder, datasets = RunFolder(tmp_path / name), load_datasets(spec, tmp_path)
    prompts = load_persona_prompts(spec, tmp_path)
    models = Models(spec.models, tmp_path / f"{name}.sqlite", budget=budget, retry=Retry(2, 1, 0.001))
    begin_run(spec, datasets, prompts, folder)
    runner = Runner(spec, datasets, folder, models, prompts, retry_unscored=retry_unscored).run()
    reports = list(runner) if cells is None else [next(runner) for _ in range(cells)]
    runner.close()
    return folder, reports


def bytes_of(folder):
    """Every file but the times."""
    return {
        str(path.relative_to(folder.path)): path.read_bytes()
        for path in sorted(folder.path.rglob("*"))
        if path.is_file() and path.name != "timing.jsonl"
    }


def test_a_stopped_run_goes_on_to_the_same_bytes_and_finished_cells_are_not_touched(tmp_path):
    spec = RunSpec("r", DATA, ("longer", "population", "personal"), by_context=ByContextSpec((1, 2)))
    whole, _ = go(spec, tmp_path, name="whole")
    go(spec, tmp_path, name="cut", cells=3)
    cut, reports = go(spec, tmp_path, name="cut")
    assert sum(report.was_done for report in reports) == 3
    assert bytes_of(cut) == bytes_of(whole)


def test_a_model_is_asked_nothing_twice_even_when_a_cell_is_lost(tmp_path, server):
    spec = RunSpec("r", DATA, ("default", "memory", BOTH), models_at(server.url, "m"), trials=2)
    whole, _ = go(spec, tmp_path)
    before, n_requests = bytes_of(whole), server.log.n_requests
    (whole.path / "judgements" / f"{Cell('tiny', BOTH, 'm').name}.jsonl").unlink()
    again, _ = go(spec, tmp_path)
    assert server.log.n_requests == n_requests
    assert bytes_of(again) == before


def test_another_server_address_is_the_same_run(tmp_path, server):
    spec = RunSpec("r", DATA, ("default",), models_at(server.url, "m"))
    folder, _ = go(spec, tmp_path)
    before = bytes_of(folder)
    _, reports = go(RunSpec("r", DATA, ("default",), models_at("http://127.0.0.1:1/v1", "m")), tmp_path)
    assert all(report.was_done for report in reports)
    assert bytes_of(folder) == before


def test_a_folder_of_another_run_is_refused_with_the_difference(tmp_path):
    go(RunSpec("r", DATA, ("longer",)), tmp_path)
    with pytest.raises(BadInput, match=r"holds another run: .*settings.trials was 10 and is 3"):
        go(RunSpec("r", DATA, ("longer",), trials=3), tmp_path)
    write_pairs(tmp_path / "tiny.jsonl", [pair for user in tiny_users(6, 9) for pair in user])
    with pytest.raises(BadInput, match="hash was"):
        go(RunSpec("r", DATA, ("longer",)), tmp_path)


def test_a_student_judges_with_the_prompts_of_its_teacher(tmp_path):
    """The teacher writes that everybody likes shorter answers, so the student prefers the shorter one everywhere."""

    def contrary(messages):
        return (
            '{"claims": ["Prefers shorter answers."]}' if '{"claims"' in messages[0]["content"] else failing(messages)
        )

    with FakeServer(contrary) as teacher, FakeServer(skilled(1.0)) as student:
        models = (*models_at(teacher.url, "t"), *models_at(student.url, "s"))
        spec = RunSpec(
            "r", DATA, (BOTH,), models, trials=1, embedded=False, shuffled_users=ShuffledSpec(models=0),
            transfer=TransferSpec((BOTH,), ("t",), ("s",)),
        )  # fmt: skip
        folder, reports = go(spec, tmp_path)
    assert all(report.is_done for report in reports)
    rows = list(folder.rows(Cell("tiny", BOTH, "s", teacher="t")))
    lengths = {row.pair: row.chosen_characters < row.rejected_characters for row in folder.targets("tiny")}
    assert [row.chosen_first > 0.5 for row in rows] == [lengths[row.pair] for row in rows]
    assert folder.prompt(Cell("tiny", BOTH, "t"), "u0").persona.text == "Prefers shorter answers."


def test_the_rows_with_distill_use_the_persona_prompt_of_their_model(tmp_path, server):
    (tmp_path / "theta.json").write_text(persona_prompt_to_json(shipped_persona_prompt()), encoding="utf-8")
    model = ModelSpec("m", "m", server.url, scripted=True, persona_prompt="theta.json")
    folder, reports = go(RunSpec("r", DATA, (f"{BOTH}_distill",), (model,), trials=1), tmp_path)
    assert all(report.is_done for report in reports)
    assert list(folder.info().settings["persona_prompts"]) == ["m"]
    with pytest.raises(BadInput, match=r"persona prompt 'none.json' of model 'm' cannot be read"):
        load_persona_prompts(
            RunSpec("r", DATA, ("default",), (ModelSpec("m", "m", persona_prompt="none.json"),)), tmp_path
        )


def test_a_persona_prompt_that_was_searched_for_with_a_target_is_refused(tmp_path, server):
    spec = RunSpec("r", DATA, ("default",), models_at(server.url, "m"))
    datasets = load_datasets(spec, tmp_path)
    seen = [next(iter(datasets.values())).held_out.targets[0].hash]
    prompt = replace(shipped_persona_prompt(), provenance={"seen": seen})
    with pytest.raises(TargetLeak, match="was searched for with pair"):
        begin_run(spec, datasets, {"m": prompt}, RunFolder(tmp_path / "run"))


def test_demographics_need_surveys(tmp_path, server):
    spec = RunSpec("r", DATA, ("demographics",), models_at(server.url, "m"))
    with pytest.raises(BadInput, match="'demographics' needs surveys and dataset 'tiny' has none"):
        go(spec, tmp_path)
    surveys = [Survey(f"u{n}", {"taste": "shorter answers"}) for n in range(5)]
    (tmp_path / "surveys.jsonl").write_text("".join(json.dumps(survey_to_dict(one)) + "\n" for one in surveys))
    data = (DatasetSpec("tiny", "tiny.jsonl", surveys="surveys.jsonl"),)
    folder, reports = go(RunSpec("r", data, ("demographics",), models_at(server.url, "m")), tmp_path)
    assert dict(reports[0].not_learned) == {"u5": "no survey, judged knowing nothing"}
    assert "taste: shorter answers" in folder.prompt(Cell("tiny", "demographics", "m"), "u0").persona.text


def test_a_budget_holds_for_all_models_together_and_the_rest_is_named(tmp_path, server):
    spec = RunSpec("r", DATA, ("longer", "default", "raw_history"), models_at(server.url, "a", "b"))
    _, reports = go(spec, tmp_path, budget=BudgetSpec(max_calls=3))
    assert server.log.n_requests == 3
    undone = [report for report in reports if not report.is_done]
    assert {report.cell.model for report in undone} == {"a", "b"}
    assert all("budget" in report.reason for report in undone)
    _, again = go(spec, tmp_path)
    assert all(report.is_done for report in again)
    assert server.log.n_requests == len(server.log.calls)


def test_a_model_without_access_does_not_stop_the_others(tmp_path, server):
    models = (ModelSpec("gone", "gone", "http://127.0.0.1:9/v1"), *models_at(server.url, "m"))
    _, reports = go(RunSpec("r", DATA, ("default", "raw_history"), models), tmp_path)
    assert {report.cell.model for report in reports if report.is_done} == {"m"}
    assert all(report.reason for report in reports if not report.is_done)


def test_unscored_judgements_are_asked_again_on_demand_only(tmp_path):
    with FakeServer(failing) as server:
        spec = RunSpec("r", DATA, ("default",), models_at(server.url, "m"))
        _, reports = go(spec, tmp_path)
        assert reports[0].n_unscored == 12
        n_requests = server.log.n_requests
        go(spec, tmp_path)
        assert server.log.n_requests == n_requests
        server._rule = skilled(1.0)
        # the models of this second run ask again too
        folder, datasets = RunFolder(tmp_path / "run"), load_datasets(spec, tmp_path)
        models = Models(spec.models, tmp_path / "run.sqlite", retry=Retry(2, 1, 0.001), retry_unscored=True)
        reports = list(Runner(spec, datasets, folder, models, {}, retry_unscored=True).run())
    assert [(report.n_unscored, report.was_done) for report in reports] == [(0, False)] * 2


def test_a_single_user_has_no_shuffled_control_and_that_is_no_failure(tmp_path):
    write_pairs(tmp_path / "tiny.jsonl", [tiny_pair("u1", k) for k in range(8)])
    _, reports = go(RunSpec("r", DATA, ("personal",)), tmp_path)
    assert [report.reason for report in reports] == ["", "left out: the shuffled-user control needs two users"]


def test_more_choices_than_anybody_has_leave_the_cell_out(tmp_path):
    spec = RunSpec("r", DATA, ("longer",), by_context=ByContextSpec((0, 500), ("personal",)))
    _, reports = go(spec, tmp_path)
    assert [report.reason for report in reports if not report.is_done] == ["left out: nobody has 500 choices"]


def test_a_limit_keeps_the_same_users_every_time(tmp_path):
    first, second = (load_dataset(DATA[0], tmp_path, limit=3).held_out.context for _ in range(2))
    assert list(first) == list(second) and len(first) == 3
    assert set(load_dataset(DATA[0], tmp_path, limit=2).held_out.context) < set(first)


def test_only_the_users_of_a_split_are_scored_and_train_users_are_learned_from(tmp_path):
    parts = ("train", "train", "test", "test", "dev", "test")
    rows = [
        pair_to_dict(tiny_pair(user.user_id, k)) | {"user_split": part}
        for user, part in zip(tiny_users(6, 8), parts, strict=True)
        for k in range(8)
    ]
    (tmp_path / "tiny.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    held_out = load_dataset(DATA[0], tmp_path).held_out
    assert (set(held_out.context), set(held_out.train), set(held_out.dev)) == ({"u2", "u3", "u5"}, {"u0", "u1"}, {"u4"})
    assert set(held_out.learnable) == {"u0", "u1", "u2", "u3", "u5"}
    assert set(load_dataset(DatasetSpec("t", "tiny.jsonl", users="all"), tmp_path).held_out.context) == {
        f"u{n}" for n in range(6)
    }


def test_a_forecast_is_an_upper_bound_of_what_is_asked(tmp_path, server):
    methods = ("default", "memory", "guided_profile", "raw_history", "just_demonstrations", BOTH)
    spec = RunSpec("r", DATA, methods, models_at(server.url, "m"), trials=2)
    rows = forecast_run(spec, load_datasets(spec, tmp_path))
    go(spec, tmp_path)
    assert len(rows) == len(plan_cells(spec))
    assert 0 < server.log.n_requests <= sum(row.n_calls for row in rows)


def test_validation_finds_missing_damaged_and_strange_cells(tmp_path):
    spec = RunSpec("r", DATA, ("random", "longer", "personal"))
    folder, _ = go(spec, tmp_path)
    assert validate_run(folder.path).is_whole
    cells = {cell.method: folder.path / "judgements" / f"{cell.name}.jsonl" for cell in plan_cells(spec)[:2]}
    cells["random"].unlink()
    cells["longer"].write_bytes(cells["longer"].read_bytes()[:-30])
    (folder.path / "judgements" / "old.jsonl").write_text("{}")
    (folder.path / "judgements" / ".new-abc").write_text('{"half": ')  # what a kill leaves is no problem
    found = validate_run(folder.path)
    assert [cell.method for cell in found.missing] == ["random"]
    assert len(found.problems) == 2
    assert "'old.jsonl' is not a cell of this run" in found.problems[1]


def test_runs_are_listed_with_their_state_and_a_damaged_one_says_so(tmp_path):
    spec = RunSpec("r", DATA, ("random", "longer"))
    go(spec, tmp_path, name="a")
    go(spec, tmp_path, name="b", cells=1)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "run.json").write_text("{")
    assert [one.state for one in runs_in(tmp_path)] == ["finished", "unfinished", "damaged"]
    assert (state_of(tmp_path / "b").n_done, state_of(tmp_path / "b").n_planned) == (1, 2)
    assert runs_in(tmp_path / "none") == []


def test_the_test_of_equals_is_a_sample_for_judges_only_and_can_be_left_out(tmp_path, server):
    spec = RunSpec("r", DATA, ("longer", "personal", "default"), models_at(server.url, "m"), identical=5)
    folder, _ = go(spec, tmp_path)
    equals = [cell for cell in plan_cells(spec) if cell.control == "identical"]
    assert equals == [Cell("tiny", "default", "m", control="identical")]
    assert len(list(folder.rows(equals[0]))) == 5
    assert validate_run(folder.path).is_whole
    assert not [cell for cell in plan_cells(replace(spec, identical=0)) if cell.control == "identical"]
    with pytest.raises(BadInput, match="identical is -1"):
        replace(spec, identical=-1)


def test_equals_are_asked_once_since_both_orders_are_one_request(tmp_path, server):
    folder, _ = go(RunSpec("r", DATA, ("default",), models_at(server.url, "m"), identical=5), tmp_path)
    rows = list(folder.rows(Cell("tiny", "default", "m", control="identical")))
    assert [row.chosen_first + row.chosen_second for row in rows] == [1.0] * 5
    assert set(server.log.calls.values()) == {1}


def test_two_runs_are_compared_on_common_pairs_by_user(tmp_path, server):
    with FakeServer(skilled(0.6)) as worse:
        a, _ = go(RunSpec("r", DATA, ("default", "longer"), models_at(worse.url, "m")), tmp_path, name="a")
    b, _ = go(RunSpec("r", DATA, ("default", "longer"), models_at(server.url, "m")), tmp_path, name="b")
    found = {one.cell.method: one for one in compare_runs(a, b)}
    assert found["longer"].comparison.difference == 0.0
    assert found["default"].comparison.n_users == 6
    assert found["default"].p_holm >= found["default"].comparison.p
    other, _ = go(RunSpec("r", (DatasetSpec("other", "tiny.jsonl"),), ("longer",)), tmp_path, name="c")
    with pytest.raises(BadInput, match="share no cell"):
        compare_runs(a, other)


def test_what_can_only_fail_later_is_refused_before_anything_is_asked(tmp_path):
    with pytest.raises(UnknownName, match="could be anywhere"):
        Models((ModelSpec("m", "m"),), tmp_path / "c").check()
    with pytest.raises(UnknownName, match="the price of model 'm' is unknown"):
        Models((MODEL,), tmp_path / "c", budget=BudgetSpec(max_cost=1.0)).check()
    with pytest.raises(BadInput, match="max_calls of the budget is 0"):
        Models((MODEL,), tmp_path / "c", budget=BudgetSpec(max_calls=0)).check()
    data = (DatasetSpec("tiny", "tiny.jsonl", population_leaves_out="colour"),)
    with pytest.raises(BadInput, match="lacks column 'colour'"):
        load_datasets(RunSpec("r", data, ("longer",)), tmp_path)
    with pytest.raises(BadInput, match="no user has a target pair"):
        load_datasets(RunSpec("r", (DatasetSpec("tiny", "tiny.jsonl", min_pairs=99),), ("longer",)), tmp_path)
