"""Tiny models on disk, made once a test run, and options that train them in a second."""

from __future__ import annotations

import os
import signal
import tempfile
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from personalrm.embedding.quiet_loading import quiet_loading
from personalrm.preferences.messages import Message
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.language.bradley_terry.model import BradleyTerry
from personalrm.rewards.language.bradley_terry.network import BradleyTerryOptions, NetworkOptions
from personalrm.rewards.language.lora import Lora
from personalrm.rewards.language.vpl_lm.network import LanguageVPLOptions
from personalrm.testing import tiny_pair
from personalrm.testing.tiny_models import save_tiny_model

torch.set_num_threads(1)


@cache
def tiny_model(seed: int = 0) -> str:
    """Path of a random Llama; the folder goes when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="personalrm-tiny-")
    KEPT.append(folder)
    with quiet_loading():
        return save_tiny_model(Path(folder.name), seed=seed)


KEPT: list[tempfile.TemporaryDirectory[str]] = []


def tiny_options(**fields: Any) -> BradleyTerryOptions:
    """Options for tiny models; `network` fields by name."""
    network = NetworkOptions(**{name: fields.pop(name) for name in ("attention", "head_start") if name in fields})
    quick: dict[str, Any] = {"lora": Lora(4, 8.0), "learning_rate": 3e-2, "pairs_a_step": 4}
    return BradleyTerryOptions(network=network, **(quick | fields))


def tiny_model_of(**fields: Any) -> BradleyTerry:
    """An unfitted model with tiny options."""
    return BradleyTerry(tiny_model(), tiny_options(**fields))


def die_after(n_steps: int) -> None:
    """Have this process kill itself once its optimizers have taken so many steps."""
    steps = count(1)

    def hook(*_: Any) -> None:
        if next(steps) == n_steps:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_post_hook(hook)


def talk(user_id: str, number: int, n_turns: int = 2) -> list[PreferencePair]:
    """The pairs of one conversation: three completions a turn, the chosen one goes on."""
    turns: tuple[Message, ...] = ()
    pairs = []
    for turn in range(n_turns):
        turns = (*turns, Message("user", f"Question {number}.{turn}, in some words?"))
        chosen = f"A short answer to {number}.{turn}."
        for other in range(2):
            rejected = f"A answer that goes on and on, {other}, to {number}.{turn}."
            pairs.append(PreferencePair(user_id, turns, chosen, rejected, conversation_id=f"c{number}"))
        turns = (*turns, Message("assistant", chosen))
    return pairs


def training_pairs(n_users: int = 4, n_pairs: int = 3) -> list[PreferencePair]:
    """Users who like short answers, all of them."""
    return [tiny_pair(f"u{user}", 10 * user + k) for user in range(n_users) for k in range(n_pairs)]


def tiny_vpl_options(**fields: Any) -> LanguageVPLOptions:
    """Options of VPL over a tiny model."""
    quick: dict[str, Any] = {
        "width": 16, "latent": 4, "n_contexts": 3, "lora": Lora(4, 8.0), "learning_rate": 1e-2,
        "head_learning_rate": 1e-2, "pairs_a_step": 4,
    }  # fmt: skip
    return LanguageVPLOptions(**(quick | fields))
