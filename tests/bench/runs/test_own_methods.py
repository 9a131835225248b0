"""Judges and reward models of a package outside the repository: named by place or entry point, run like ours."""

import json
import re

import pytest
from tests.bench.plan.test_run_file import read
from tests.fakes.outside_package import declare, outside_package, personalrm

from personalrm.bench.plan.cells import plan_cells
from personalrm.bench.plan.spec import BudgetSpec, settings_of, spec_of
from personalrm.bench.report.writing import write_report
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.state import validate_run
from personalrm.bench.runs.models import Models
from personalrm.bench.runs.runner import Runner
from personalrm.bench.runs.setup import begin_run, load_bases, load_datasets
from personalrm.cli import main
from personalrm.errors import BadInput, PersonalRMError
from personalrm.lm.settings import Retry
from personalrm.preferences.prompt_json import pair_to_dict
from personalrm.testing import tiny_users
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import skilled

JUDGES = '''
from personalrm.bench.methods.method import Judgement, Knowledge
from personalrm.bench.methods.model import ModelMethod, nobody


class Shorter:
    """The taste for length that a user's context shows."""

    title = "Length, as the user likes it"

    def learn(self, held_out, surveys):
        pass

    def know(self, users):
        return [Knowledge(user.user_id, sum(len(p.chosen) - len(p.rejected) for p in user.pairs)) for user in users]

    def judge(self, items):
        return [Judgement(margin=float(known.value * (len(p.chosen) - len(p.rejected)))) for known, p in items]


class Asking(ModelMethod):
    """A language model that knows nobody."""

    title = "A model"

    def __init__(self, judge):
        super().__init__(judge, lambda users, surveys: [Knowledge(one.user_id, nobody(one.user_id)) for one in users])


class Engined:
    """What the embedded engine's population says."""

    is_personal = False

    def __init__(self, engine, seed):
        self.engine, self.seed = engine, seed

    def learn(self, held_out, surveys):
        self.engine.learn(held_out)

    def know(self, users):
        return [Knowledge(user.user_id) for user in users]

    def judge(self, items):
        return [Judgement(margin=float(self.seed)) for _ in items]


class Half:
    def judge(self, items):
        return []


class Demanding(Shorter):
    def __init__(self, horoscope):
        self.horoscope = horoscope
'''
MODELS = '''
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FITS = []


@dataclass(frozen=True)
class Settings:
    scale: float = 1.0
    seed: int = 0


class Lengths:
    """Reward = characters times the taste its context shows."""

    name = "lengths"
    title = "Lengths"
    options_type = Settings

    def __init__(self, store, options=None):
        self.store, self.options = store, options

    def fit(self, pairs, *, dev=()):
        FITS.append({pair.user_id for pair in pairs})
        return self

    def condition_many(self, contexts):
        return [np.sign(sum(len(p.chosen) - len(p.rejected) for p in context)) for context in contexts]

    def score_many(self, items):
        scale = self.options.scale
        return [np.array([scale * item.state * len(text) for text in item.completions], float) for item in items]

    def save(self, folder):
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "lengths.json").write_text(json.dumps(self.options.scale))

    @classmethod
    def load(cls, folder, store):
        return cls(store, Settings(json.loads((Path(folder) / "lengths.json").read_text())))


class Based(Lengths):
    """The same, as if it trained a language model."""

    is_personal = False

    def __init__(self, base, options=None, checkpoint=None):
        super().__init__(None, options)
        self.base = base

    @classmethod
    def load(cls, folder, base):
        return cls(base, Settings(json.loads((Path(folder) / "lengths.json").read_text())))


class Unkept:
    fit = condition_many = score_many = save = Lengths.fit
'''
RUN = """
name: tiny
datasets: [{name: d, path: d.jsonl}]
methods: [longer, "elsewhere.judges:Shorter", "elsewhere.models:Lengths"]
encoders: [{label: s}]
reward_models: [{method: "elsewhere.models:Lengths", settings: {scale: 2.0}}]
by_context: {k: [1], methods: ["elsewhere.judges:Shorter", "elsewhere.models:Lengths"]}
"""


@pytest.fixture
def elsewhere(tmp_path):
    """A package with a judge and a reward model, beside a file of pairs."""
    modules = {
        "judges": JUDGES,
        "models": MODELS,
        "angry": "raise RuntimeError('no')\n",
        "broken": "import nowhere_to_be_found\n",
    }
    lines = [json.dumps(pair_to_dict(pair)) for user in tiny_users(6, 8) for pair in user.pairs]
    (tmp_path / "d.jsonl").write_text("\n".join(lines))
    with outside_package(tmp_path, modules, "[personalrm.judges]\nshorter = elsewhere.judges:Shorter\n") as folder:
        yield folder


def go(folder, name, *, budget=None):
    """The run file beside the folder, run in this process."""
    spec = read(folder, (folder / "run.yaml").read_text())
    models = Models(spec.models, folder / "cache.sqlite", budget=budget, retry=Retry(2, 1, 0.001))
    datasets, run = load_datasets(spec, folder), RunFolder(folder / name)
    bases = load_bases(spec, datasets, folder)
    begin_run(spec, datasets, {}, run, bases=bases)
    return list(Runner(spec, datasets, run, models, {}, embeddings=folder / "embeddings", bases=bases).run())


@pytest.mark.slow
def test_they_get_cells_controls_curves_and_a_report_and_are_not_run_twice(elsewhere):
    spec = read(elsewhere, RUN)
    own = [cell for cell in plan_cells(spec) if ":" in cell.method]
    assert [(cell.model, cell.control, cell.k) for cell in own] == [
        (None, None, None), (None, "shuffled_user", None), (None, None, 1),
        ("s", None, None), ("s", "shuffled_user", None), ("s", None, 1),
    ]  # fmt: skip
    assert all(report.is_done for report in go(elsewhere, "run"))
    assert all(report.was_done for report in go(elsewhere, "run"))
    assert validate_run(elsewhere / "run").is_whole
    write_report([elsewhere / "run"])
    page = (elsewhere / "run" / "report.md").read_text()
    assert "| Length, as the user likes it" in page and "| Lengths" in page
    assert spec_of(settings_of(spec), "settings") == spec


def test_a_row_its_control_and_its_curve_share_one_training_that_has_not_seen_who_is_asked_about(elsewhere):
    go_on = read(elsewhere, RUN)
    go(elsewhere, "run")
    from elsewhere.models import FITS

    from personalrm.bench.methods.trained import N_FOLDS, fold_of

    users = load_datasets(go_on, elsewhere)["d"].held_out.context
    assert len(FITS) == len({fold_of(user_id, N_FOLDS) for user_id in users})
    assert all(seen < set(users) for seen in FITS)


def test_the_settings_of_the_run_file_reach_a_reward_model(elsewhere):
    read(elsewhere, RUN)
    go(elsewhere, "two")
    read(elsewhere, RUN.replace("scale: 2.0", "scale: 1.0"))
    go(elsewhere, "one")
    (cell,) = [c for c in plan_cells(read(elsewhere, RUN)) if "Lengths" in c.method and not c.control and c.k is None]
    margins = [[row.margin for row in RunFolder(elsewhere / name).rows(cell)] for name in ("two", "one")]
    assert margins[0] == [2 * margin for margin in margins[1]] and any(margins[0])


def test_an_entry_point_is_a_name_like_ours(elsewhere):
    read(elsewhere, "name: r\ndatasets: [{name: d, path: d.jsonl}]\nmethods: [shorter]\n")
    assert [report.is_done for report in go(elsewhere, "run")] == [True, True]
    (info,) = RunFolder(elsewhere / "run").info().methods
    assert (info.name, info.title, info.is_personal) == ("shorter", "Length, as the user likes it", True)


def test_a_judge_with_a_language_model_keeps_to_the_budget_and_goes_on_from_the_cache(elsewhere):
    with FakeServer(skilled(1.0)) as server:
        model = f'models: [{{label: m, name: m, base_url: "{server.url}", max_in_flight: 1}}]\nidentical: 2\n'
        read(elsewhere, f"name: r\ndatasets: [{{name: d, path: d.jsonl}}]\nmethods: [elsewhere.judges:Asking]\n{model}")
        reports = go(elsewhere, "run", budget=BudgetSpec(max_calls=3))
        assert not any(report.is_done for report in reports) and "budget" in reports[0].reason
        n_requests = server.log.n_requests
        reports = go(elsewhere, "run")
        assert all(report.is_done for report in reports)
        assert [report.cell.control for report in reports] == [None, "shuffled_user", "identical"]
        assert server.log.n_requests > n_requests
        n_requests = server.log.n_requests
        go(elsewhere, "again")
        assert server.log.n_requests == n_requests


def test_a_judge_is_given_the_engine_and_the_seed_it_names(elsewhere):
    text = "name: r\ndatasets: [{name: d, path: d.jsonl}]\nmethods: [elsewhere.judges:Engined]\nseeds: [3]\n"
    (cell,) = plan_cells(read(elsewhere, text))
    assert cell.model == "embedded"
    assert all(report.is_done for report in go(elsewhere, "run"))
    assert {row.margin for row in RunFolder(elsewhere / "run").rows(cell)} == {3.0}


@pytest.mark.slow  # frees memory with torch
def test_a_reward_model_that_trains_a_language_model_is_kept_in_the_run_folder(elsewhere):
    text = """
name: r
datasets: [{name: d, path: d.jsonl}]
methods: [elsewhere.models:Based]
base_models: [{label: base, name: tiny, device: cpu}]
"""
    (cell,) = plan_cells(read(elsewhere, text))
    assert [report.is_done for report in go(elsewhere, "run")] == [True]
    records = RunFolder(elsewhere / "run").trainings(cell)
    assert records and {record["method"] for record in records} == {"elsewhere.models:Based"}
    assert {record["pool"] for record in records} == {"unfiltered"}
    assert list((elsewhere / "run").rglob("lengths.json"))


NASTY = {
    "elsewhere.judges:Half": "judge 'elsewhere.judges:Half' has no method 'learn'; a judge has learn, know and judge",
    "elsewhere.judges:Demanding": "needs 'horoscope', which judges are not given",
    "elsewhere.judges:Shorte": "no class 'Shorte' .*; did you mean 'Shorter'",
    "elsewhere.judge:Shorter": "module 'elsewhere.judge' of .* is not found; install its package, or add its folder to",
    "elsewhere.broken:Shorter": "needs 'nowhere_to_be_found'; install that",
    "elsewhere.angry:Shorter": r"cannot be imported \(RuntimeError: no\); correct it",
    "elsewhere.models:Unkept": "has no method 'load'; a reward model has fit, condition_many, score_many, save and load",
    "elsewhere.models:np": "no class 'np'",
    "elsewhere models:Lengths": "does not name a class; write package.module:Class",
    "shortest": "unknown method 'shortest' in the run file; did you mean 'shorter'",
}


@pytest.mark.parametrize("name", NASTY)
def test_a_class_that_does_not_fit_is_refused_in_one_sentence(elsewhere, name):
    with pytest.raises(PersonalRMError, match=NASTY[name]) as caught:
        read(elsewhere, f'name: r\ndatasets: [{{name: d, path: d.jsonl}}]\nmethods: ["{name}"]\n')
    assert "\n" not in str(caught.value)


def test_an_entry_point_with_the_name_of_one_of_ours_is_refused(elsewhere):
    declare(
        elsewhere,
        "[personalrm.reward_models]\ngpo = elsewhere.models:Lengths\nmine = elsewhere.models:Lengths\n",
    )
    with pytest.raises(BadInput, match=r"entry point 'gpo' of personalrm.reward_models .* has the name of one of ours"):
        read(elsewhere, "name: r\ndatasets: [{name: d, path: d.jsonl}]\nmethods: [mine]\n")


@pytest.mark.slow  # two commands, each in a process of its own
def test_the_command_line_trains_one_scores_with_it_and_runs_it(elsewhere):
    (elsewhere / "run.yaml").write_text(RUN)
    (elsewhere / "drafts.jsonl").write_text(json.dumps({"user_id": "u0", "prompt": "Hi?", "completions": ["a", "bbb"]}))
    trained = personalrm(elsewhere, "train", "elsewhere.models:Lengths", "d.jsonl", "--out", "model")
    assert trained.returncode == 0, trained.stderr
    assert "# Lengths" in (elsewhere / "model" / "README.md").read_text()
    scored = personalrm(elsewhere, "score", "drafts.jsonl", "--model-folder", "model", "--context", "d.jsonl", "--json")
    assert abs(json.loads(scored.stdout)["rewards"][1]) == 3.0
    ran = personalrm(elsewhere, "bench", "run", "-c", "run.yaml", "--folder", "run", "--json")
    assert (ran.returncode, json.loads(ran.stdout)["n_done"]) == (0, 7), ran.stderr


def test_evaluate_takes_them_beside_ours_with_a_shuffled_row_each(elsewhere, capsys, monkeypatch):
    monkeypatch.chdir(elsewhere)
    names = ["elsewhere.judges:Shorter", "elsewhere.models:Lengths", "elsewhere.judges:Engined"]
    assert main(["evaluate", "d.jsonl", "--json", "--methods", ",".join(["population", *names])]) == 0
    rows = json.loads(capsys.readouterr().out)["tables"]["all users"]["rows"]
    shuffled = [f"shuffled_user of {name}" for name in names[:2]]
    assert list(rows) == ["population", names[0], shuffled[0], names[1], shuffled[1], names[2]]
    assert rows[names[0]]["accuracy"]["accuracy"] > rows[shuffled[0]]["accuracy"]["accuracy"]
    assert rows[names[1]]["against_population"]["n_users"] == 6
    assert not (elsewhere / "embeddings").exists()


def test_evaluate_with_a_model_asks_it_for_a_judge_that_names_one(elsewhere, capsys):
    methods = "default,elsewhere.judges:Asking,elsewhere.judges:Shorter"
    with FakeServer(skilled(1.0)) as server:
        at = ["--model", "m", "--base-url", server.url]
        assert main(["evaluate", str(elsewhere / "d.jsonl"), *at, "--json", "--methods", methods]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert rows["elsewhere.judges:Asking"]["accuracy"] == rows["default"]["accuracy"]
    assert rows["elsewhere.judges:Shorter"]["position_consistency"] is None


@pytest.mark.slow
def test_evaluate_takes_every_row_of_the_table_that_needs_no_base_model(elsewhere, capsys):
    assert main(["evaluate", str(elsewhere / "d.jsonl"), "--json", "--methods", "low_rank"]) == 0
    rows = json.loads(capsys.readouterr().out)["tables"]["all users"]["rows"]
    assert list(rows) == ["population", "low_rank", "shuffled_user of low_rank"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("elsewhere.judges:Asking", "runs on a language model; name one with --model"),
        ("elsewhere.models:Based", "trains a language model; write a run file"),
        ("elsewhere.judges:Half", "has no method 'learn'"),
        ("gpx", "unknown method 'gpx'; use some of random, .*, or package.module:Class"),
        ("memory", "runs on a language model; name one with --model"),
        ("bradley_terry", "trains a language model; write a run file"),
    ],
)
def test_evaluate_says_what_a_class_lacks(elsewhere, capsys, name, said):
    assert main(["evaluate", str(elsewhere / "d.jsonl"), "--methods", name]) == 2
    assert re.search(said, " ".join(capsys.readouterr().err.split()))
