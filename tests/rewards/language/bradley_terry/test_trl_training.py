"""Our training against TRL's RewardTrainer, and on several processes."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from benchmarks.reference.trl_training import train_with_trl
from tests.fakes.forked import exit_code_of, imported_by_forked, start
from tests.rewards.tiny import talk, tiny_model, tiny_options, training_pairs

from personalrm.rewards.language.bradley_terry.model import BradleyTerry
from personalrm.rewards.language.user_turns import UserTurn
from personalrm.rewards.reward_model import DevUser
from personalrm.testing import tiny_pair

pytestmark = pytest.mark.slow
imported_by_forked(__name__, "peft")
PAIRS = training_pairs(2, 3)
ASKED, OFFERED = tiny_pair("u9", 99).conversation, ("One.", "Two, and more of it.", "Three!")


@pytest.mark.filterwarnings("ignore")  # TRL's and its packages' own
def test_steps_of_the_same_pairs_end_where_trl_ends(tmp_path: Path) -> None:
    """Every step holds all pairs, so TRL's order cannot matter."""
    options = tiny_options(pairs_a_step=len(PAIRS), epochs=4, sharing="user")
    ours = BradleyTerry(tiny_model(), options).fit(PAIRS)
    theirs = BradleyTerry(tiny_model(), options)
    losses = train_with_trl(theirs, PAIRS, tmp_path)
    assert ours.curve is not None and losses == pytest.approx(ours.curve.losses, abs=2e-4)  # TRL logs rounded losses
    rewards = [one.score(UserTurn(""), ASKED, OFFERED) for one in (ours, theirs)]
    assert np.abs(rewards[0] - rewards[1]).max() <= 1e-4 < np.ptp(rewards[0])


def train_together(rank: int, environment: dict[str, str], base: str, folder: Path) -> None:
    """What one of several processes finds that train together, written to a file of its own."""
    os.environ |= {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
    pairs = [pair for number in range(5) for pair in talk(f"u{number}", number)]
    options = tiny_options(epochs=2, pairs_a_step=8, tokens_at_once=150, check_every=2, checkpoint_every=3)
    model = BradleyTerry(base, options, checkpoint=folder / "run.safetensors")
    model.fit(pairs, dev=[DevUser((), tuple(talk("d", 9)))])
    assert model.curve is not None
    found = [model.curve.losses, model.curve.dev, model.score(UserTurn(""), ASKED, OFFERED).tolist()]
    (folder / f"{rank}.json").write_text(json.dumps(found))


def run_together(n_processes: int, folder: Path) -> list[list[object]]:
    """What each of some processes that train together found, by the environment that `accelerate launch` sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(n_processes)}
    shared |= {"ACCELERATE_USE_CPU": "true"}
    folder.mkdir()
    started = [start(train_together, rank, shared, tiny_model(), folder) for rank in range(n_processes)]
    assert [exit_code_of(process) for process in started] == [0] * n_processes
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(n_processes)]


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    pairs = run_together(2, tmp_path / "two")
    alone = run_together(1, tmp_path / "one")[0]
    assert pairs[0] == pairs[1]
    for found, wanted in zip(pairs[0], alone, strict=True):
        assert np.array(found) == pytest.approx(np.array(wanted), abs=1e-5)


def test_talk_makes_conversations_whose_turns_follow_the_choice() -> None:
    assert [len(pair.conversation) for pair in talk("u", 0)] == [1, 1, 3, 3]
