"""Settings of a method from a file: what is named differs, all else stays the method's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from personalrm.errors import BadInput
from personalrm.rewards.methods import reward_method


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("name", ["gpo", "vpl", "pal"])
def test_a_group_named_in_part_keeps_the_rest_of_the_methods_own(name, faithful):
    own = reward_method(name).options({}, where="test", faithful=faithful)
    told = reward_method(name).options({"optimization": {"n_steps": 40}}, where="test", faithful=faithful)
    assert told == replace(own, optimization=replace(own.optimization, n_steps=40))


def test_published_adapters_keep_what_is_not_named():
    lora = reward_method("vpl_lm").options({"lora": {"rank": 4}}, where="test", faithful=True).lora
    assert (lora.rank, lora.alpha, lora.dropout) == (4, 256.0, 0.1)


def test_more_bases_than_fit_in_memory_are_refused():
    with pytest.raises(BadInput, match="more than 1,000"):
        reward_method("low_rank").options({"n_bases": 100_000}, where="test")
