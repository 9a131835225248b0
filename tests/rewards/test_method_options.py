"""Settings of a method from a file: what is named differs, all else stays the method's own."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from personalrm.errors import BadInput
from personalrm.rewards.methods import REWARD_MODELS, reward_method


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize(
    "name", [name for name, one in REWARD_MODELS.items() if one.has_published and not one.trains_language_model]
)
def test_a_group_named_in_part_keeps_the_rest_of_the_methods_own(name, faithful):
    own = reward_method(name).options({}, where="test", faithful=faithful)
    told = reward_method(name).options({"optimization": {"n_steps": 40}}, where="test", faithful=faithful)
    assert told == replace(own, optimization=replace(own.optimization, n_steps=40))


def test_published_adapters_keep_what_is_not_named():
    lora = reward_method("vpl_lm").options({"lora": {"rank": 4}}, where="test", faithful=True).lora
    assert (lora.rank, lora.alpha, lora.dropout) == (4, 256.0, 0.1)


def test_a_list_is_no_settings():
    with pytest.raises(BadInput, match="not keys and values"):
        reward_method("low_rank").options([1, 2], where="settings.yaml")


def test_more_bases_than_fit_in_memory_are_refused():
    with pytest.raises(BadInput, match="more than 1,000"):
        reward_method("low_rank").options({"n_bases": 100_000}, where="test")


def _settings(options):
    flow = yaml.safe_dump(options, default_flow_style=True, sort_keys=False, width=10_000)
    return flow.strip().removeprefix("{").removesuffix("}")


def _rows():
    """The rows of the table of settings in docs/reward-models.md, as the classes have them."""
    given_by_flags = {method.with_base: f"`{method.name} --base`, " for method in REWARD_MODELS.values()}
    rows = []
    for name, method in REWARD_MODELS.items():
        options = asdict(method.options({}, where=name))
        if method.part:
            options |= {method.part: {"as": "bt"}}
        if not method.variant_of:
            called = given_by_flags.get(name, "") + f"`{method.short or name}`"
            rows.append(f"| {called} | `{_settings(options)}` |")
    return rows


def test_the_docs_list_every_setting_with_its_default():
    page = (Path(__file__).parents[2] / "docs" / "reward-models.md").read_text(encoding="utf-8")
    missing = [row for row in _rows() if row not in page]
    assert not missing, "docs/reward-models.md lacks:\n" + "\n".join(missing)
