"""Who stops a training, and by which of their pairs."""

import pytest

from personalrm.preferences.users import User
from personalrm.testing import tiny_pair

pytestmark = pytest.mark.slow  # rewards import torch
PARTS = ["train"] * 3 + ["validation"] * 2 + ["target"] * 2


def test_rows_the_data_calls_targets_stop_no_training():
    from personalrm.rewards.trained import divided

    users = [User(f"u{n}", tuple(tiny_pair(f"u{n}", k, split=PARTS[k]) for k in range(7))) for n in range(20)]
    _, dev = divided(users, 50)
    assert dev
    assert {pair.split for one in dev for pair in one.context} == {"train"}
    assert {pair.split for one in dev for pair in one.targets} == {"validation"}
