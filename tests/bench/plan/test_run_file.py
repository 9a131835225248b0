"""Run files: what is accepted, and the one sentence for what is not."""

from collections import Counter
from dataclasses import replace

import pytest

from personalrm.bench.plan.cells import left_out, plan_cells
from personalrm.bench.plan.spec import ModelSpec, read_run_file, settings_of, spec_of
from personalrm.errors import BadFile, BadInput, UnknownName

WHOLE = """
name: try
datasets: [{name: people, path: example, min_pairs: 3}]
methods: [random, longer, population, personal, default, persona_and_demonstrations]
models:
  - {label: small, name: s, base_url: "http://localhost:1/v1", family: f, n_parameters: 3e9, scripted: true}
  - {label: large, name: l, base_url: "http://localhost:1/v1", family: f, n_parameters: 70000000000}
seeds: [0, 1]
by_context: {k: [1, 2]}
transfer: {}
families: {seeds: [0, 1, 2]}
"""


def read(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return read_run_file(path)


def test_a_whole_file_is_read_and_its_settings_read_back(tmp_path):
    spec = read(tmp_path, WHOLE)
    assert (spec.models[0].n_parameters, spec.models[1].n_parameters) == (3e9, 7e10)
    assert plan_cells(spec_of(settings_of(spec), "settings")) == plan_cells(spec)


def test_a_method_that_nothing_in_the_file_runs_is_told(tmp_path):
    spec = read(tmp_path, "name: x\ndatasets: [{name: people, path: example}]\nmethods: [random, low_rank, default]\n")
    assert [cell.method for cell in plan_cells(spec)] == ["random"]
    assert [one.split()[0] for one in left_out(spec)] == ["low_rank", "default"]
    assert "one of `encoders`" in left_out(spec)[0] and "one of `models`" in left_out(spec)[1]


def test_settings_hold_no_place_and_no_budget(tmp_path):
    settings = settings_of(read(tmp_path, WHOLE))
    assert "localhost" not in str(settings)
    assert "budget" not in settings


def test_the_plan_has_every_cell_once_with_prompts_before_those_who_need_them(tmp_path):
    cells = plan_cells(read(tmp_path, WHOLE))
    assert len(cells) == len(set(cells)) == len({cell.name for cell in cells})
    taught = [cell for cell in cells if cell.teacher]
    assert len(taught) == 4  # two students, the other one as teacher, two seeds
    own = [replace(cell, model=cell.teacher, teacher=None) for cell in taught]
    assert all(cells.index(teacher) < cells.index(cell) for teacher, cell in zip(own, taught, strict=True))
    controls = Counter(cell.control for cell in cells)
    assert controls["shuffled_user"] == 2 * (1 + 3)  # two seeds: personal, both on three engines
    assert controls["identical"] == 2 * (2 + 2)  # two seeds: default and both on two models
    assert sum(cell.k is not None for cell in cells) == 2 * 2 * (1 + 3)
    assert {cell.seed for cell in cells if cell.method == "default"} == {0, 1, 2}


def test_each_model_is_opened_for_one_stretch_and_once_more_to_judge_by_others(tmp_path):
    models = [cell.model for cell in plan_cells(read(tmp_path, WHOLE))]
    stretches = [one for place, one in enumerate(models) if place == 0 or models[place - 1] != one]
    assert stretches == [None, "embedded", "small", "large", "small", "large"]


NASTY = {
    "name: x\nsedes: [1]": "unknown key 'sedes' in .*; did you mean 'seeds'",
    "datasets: []": "lacks 'name'",
    "- a\n- b": "is a list, not keys and values",
    "": "is empty, not keys and values",
    "name: [": "is not YAML, line 1",
    "name: a\nname: b": "key 'name' stands twice",
    WHOLE.replace("name: try", "name: ../../etc"): "use up to 64 letters",
    WHOLE.replace("name: people", "name: a/b"): "use up to 64 letters",
    WHOLE.replace("longer,", "longr,"): "unknown method 'longr' in the run file; did you mean 'longer'",
    WHOLE.replace("label: large", "label: small"): "label of a model 'small' stands twice",
    WHOLE.replace("label: large", "label: embedded"): "give it a name other than 'embedded'",
    WHOLE.replace("scripted: true", "scripted: yes please"): "scripted of item 1 of models .* is a text; write true",
    WHOLE.replace("3e9", "-1"): "n_parameters of model 'small' is -1.0",
    WHOLE.replace("3e9", ".nan"): "n_parameters of model 'small' is nan",
    WHOLE.replace("seeds: [0, 1]", "seeds: [0, -1]"): "whole numbers of at least 0",
    WHOLE.replace("seeds: [0, 1]", "seeds: 3"): "seeds of .* is a whole number; write a list",
    WHOLE.replace("seeds: [0, 1]", "seeds: [true]"): "item 1 of seeds of .* is true or false; write a whole number",
    WHOLE.replace("k: [1, 2]", "k: []"): "by_context needs different numbers",
    WHOLE.replace("k: [1, 2]", "k: [1, 2], models: [huge]"): "unknown model 'huge' .*known: embedded, large, small",
    WHOLE.replace("transfer: {}", "transfer: {teachers: [embedded]}"): "unknown model 'embedded'",
    WHOLE.replace("random,", "just_persona_distill,"): "needs a model with a persona_prompt",
    WHOLE.replace("min_pairs: 3", "min_pairs: 0"): "must be at least 1",
    WHOLE.replace("min_pairs: 3", "users: everyone"): "use train, dev, test or all",
    WHOLE.replace("http://localhost:1/v1", "http://me:secret@host/v1"): "holds a login",
    "name: &a [*a]\ndatasets: []\nmethods: []": "name of .* is a list",
    "name: try\n? [1, 2]\n: 3": "not YAML, line 2",
}


@pytest.mark.parametrize("text", NASTY)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, text):
    with pytest.raises((BadInput, UnknownName, BadFile), match=NASTY[text]) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_none_is_refused(tmp_path):
    with pytest.raises(BadFile, match="cannot be read"):
        read_run_file(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    with pytest.raises(BadFile, match="UnicodeDecodeError"):
        read_run_file(tmp_path / "latin.yaml")
    with pytest.raises(BadFile):
        read_run_file(tmp_path)


def test_deep_nesting_and_code_are_refused(tmp_path):
    with pytest.raises(BadFile, match="not YAML"):
        read(tmp_path, "name: " + "[" * 2_000)
    with pytest.raises(BadFile, match="not YAML"):
        read(tmp_path, "name: !!python/object/apply:os.system [echo]")


def test_a_model_is_printed_without_a_key():
    assert "key_variable='K'" in repr(ModelSpec("a", "b", key_variable="K"))
