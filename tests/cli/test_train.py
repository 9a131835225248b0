"""`train` and `score`: a head on embeddings, and a language model with LoRA."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from personalrm.cli import build_parser
from personalrm.preferences.people import example_path
from personalrm.rewards.methods import REWARD_MODELS, names_of
from personalrm.testing import tiny_users, write_pairs
from personalrm.testing.tiny_models import save_tiny_model

pytestmark = pytest.mark.slow
DRAFTS = {
    "user_id": "henrik",
    "prompt": "Is it worth repairing?",
    "completions": ["Yes. Do it.", "It might be worth it."],
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("base"))


@pytest.fixture
def drafts(tmp_path):
    path = tmp_path / "drafts.jsonl"
    path.write_text(json.dumps(DRAFTS) + "\n")
    return path


def train(run, tmp_path, method, *more):
    return run("train", method, example_path(), "--out", tmp_path / "model", "--home", tmp_path / "home", *more)


def score(run, tmp_path, drafts, *more):
    code, out, err = run(
        "score", drafts, "--model-folder", tmp_path / "model", "--home", tmp_path / "home",
        "--context", example_path(), "--json", *more,
    )  # fmt: skip
    assert code == 0, err
    return json.loads(out)["rewards"]


@pytest.mark.parametrize("method", ["bradley_terry_head", "low_rank", "soup", "two_level", "pal", "vpl"])
def test_a_head_is_trained_saved_and_asked(run, tmp_path, drafts, method):
    settings = tmp_path / "settings.yaml"
    settings.write_text("optimization: {n_steps: 5}\n" if method in ("pal", "vpl") else "n_iterations: 20\n")
    code, out, err = train(run, tmp_path, method, "-c", settings, "--dev-percent", "30", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["n_dev_users"] > 0 and report["n_pairs"] > 50
    assert len(score(run, tmp_path, drafts)) == 2
    assert (tmp_path / "model" / "README.md").read_text().startswith("# ")


@pytest.mark.parametrize(("method", "is_told"), [("two_level", False), ("low_rank", True)])
def test_a_card_says_whether_the_held_out_users_had_a_part_in_training(run, tmp_path, method, is_told):
    train(run, tmp_path, method)
    card = (tmp_path / "model" / "README.md").read_text()
    assert "held-out pairs of" in card and ("who also stopped the training" in card) == is_told


def test_somebody_without_context_is_the_average_user(run, tmp_path, drafts):
    train(run, tmp_path, "low_rank")
    code, out, _ = run(
        "score", drafts, "-u", "nobody", "--model-folder", tmp_path / "model", "--home", tmp_path / "home"
    )
    assert code == 0 and "the average user" in out


def test_a_language_model_is_trained_and_asked(run, tmp_path, drafts, base):
    settings = tmp_path / "settings.yaml"
    settings.write_text("max_tokens: 64\npairs_a_step: 64\n")
    code, out, err = train(run, tmp_path, "bt", "--base", base, "-c", settings, "--history", "2", "--json")
    assert code == 0, err
    assert json.loads(out)["method"] == "bradley_terry"
    assert len(score(run, tmp_path, drafts, "--history", "2")) == 2


def test_vpl_over_a_language_model_is_trained_and_asked(run, tmp_path, drafts, base):
    settings = tmp_path / "settings.yaml"
    settings.write_text("max_tokens: 64\npairs_a_step: 64\nepochs: 1\nlora: {rank: 4, alpha: 8}\nn_contexts: 2\n")
    more = ("--base", base, "-c", settings, "--faithful", "--dev-percent", "30", "--json")
    code, out, err = train(run, tmp_path, "vpl", *more)
    assert code == 0, err
    report = json.loads(out)
    assert report["method"] == "vpl_lm" and report["n_dev_targets"] > 0
    saved = json.loads((tmp_path / "model" / "model.json").read_text())["options"]
    assert (saved["lora"]["rank"], saved["latent"], saved["projection"]) == (4, 512, True)
    assert len(score(run, tmp_path, drafts)) == 2
    assert "active units" in (tmp_path / "model" / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["vlp"], "did you mean 'vpl'"),
        (["vpl_lm"], "pass --base"),
        (["gpo", "--base", "./missing"], "leave the base model './missing' out"),
        (["vpl", "--base", "./missing"], "missing"),
        (["vpl", "--history", "2"], "vpl reads their choices itself"),
        (["bt"], "pass --base"),
        (["bt", "--base", "./missing"], "missing"),
        (["bt", "--base", "./missing", "--encoder", "stylometric"], "leave --encoder 'stylometric' out"),
        (["bt", "--base", "./missing", "--demonstrations"], "pass --prompts too"),
        (["bt", "--base", "./missing", "--faithful"], "leave --faithful out"),
        (["bt_soup", "--base", "./missing", "--faithful"], "leave --faithful out"),
        (["low_rank", "--faithful"], "leave --faithful out"),
        (["gpo", "--demonstrations"], "gpo reads their choices itself"),
        (["low_rank", "-c", "none.yaml"], "cannot be read"),
        (["low_rank", "--dev-percent", "100"], "above 99"),
        (["low_rank", "--encoder", "./no-such-model"], "no-such-model"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_sentence(run, tmp_path, arguments, told):
    code, _, err = train(run, tmp_path, *arguments)
    assert code in (1, 2) and told in err and "Traceback" not in err
    assert not (tmp_path / "model" / "training.json").exists()


def test_a_misspelt_setting_is_refused_with_the_right_one(run, tmp_path):
    settings = tmp_path / "settings.yaml"
    settings.write_text("n_bsaes: 3\n")
    code, _, err = train(run, tmp_path, "low_rank", "-c", settings)
    assert code == 2 and "did you mean 'n_bases'?" in err


@pytest.mark.parametrize("damage", ["absent", "cut"])
def test_a_folder_without_a_whole_model_is_refused(run, tmp_path, drafts, damage):
    if damage == "cut":
        train(run, tmp_path, "low_rank")
        file = tmp_path / "model" / "model.safetensors"
        file.write_bytes(file.read_bytes()[:20])
    code, _, err = run("score", drafts, "--model-folder", tmp_path / "model", "--home", tmp_path / "home")
    assert code in (1, 2) and "model" in err and "Traceback" not in err


def test_a_bad_row_is_told_before_anything_is_scored(run, tmp_path, drafts):
    train(run, tmp_path, "low_rank")
    Path(drafts).write_text(json.dumps(DRAFTS) + "\n" + json.dumps({**DRAFTS, "completions": []}) + "\n")
    code, out, err = run("score", drafts, "--model-folder", tmp_path / "model", "--home", tmp_path / "home")
    assert code == 2 and out == "" and "line 2" in err


def test_a_sweep_keeps_the_settings_the_dev_users_like_best(run, tmp_path):
    grid = tmp_path / "grid.yaml"
    grid.write_text("n_bases: [1, 2]\nstrength: [0.5, 2.0]\n")
    code, _, err = train(run, tmp_path, "low_rank", "--sweep", grid, "--dev-percent", "30", "--json")
    losses = [float(line.split()[1].strip(",")) for line in err.splitlines() if line.startswith("  loss")]
    assert code == 0 and len(losses) == 4
    saved = json.loads((tmp_path / "model" / "model.json").read_text())["options"]
    assert f"'n_bases': {saved['n_bases']}" in err.splitlines()[losses.index(min(losses))]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("n_bases: 4\n", "write a list"),
        ("n_bases: []\n", "write a list"),
        ("n_bsaes: [1]\n", "did you mean 'n_bases'"),
        ("n_bases: [" + ", ".join(["1"] * 1001) + "]\n", "1,001 combinations"),
    ],
)
def test_a_grid_that_cannot_be_tried_is_refused(run, tmp_path, text, told):
    (tmp_path / "grid.yaml").write_text(text)
    code, _, err = train(run, tmp_path, "low_rank", "--sweep", tmp_path / "grid.yaml", "--dev-percent", "30")
    assert code == 2 and told in err


def test_what_no_training_left_in_a_folder_is_not_replaced(run, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "README.md").write_text("mine")
    code, _, err = train(run, tmp_path, "low_rank")
    assert code == 2 and "name another folder" in err
    assert (tmp_path / "model" / "README.md").read_text() == "mine"


@pytest.mark.parametrize("left", ["model.safetensors", "model.json.tmp", ".new-abc", "checkpoint.safetensors.tmp"])
def test_a_folder_in_which_a_training_was_killed_may_be_trained_in_again(run, tmp_path, left):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "begun.json").write_text("{}")
    (tmp_path / "model" / left).write_bytes(b"cut")
    code, _, err = train(run, tmp_path, "bradley_terry_head")
    assert code == 0, err


def test_the_weights_of_somebody_else_are_not_replaced(run, tmp_path, base):
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_bytes((Path(base) / name).read_bytes())
        code, _, err = train(run, tmp_path, "low_rank")
        assert code == 2 and "no training left there" in err
        assert (tmp_path / "model" / name).read_bytes() == (Path(base) / name).read_bytes()


def test_a_finished_model_of_other_people_or_settings_is_not_replaced(run, tmp_path):
    assert train(run, tmp_path, "two_level")[0] == 0
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    assert not (tmp_path / "model" / "begun.json").exists()
    others = write_pairs(tmp_path / "others.jsonl", [pair for user in tiny_users(8) for pair in user])
    (tmp_path / "s.yaml").write_text("n_iterations: 3\n")
    for arguments in ((others,), (example_path(), "--dev-percent", "40"), (example_path(), "-c", tmp_path / "s.yaml")):
        code, _, err = run("train", "two_level", *arguments, "--out", tmp_path / "model", "--home", tmp_path / "home")
        assert code == 2 and "holds a finished model of other data or settings" in err, err
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    assert train(run, tmp_path, "two_level")[0] == 0


def test_a_folder_that_cannot_be_made_is_refused_before_training(run, tmp_path):
    (tmp_path / "model").write_text("a file")
    code, _, err = train(run, tmp_path, "low_rank")
    assert code == 1 and "cannot be used" in err and "step" not in err


class Unsaved:
    """A model whose saving is cut off."""

    def save(self, folder):
        raise OSError("disk full")


def test_a_model_that_is_replaced_is_none_until_its_report_is_there(run, tmp_path):
    from personalrm.rewards.trained import save_trained

    assert train(run, tmp_path, "bradley_terry_head")[0] == 0
    with pytest.raises(OSError, match="disk full"):
        save_trained(Unsaved(), None, [], [], tmp_path / "model")
    assert not (tmp_path / "model" / "training.json").exists()


def test_a_model_of_another_method_is_not_replaced(run, tmp_path):
    assert train(run, tmp_path, "two_level")[0] == 0
    code, _, err = train(run, tmp_path, "low_rank")
    assert code == 2 and "holds a model of 'two_level'" in err
    assert train(run, tmp_path, "two_level")[0] == 0
    assert json.loads((tmp_path / "model" / "training.json").read_text())["method"] == "two_level"


def test_a_card_of_what_is_the_same_for_everybody_says_so(run, tmp_path):
    assert train(run, tmp_path, "bradley_terry_head")[0] == 0
    assert "the same for everybody" in (tmp_path / "model" / "README.md").read_text()


def test_without_held_out_users_nothing_is_claimed(run, tmp_path):
    code, out, _ = train(run, tmp_path, "two_level", "--dev-percent", "0")
    assert code == 0 and "no user was held out" in out


def test_every_method_has_a_command_in_the_docs_that_can_be_typed():
    text = (Path(__file__).parents[2] / "docs" / "reward-models.md").read_text(encoding="utf-8")
    commands = [line.strip("`").split()[1:] for line in text.splitlines() if line.startswith("`personalrm train ")]
    methods = [build_parser().parse_args(command).method for command in commands]
    assert sorted(set(methods)) == sorted(names_of(REWARD_MODELS.values()))


def test_a_soup_of_adapters_is_trained_and_asked(run, tmp_path, drafts, base):
    settings = tmp_path / "settings.yaml"
    settings.write_text("n_clusters: 2\nadapters: {max_tokens: 64, pairs_a_step: 64}\n")
    code, out, err = train(run, tmp_path, "bt_soup", "--base", base, "-c", settings, "--dev-percent", "30")
    assert code == 0 and "own minus another user's state" in out, err
    assert "bt_soup, everybody's model: step 1 of" in err and "bt_soup, adapter 2 of 2: step" in err
    assert len(score(run, tmp_path, drafts)) == 2
    card = (tmp_path / "model" / "README.md").read_text()
    assert "2 adapters, one a cluster of users" in card and "On dev users" in card
    assert not list((tmp_path / "model").glob("checkpoint*"))


@pytest.mark.parametrize("more", [["--history", "2"], ["--demonstrations"], []])
def test_a_soup_is_told_nothing_in_words_and_wants_a_base(run, tmp_path, base, more):
    code, _, err = train(run, tmp_path, "bt_soup", *(["--base", base] if more else []), *more)
    assert code == 2 and ("leave --prompts" in err if more else "pass --base" in err)


def test_a_language_model_scores_the_same_where_it_is_told_to(run, tmp_path, drafts, base):
    settings = tmp_path / "settings.yaml"
    settings.write_text("lora: {rank: 4, alpha: 8}\nepochs: 1\nmax_tokens: 96\n")
    assert train(run, tmp_path, "bt", "--base", base, "-c", settings, "--device", "cpu")[0] == 0
    assert score(run, tmp_path, drafts, "--device", "cpu") == score(run, tmp_path, drafts, "--device", "auto")


@pytest.mark.parametrize("method", ["bt", "low_rank"])
@pytest.mark.parametrize("device", ["tpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused_in_a_sentence(run, tmp_path, base, method, device):
    named = ("--base", base) if method == "bt" else ("--encoder", base)
    code, _, err = train(run, tmp_path, method, *named, "--device", device)
    assert code == 2 and repr(device) in err and "Traceback" not in err


def test_pairs_that_are_cut_to_the_same_are_left_out_and_told(run, tmp_path, base):
    long = "green tea " * 120
    rows = [
        {"user_id": f"u{n % 4}", "prompt": f"Story {n}", "chosen": f"{long}A{long}" if n % 2 else "Short.",
         "rejected": f"{long}B{long}" if n % 2 else "It depends on many things."}
        for n in range(12)
    ]  # fmt: skip
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "s.yaml").write_text("max_tokens: 64\nlora: {rank: 4, alpha: 8}\n")
    command = ("train", "bt", tmp_path / "p.jsonl", "--base", base, "-c", tmp_path / "s.yaml")
    code, out, err = run(*command, "--out", tmp_path / "m", "--home", tmp_path / "home")
    assert code == 0, err
    assert "6 pairs left out: as the model reads them, both completions are the same" in out
    assert json.loads((tmp_path / "m" / "training.json").read_text())["n_identical"] == 6
