"""Who is split how, and settings that mean nothing."""

from collections import Counter

import pytest

from personalrm.datasets.building.model_stages import read_judges
from personalrm.datasets.building.settings import BuildSettings
from personalrm.datasets.building.stages import split_users
from personalrm.errors import BadFile, BadInput, UnknownName


@pytest.mark.parametrize("n", [1, 7, 20, 89, 1004])
def test_a_user_split_keeps_to_its_shares_in_every_range_of_sizes(n):
    sizes = {f"u{k}": 5 + k % 37 for k in range(n)}
    split = split_users(sizes, (0.4, 0.1, 0.5), 0)
    for few, many in ((5, 15), (15, 28), (28, 42)):
        some = [name for name in split if few <= sizes[name] < many]
        assert abs(sum(split[name] == "test" for name in some) - 0.5 * len(some)) <= 10
    assert abs(Counter(split.values())["train"] - 0.4 * n) <= 1


def test_a_user_split_depends_on_the_seed_and_not_on_the_order():
    sizes = {f"u{k}": 5 + k % 7 for k in range(100)}
    turned = dict(reversed(sizes.items()))
    assert split_users(sizes, (0.4, 0.1, 0.5), 0) == split_users(turned, (0.4, 0.1, 0.5), 0)
    assert split_users(sizes, (0.4, 0.1, 0.5), 0) != split_users(sizes, (0.4, 0.1, 0.5), 1)


@pytest.mark.parametrize(
    "settings", [{"min_pairs": 0}, {"shares": (0.5, 0.5, 0.5)}, {"shares": (float("nan"), 0, 1)}, {"kind": "xml"}]
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(BadInput):
        BuildSettings(**settings)


def judges(tmp_path, text):
    (tmp_path / "judges.yaml").write_text(text)
    return read_judges(tmp_path / "judges.yaml")


def test_a_judges_file_names_models_with_their_own_servers(tmp_path):
    one, two = judges(tmp_path, """judges:
  - model: openai/gpt-4o-mini
  - model: mine
    base_url: http://localhost:8000/v1
    scripted: true
""")  # fmt: skip
    assert (one.model.name, one.is_scripted) == ("openai/gpt-4o-mini", False)
    assert (two.model.base_url, two.is_scripted) == ("http://localhost:8000/v1", True)


def test_a_key_of_a_judge_without_a_value_says_nothing(tmp_path):
    (one,) = judges(tmp_path, "judges:\n  - model: a\n    headers:\n    timeout:\n    scripted:\n")
    assert (one.model.headers, one.model.timeout_s, one.is_scripted) == ({}, 120.0, False)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", BadFile, "does not hold a list of judges"),
        ("judges: []", BadFile, "does not hold a list of judges"),
        ("judges: [{model: a}]\nextra: 1", BadFile, "does not hold a list of judges"),
        ("judges: [{modell: a}]", UnknownName, "did you mean 'model'"),
        ("judges: [{base_url: a}]", BadInput, "judge 1 of .* lacks 'model'"),
        ("judges: [a]", BadInput, "judge 1 of .* is a text, not keys and values"),
        ("judges: [{model: a, headers: {X-Team: 3}}]", BadInput, "X-Team of headers of judge 1 of .* write a text"),
        ("judges: [{model: a, model: b}]", BadFile, "key 'model' stands twice"),
        ("judges: " + "[" * 2_000, BadFile, "is not YAML"),
        ("judges: [{model: a, base_ur: x}]", UnknownName, "did you mean 'base_url'"),
        ("judges: [{model: a}, {model: a}]", BadInput, "stands twice"),
        ("judges: [{model: a, timeout: -1}]", BadInput, "seconds above 0"),
        ("judges: [{model: a, scripted: maybe}]", BadInput, "true or false"),
        ("judges: [", BadFile, "is not YAML, line 1"),
    ],
)
def test_a_judges_file_that_cannot_be_meant_is_refused(tmp_path, text, error, said):
    with pytest.raises(error, match=said):
        judges(tmp_path, text)
