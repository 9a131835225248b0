from __future__ import annotations

import json

import pytest

from personalrm.cli import main
from personalrm.preferences.people import example_path

ROW = {
    "user_id": "mara",
    "prompt": "How do I clean it?",
    "first": "Mix bleach.",
    "second": "Take soap and water, rinse well.",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("policy") / "home"
    assert main(["fit", str(example_path()), "--home", str(home)]) == 0
    return str(home)


def judge(capsys, tmp_path, home: str, policy: str | None) -> tuple[int, str, str]:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    extra = ["--policy", str(tmp_path / "rules.yaml")] if policy is not None else []
    if policy:
        (tmp_path / "rules.yaml").write_text(policy, encoding="utf-8")
    code = main(["judge", str(tmp_path / "rows.jsonl"), "--home", home, *extra])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_verdict_that_breaks_a_rule_is_vetoed_and_others_stand(capsys, tmp_path, home):
    assert judge(capsys, tmp_path, home, None)[1].startswith("1  mara  first")
    code, out, _ = judge(capsys, tmp_path, home, "poison: mix bleach\n")
    assert (code, "unscored: vetoed: rule 'poison'" in out) == (3, True)
    assert judge(capsys, tmp_path, home, "poison: soap\n")[1].startswith("1  mara  first")


@pytest.mark.parametrize(
    "policy",
    [
        "",
        "- a\n",
        "poison: 3\n",
        "poison: '('\n",
        "a: [",
        "poison: ''\n",
        "just text\n",
        "poison: a\npoison: b\n",
        "1: a\n'1': b\n",
        "a: 'x{99999999999}'\n",
    ],
)
def test_a_policy_without_usable_rules_is_refused_before_anything_is_judged(capsys, tmp_path, home, policy):
    code, out, err = judge(capsys, tmp_path, home, policy)
    assert (code, out, err.count("\n")) == (2, "", 1)
