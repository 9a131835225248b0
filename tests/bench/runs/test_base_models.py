"""Fine-tuned language models in a run: what is refused before anything is spent, and a run killed while it trains."""

import json
import shutil
import signal
import sys
import time
from dataclasses import replace

import pytest
from tests.bench.plan.test_run_file import read
from tests.fakes.forked import exit_code_of, imported_by_forked, start

from personalrm.bench.plan.cells import Cell, kind_of, n_draws, plan_cells
from personalrm.bench.plan.spec import BudgetSpec, encoder_of, options_of, read_run_file, settings_of, spec_of
from personalrm.bench.report.writing import write_report
from personalrm.bench.results.folder import RunFolder
from personalrm.bench.results.paired import compare_runs
from personalrm.bench.results.state import state_of, validate_run
from personalrm.bench.runs.forecast import forecast_run
from personalrm.bench.runs.models import Models
from personalrm.bench.runs.runner import Runner
from personalrm.bench.runs.setup import begin_run, load_bases, load_datasets
from personalrm.cli import main
from personalrm.errors import BadInput, MissingExtra, PersonalRMError, TargetLeak, UnknownName
from personalrm.lm.settings import Retry
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.personas import Claim, Persona
from personalrm.preferences.prepared_prompts import PreparedPrompt, read_prepared, write_prepared
from personalrm.preferences.prompt_json import pair_to_dict
from personalrm.testing import tiny_pair
from personalrm.testing.fake_server import FakeServer
from personalrm.testing.skill import skilled

imported_by_forked(__name__, "tests.rewards.tiny", "peft")
PLAIN, BOTH = "bradley_terry", "bradley_terry_persona_and_demonstrations"
PARTS = {"t0": "train", "t1": "train", "d0": "dev", "u0": "test", "u1": "test"}
RUN = """
name: tiny
datasets: [{name: prism-tiny, path: tiny.jsonl}]
methods: [longer, bradley_terry, bradley_terry_persona_and_demonstrations]
base_models: [{label: base, name: tiny, device: cpu, n_parameters: 3e9}]
reward_models:
  - method: bradley_terry
    settings: {lora: {rank: 4}, learning_rate: 3e-2, pairs_a_step: 4, epochs: 2, check_every: 3, checkpoint_every: 1}
"""
MODEL = '\nmodels: [{label: m, name: m, base_url: "http://127.0.0.1:1/v1"}]'


@pytest.fixture
def people(tmp_path):
    """Two train users, a dev user, two test users, as a file beside the run file."""
    pairs = [(tiny_pair(user, k, likes_long=user[1] == "0"), part) for user, part in PARTS.items() for k in range(6)]
    lines = [json.dumps(pair_to_dict(pair) | {"user_split": part}) for pair, part in pairs]
    (tmp_path / "tiny.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def base_model(folder):
    from tests.rewards.tiny import tiny_model  # imports torch

    shutil.copytree(tiny_model(), folder)


def test_rows_on_base_models_are_planned_last_with_a_shuffled_control_where_they_are_personal(tmp_path):
    spec = read(tmp_path, RUN.replace("label: base", "label: m") + MODEL)
    cells = plan_cells(spec)
    trained = [cell for cell in cells if kind_of(cell) == "base_model"]
    assert trained == cells[-3:]
    assert [cell.method for cell in trained if cell.control] == [BOTH]
    assert {n_draws(spec, cell) for cell in trained} == {1}
    assert spec.labels == ("embedded", "m")


def test_a_spec_with_base_models_is_read_back_from_a_run(tmp_path):
    spec = read(tmp_path, RUN)
    settings = settings_of(spec) | {"prepared_prompts": {"base": "0" * 16}}
    assert spec_of(settings, "settings") == spec


NASTY = {
    RUN.replace("device: cpu", "device: gpu"): "device of item 1 of base_models .* is 'gpu'; use one of auto, cpu, cuda",
    RUN.replace("label: base", "label: embedded"): "give it a name other than 'embedded'",
    RUN.replace("name: tiny, device", "name: ' ', device"): "base model 'base' has no name",
    RUN.replace("n_parameters: 3e9", "n_parameters: -3"): "n_parameters of base model 'base' is -3",
    RUN.replace("n_parameters: 3e9", "prompts_of: n"): "unknown model 'n' in prompts_of of base model 'base'",
    RUN.replace("n_parameters: 3e9", "prompts: p.jsonl, cross_fitted: true"): "leave out prompts_of and cross_fitted",
    RUN.replace("n_parameters: 3e9}", "n_parameters: 3e9}, {label: base, name: x}"): "'base' stands twice",
    RUN.replace("n_parameters: 3e9}", "dtype: bfloat16}, {label: b, name: x}"): "train on one device",
    RUN.replace("method: bradley_terry\n", "method: bradly_terry\n"): "did you mean 'bradley_terry'",
    RUN.replace("method: bradley_terry\n", "method: bradley_terry\n    faithful: true\n"): "leave out faithful",
    RUN.replace("method: bradley_terry\n", "method: bradley_terry\n    pool: all\n"): "use one of train_users, plus_context",
    RUN + f"\nby_context: {{k: [1], methods: [{BOTH}]}}": "by_context cannot show",
    RUN + MODEL + f"\ntransfer: {{methods: [{PLAIN}]}}": "transfer cannot show 'bradley_terry'",
    RUN + "\nencoders: [{label: base}]": "'base' stands twice",
    RUN.replace("base_models: [{label: base, name: tiny, device: cpu, n_parameters: 3e9}]", ""): "names none; add base_models",
    RUN.replace("n_parameters: 3e9", "encoder: e"): "unknown encoder 'e' of base model 'base'",
}  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path, text):
    with pytest.raises(PersonalRMError, match=NASTY[text]) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_two_models_that_could_write_the_personas_are_refused(tmp_path):
    two = MODEL.replace("}]", '}, {label: n, name: n, base_url: "http://127.0.0.1:1/v1"}]')
    with pytest.raises(BadInput, match="2 models could write them; name one in prompts_of"):
        read(tmp_path, RUN + two)
    assert read(tmp_path, RUN.replace("device: cpu", "prompts_of: n") + two).base_models[0].prompts_of == "n"


def test_a_dry_run_counts_the_models_it_would_train_and_the_calls_for_their_personas(people):
    spec = read(people, RUN + MODEL)
    rows = {row.cell: row for row in forecast_run(spec, load_datasets(spec, people))}
    plain, both = rows[Cell("prism-tiny", PLAIN, "base")], rows[Cell("prism-tiny", BOTH, "base")]
    # 2 x 6 of the train users and 4 context pairs of each of the others
    assert (plain.n_trainings, plain.n_training_pairs, plain.n_calls) == (1, 24, 0)
    assert both.n_calls > 100
    assert rows[Cell("prism-tiny", BOTH, "base", control="shuffled_user")].n_trainings == 0


def test_a_pool_that_the_data_cannot_fill_is_refused(people):
    unsplit = (people / "tiny.jsonl").read_text().replace("user_split", "part")
    (people / "tiny.jsonl").write_text(unsplit)
    spec = read(people, RUN.replace("    settings", "    pool: train_users\n    settings"))
    with pytest.raises(BadInput, match="pool train_users of method 'bradley_terry' needs train and dev users"):
        load_bases(spec, load_datasets(spec, people), people)


@pytest.mark.parametrize("pool", ["train_users", "unfiltered"])
def test_a_head_is_not_promised_a_pool_that_folds_do_not_have(people, pool):
    (people / "tiny.jsonl").write_text((people / "tiny.jsonl").read_text().replace("user_split", "part"))
    text = RUN[: RUN.index("methods:")] + "methods: [low_rank]\nencoders: [{label: s}]\n"
    spec = read(people, f"{text}reward_models: [{{method: low_rank, pool: {pool}}}]")
    with pytest.raises(BadInput, match=f"pool {pool} of method 'low_rank' needs train and dev users"):
        load_bases(spec, load_datasets(spec, people), people)


def test_gpo_without_train_users_is_refused_before_anything_is_spent(people):
    (people / "tiny.jsonl").write_text((people / "tiny.jsonl").read_text().replace('"train"', '"dev"'))
    spec = read(people, RUN[: RUN.index("methods:")] + "methods: [gpo]\nencoders: [{label: s}]\n")
    with pytest.raises(BadInput, match="has no train users"):
        load_bases(spec, load_datasets(spec, people), people)


def _without_template(folder):
    from personalrm.testing.tiny_models import tiny_tokenizer

    base_model(folder)
    tokenizer = tiny_tokenizer(template=None)
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        (folder / name).unlink(missing_ok=True)
    tokenizer.save_pretrained(folder)


def _without_weights(folder):
    base_model(folder)
    (folder / "model.safetensors").unlink()


BASES = {
    "missing": (lambda folder: None, "", r"tokenizer 'no/where/near' cannot be loaded"),
    "no template": (_without_template, "", r"has no chat template, so it was never taught conversations"),
    "no weights": (_without_weights, "", r"holds no weights; save the model there"),
    "layers": (base_model, "lora: {targets: [qkv]}", r"has no layers named qkv; name its attention as targets of lora"),
    "setting": (base_model, "learning_rat: 1", r"unknown key 'learning_rat' in settings of reward model 'bradley_terry'"),
    "precision": (base_model, "network: {precision: bfloat16}", r"write it as dtype of the base model"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", BASES)
def test_a_base_model_that_cannot_be_trained_is_refused_before_anything_is_spent(people, case):
    make, settings, message = BASES[case]
    make(people / "tiny")
    text = RUN.replace("name: tiny, device", "name: no/where/near, device") if case == "missing" else RUN
    spec = read(people, text.replace("lora: {rank: 4}", settings or "seed: 0"))
    with pytest.raises(PersonalRMError, match=message) as caught:
        load_bases(spec, load_datasets(spec, people), people)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_package_that_is_missing_is_named_before_anything_is_spent(people, monkeypatch):
    base_model(people / "tiny")
    spec = read(people, RUN)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtra, match=r"peft is not installed; .* -m pip install 'personalrm\[train\]'"):
        load_bases(spec, load_datasets(spec, people), people)


@pytest.mark.slow
def test_a_base_model_without_a_template_is_taken_when_asked_for(people):
    _without_template(people / "tiny")
    spec = read(people, RUN.replace("device: cpu", "device: cpu, plain_template: true"))
    found = load_bases(spec, load_datasets(spec, people), people)
    assert found["base"].path == str(people / "tiny")


@pytest.mark.slow
def test_a_prompt_of_a_file_that_has_seen_a_target_is_refused(people):
    base_model(people / "tiny")
    spec = read(people, RUN.replace("n_parameters: 3e9", "prompts: p.jsonl"))
    datasets = load_datasets(spec, people)
    target = datasets["prism-tiny"].held_out.targets[0]
    prompt = PersonalPrompt(target.user_id, Persona((Claim("Likes it."),)), roles={target.hash: "train"})
    assert len(list(write_prepared(people / "p.jsonl", [PreparedPrompt(prompt)]))) == 1
    with pytest.raises(TargetLeak, match=r"'p.jsonl' of base model 'base' was made from 1 target pairs .*--hold-out"):
        load_bases(spec, datasets, people)
    fine = replace(prompt, roles={})
    assert len(list(write_prepared(people / "p.jsonl", [PreparedPrompt(fine)]))) == 1
    assert load_bases(spec, datasets, people)["base"].prompts_hash


def bytes_of(path):
    """Every file but the times."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.name != "timing.jsonl"
    }


def go(folder, name, *, budget=None):
    """The run in this process, to its end; what became of its cells."""
    spec = read_run_file(folder / "run.yaml")
    models = Models(spec.models, folder / "cache.sqlite", budget=budget, retry=Retry(2, 1, 0.001))
    datasets, run = load_datasets(spec, folder), RunFolder(folder / name / "run")
    bases = load_bases(spec, datasets, folder)
    begin_run(spec, datasets, {}, run, bases=bases)
    return list(Runner(spec, datasets, run, models, {}, bases=bases).run())


def run_command(folder, run):
    """The same by the command."""
    import tests.rewards.tiny  # noqa: F401  # torch with one thread: for another number sums differ in their last bits

    main(["bench", "run", "-c", str(folder / "run.yaml"), "--folder", str(run), "--home", str(folder / "home")])


def kill_in_training(folder, name, cell):
    """The run in a process of its own, killed once a cell's training has a checkpoint."""
    trained = RunFolder(folder / name / "run").model_folder(cell, 0)
    process = start(run_command, folder, folder / name / "run")
    while not (trained / "checkpoint.safetensors").exists():
        assert process.exitcode is None
        time.sleep(0.001)
    process.kill()
    assert exit_code_of(process) == -signal.SIGKILL
    assert not (trained / "training.json").exists()


@pytest.mark.slow
def test_a_run_killed_in_mid_training_goes_on_to_the_same_bytes_and_trains_nothing_twice(people):
    base_model(people / "tiny")
    read(people, RUN)
    kill_in_training(people, "cut", Cell("prism-tiny", BOTH, "base"))
    first = RunFolder(people / "cut" / "run").model_folder(Cell("prism-tiny", PLAIN, "base"), 0)
    trained = (first / "model.safetensors").stat().st_mtime_ns
    assert [report.was_done for report in go(people, "cut")] == [True, True, False, False]
    assert all(report.is_done for report in go(people, "whole"))
    assert (first / "model.safetensors").stat().st_mtime_ns == trained
    cut, whole = people / "cut" / "run", people / "whole" / "run"
    write_report([whole])
    write_report([cut])
    assert bytes_of(cut) == bytes_of(whole)
    assert len(compare_runs(RunFolder(whole), RunFolder(cut))) == 4
    check_reported(cut)


@pytest.mark.slow
def test_personas_are_written_by_the_runs_model_once_and_not_at_all_without_a_budget(people):
    base_model(people / "tiny")
    with FakeServer(skilled(1.0)) as server:
        model = MODEL.replace("http://127.0.0.1:1/v1", server.url).replace("longer, ", "")
        read(people, RUN.replace("epochs: 2", "epochs: 1") + model + "\ntrials: 1")
        reports = {report.cell.method: report for report in go(people, "run", budget=BudgetSpec(max_calls=3))}
        assert reports[PLAIN].is_done
        assert "budget" in reports[BOTH].reason
        assert not list((people / "run").rglob("prepared/*.jsonl"))
        assert all(report.is_done for report in go(people, "run"))
        n_requests = server.log.n_requests
        assert all(report.is_done for report in go(people, "again"))
        assert server.log.n_requests == n_requests
    (prompts,) = (people / "again" / "run" / "prepared").glob("*.jsonl")
    assert set(read_prepared(prompts).whole) == set(PARTS)
    assert read_prepared(prompts).cross_fitted == {}
    (record,) = RunFolder(people / "run" / "run").trainings(Cell("prism-tiny", BOTH, "base"))
    assert record["prompts"] == {"n_pairs_cross_fitted": 0, "n_pairs_told": 24, "n_users": 5, "source": "written by m"}
    assert record["training"]["n_users_told_of"] == 5


def check_reported(path):
    """The run is whole, and its report shows the rows beside the paper's, and what they learned from."""
    assert validate_run(path).is_whole
    assert (state_of(path).state, state_of(path).n_done) == ("finished", 4)
    report = (path / "report.md").read_text()
    row = next(line for line in report.splitlines() if line.startswith("| Bradley-Terry + personas + demonstrations"))
    assert "61.24" in row
    told = next(line for line in report.splitlines() if "everything but targets" in line and "embedded" in line)
    assert "written with the pair itself" in told
    assert not list(path.rglob("checkpoint*"))


def test_a_base_model_needs_no_model_beside_it(tmp_path):
    with pytest.raises(UnknownName, match="unknown method 'bradley_terry_head2'"):
        read(tmp_path, RUN.replace("longer", "bradley_terry_head2"))
    assert read(tmp_path, RUN).models == ()


@pytest.mark.slow  # imports torch
@pytest.mark.parametrize(("own", "expected"), [("{}", "mean"), ("{pooling: last}", "last")])
def test_choices_are_read_with_the_pooling_of_their_encoder_unless_the_method_sets_its_own(tmp_path, own, expected):
    text = f"""
name: tiny
datasets: [{{name: prism-tiny, path: tiny.jsonl}}]
methods: [vpl_lm]
encoders: [{{label: other}}, {{label: small, pooling: mean}}]
base_models: [{{label: base, name: tiny, encoder: small}}]
reward_models: [{{method: vpl_lm, settings: {own}}}]
"""
    spec = read(tmp_path, text)
    base = spec.base_models[0]
    options = options_of(spec, "vpl_lm", seed=0, base=base, encoder=encoder_of(base, spec.encoders))
    assert options.pooling == expected
