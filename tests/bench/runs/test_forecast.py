"""What a run would ask, held against what a server then counts: for every method that asks a language model."""

import json
from dataclasses import replace

import pytest

from personalrm.bench.methods.table import METHODS, Entry
from personalrm.bench.plan.cells import plan_cells
from personalrm.bench.plan.spec import DatasetSpec, ModelSpec, RunSpec, ShuffledSpec, TransferSpec
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.runs.forecast import forecast_run
from personalrm.bench.runs.models import Models
from personalrm.bench.runs.runner import Runner
from personalrm.bench.runs.setup import begin_run, load_datasets, load_persona_prompts
from personalrm.preferences.persona_prompts import persona_prompt_to_json
from personalrm.preferences.reading.surveys import Survey, survey_to_dict
from personalrm.prompts.rendering import shipped_persona_prompt
from personalrm.testing import tiny_pair, write_pairs
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import skilled

ASKING = [name for name, entry in METHODS.items() if entry.model is not None]
MAY_ASK_LESS = {name for name in ASKING if name.startswith(("just_", "persona_"))} | {"guided_profile"}
"""Candidates that are drawn twice are judged once, and equal digests of two users become one profile."""
NOTHING_SHUFFLED = ShuffledSpec(models=0)
IDS = [f"u{u}" for u in range(6)]
PAIRS = [tiny_pair(user_id, 100 * u + k, likes_long=u % 2 == 0) for u, user_id in enumerate(IDS) for k in range(8)]
"""No text twice, or one answer would do for two users."""


@pytest.fixture
def run(tmp_path):
    """Forecast and requests of a run."""
    write_pairs(tmp_path / "tiny.jsonl", PAIRS)
    surveys = [survey_to_dict(Survey(user_id, {"age": "30"})) for user_id in IDS]
    (tmp_path / "surveys.jsonl").write_text("".join(json.dumps(one) + "\n" for one in surveys), encoding="utf-8")
    (tmp_path / "prompt.json").write_text(persona_prompt_to_json(shipped_persona_prompt()), encoding="utf-8")
    data = (DatasetSpec("tiny", "tiny.jsonl", surveys="surveys.jsonl"),)

    def forecast_and_run(*methods, samples=1, labels=("m",), **settings):
        with FakeServer(skilled(0.9)) as server:
            models = tuple(
                ModelSpec(label, label, server.url, scripted=True, samples=samples, persona_prompt="prompt.json")
                for label in labels
            )
            settings = {"trials": 2, "shuffled_users": NOTHING_SHUFFLED, "identical": 0, "embedded": False} | settings
            spec = RunSpec("r", data, methods, models, **settings)
            datasets, prompts = load_datasets(spec, tmp_path), load_persona_prompts(spec, tmp_path)
            rows = forecast_run(spec, datasets)
            folder = RunFolder(tmp_path / "run")
            begin_run(spec, datasets, prompts, folder)
            reports = list(Runner(spec, datasets, folder, Models(models, tmp_path / "cache.sqlite"), prompts).run())
            assert all(report.is_done for report in reports)
            assert [row.cell for row in rows] == plan_cells(spec)
            return sum(row.n_calls for row in rows), server.log.n_requests

    return forecast_and_run


@pytest.mark.slow
@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("method", ASKING)
def test_a_method_asks_what_the_forecast_says(run, method, samples):
    most, n_asked = run(method, samples=samples)
    if method in MAY_ASK_LESS:
        assert 0.5 * most < n_asked <= most
    else:
        assert n_asked == most


@pytest.mark.slow
def test_an_a_a_test_is_forecast_exactly(run):
    most, n_asked = run("default", identical=7)
    assert n_asked == most


def test_no_method_can_stand_in_the_table_without_a_count():
    with pytest.raises(TypeError, match="calls"):
        Entry("Magic", "judges")


def forecast_of(folder, *methods, **settings):
    """The forecast of methods on two models, by cell."""
    write_pairs(folder / "tiny.jsonl", PAIRS)
    models = tuple(ModelSpec(label, label, "http://127.0.0.1:1/v1", scripted=True) for label in ("m", "n"))
    spec = RunSpec("r", (DatasetSpec("tiny", "tiny.jsonl"),), methods, models, **settings)
    return forecast_run(spec, load_datasets(spec, folder))


def test_a_student_pays_for_judging_alone(tmp_path):
    rows = forecast_of(tmp_path, "memory", transfer=TransferSpec(("memory",)))
    taught = [row for row in rows if row.cell.teacher]
    assert len(taught) == 2
    assert all(row.n_calls == 2 * row.n_judgements for row in taught)


@pytest.mark.parametrize("method", ["default", "longer"])
def test_what_a_method_does_not_say_is_unknown_and_never_nothing(tmp_path, monkeypatch, method):
    monkeypatch.setitem(METHODS, method, replace(METHODS[method], calls=None))
    rows = forecast_of(tmp_path, method, "memory")
    assert {row.cell.method for row in rows if not row.is_bounded} == {method}
    assert {row.n_calls for row in rows if row.cell.method == method} == {0}
