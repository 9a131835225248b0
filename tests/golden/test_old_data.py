"""What version 0.1.0 wrote before the clean-up of its code is read: home, run, kept answers, models, prepared prompts.

Nothing serves the model here, so what is answered at all is answered from the answers that were kept.
"""

import json
import shutil
from pathlib import Path

import pytest
from tests.fakes.people import versions
from tests.golden.identities import differences, run
from tests.golden.make_old_data import FIT, JUDGE, MODELS, PRINTED, RANK, opened, rewards_of

from personalrm.errors import StoreError
from personalrm.preferences.prompt_json import prompt_to_json
from personalrm.store.people import PeopleStore

pytestmark = pytest.mark.slow


@pytest.fixture
def old():
    """What the old version printed; the working folder holds its data."""
    with opened() as folder:
        yield json.loads((folder / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", PRINTED)
def test_a_command_prints_the_same_of_old_data(old, name):
    assert run(*PRINTED[name]) == old["printed"][name]


@pytest.mark.usefixtures("old")
def test_users_are_fitted_again_from_kept_answers_to_the_same_bytes():
    Path("fresh").mkdir()
    shutil.copy("home/cache.sqlite", "fresh/cache.sqlite")
    run(*FIT, "--home", "fresh")
    before, fresh = PeopleStore("home"), PeopleStore("fresh")
    assert len(fresh.user_ids()) == 2
    for user_id in fresh.user_ids():
        assert prompt_to_json(fresh.load(user_id)) == prompt_to_json(before.load(user_id))


@pytest.mark.usefixtures("old")
def test_a_user_who_was_fitted_is_not_fitted_again():
    before = versions("home")
    Path("home/cache.sqlite").unlink()
    run(*FIT, "--home", "home")
    assert versions("home") == before


@pytest.mark.usefixtures("old")
def test_a_home_of_that_version_is_named_as_one():
    Path("earlier/users").mkdir(parents=True)
    Path("earlier/index.jsonl").write_text("")
    with pytest.raises(StoreError, match="made by an earlier personalrm"):
        PeopleStore("earlier").user_ids()


def test_answers_that_a_killed_process_left_are_not_asked_again(old):
    assert list(Path("home").glob("cache.sqlite.arrived-*"))
    assert run(*RANK) == old["rank"]


def test_a_judge_answers_from_kept_answers_after_the_left_ones_were_taken_over(old):
    run(*RANK)
    assert run(*JUDGE) == old["printed"]["judge"]


@pytest.mark.parametrize("name", MODELS)
def test_an_old_model_gives_its_rewards(old, name):
    assert list(differences(old["rewards"][name], rewards_of(name), name)) == []


def test_the_tables_of_an_old_run_are_what_they_were(old):
    """Headings and notes may be put in other words, rows may not."""
    run("bench", "report", "run", "--output", "report")
    texts = (Path("report/report.md").read_text(encoding="utf-8"), old["report"])
    now, before = ([line for line in text.splitlines() if line.startswith("|")] for text in texts)
    assert now == before


@pytest.mark.usefixtures("old")
def test_an_old_run_goes_on_to_the_same_bytes_from_kept_answers_and_trained_models():
    cells = {path: path.read_bytes() for path in sorted(Path("run/judgements").iterdir())}
    weights = [path.stat().st_mtime_ns for path in sorted(Path("run/trained").rglob("model.safetensors"))]
    for path in cells:
        path.unlink()
    run("bench", "run", "-c", "run.yaml", "--folder", "run", "--home", "home", "--attempts", "1")
    assert sorted(Path("run/judgements").iterdir()) == sorted(cells)
    for path, content in cells.items():
        is_trained = any(name in path.name for name in ("low_rank", "bradley_terry"))
        assert is_trained or path.read_bytes() == content, path.name
    assert [path.stat().st_mtime_ns for path in sorted(Path("run/trained").rglob("model.safetensors"))] == weights


@pytest.mark.usefixtures("old")
def test_an_old_run_is_the_same_as_itself_in_a_comparison():
    assert run("bench", "compare", "run", "run")


@pytest.mark.usefixtures("old")
def test_a_model_is_trained_with_old_prepared_prompts():
    Path("quick.yaml").write_text("{max_tokens: 64, pairs_a_step: 16, epochs: 1, lora: {rank: 2}}", encoding="utf-8")
    more = ("--base", "tiny", "-c", "quick.yaml", "--dev-percent", "0", "--prompts", "prompts.jsonl")
    run("train", "bt", "few.jsonl", "--out", "again", *more, "--home", "home")
    record = json.loads(Path("again/model.json").read_text(encoding="utf-8"))
    assert (record["knows"], record["training"]["n_users_told_of"]) == ("persona", 1)
