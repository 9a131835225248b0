"""Where a language model is trained and scores: accelerate picks a GPU where there is one, unless it is kept off."""

from __future__ import annotations

import gc
from typing import Literal, get_args

from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput, MissingExtra
from personalrm.wording import absence

Device = Literal["auto", "cpu", "cuda"]


def placed(device: Device) -> torch.device:
    """Where a network goes: `auto` is a GPU where there is one.

    Raises:
        BadInput: If a GPU is asked for and there is none.
    """
    has_gpu = torch.cuda.is_available()
    if device not in get_args(Device):
        raise BadInput(f"unknown device {device!r}; use one of {', '.join(get_args(Device))}")
    if device == "cuda" and not has_gpu:
        raise BadInput("device 'cuda' is not there: torch finds no GPU; use auto or cpu")
    return torch.device("cuda" if has_gpu and device != "cpu" else "cpu")


def train_on(device: Device) -> None:
    """Make accelerate train there; whatever it is told first holds for the whole process.

    Raises:
        BadInput: If the device is not there, or this process already trains on another.
        MissingExtra: If accelerate is not installed.
    """
    try:
        from accelerate import PartialState
    except (ImportError, OSError, MemoryError) as error:
        raise MissingExtra(absence(error, "accelerate", "train")) from None
    wanted = placed(device).type
    if PartialState(cpu=wanted == "cpu").device.type != wanted:
        raise BadInput(f"this process already trains elsewhere than on {wanted!r}; train there in another process")


def free_memory() -> None:
    """Give back what models that nobody holds any more took, on a GPU too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
