"""torch and transformers, or a sentence on how to get them: every file that needs them takes them from here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from personalrm.errors import BadInput, MissingExtra
from personalrm.wording import absence

__all__ = ["Device", "Tensor", "nn", "packages_of", "placed", "torch"]

try:
    import torch
    from torch import Tensor, nn
except (ImportError, OSError, MemoryError) as error:  # where memory is short the linker says so in any of them
    raise MissingExtra(absence(error, "torch", "train")) from None

Device = Literal["auto", "cpu", "cuda"]


@contextmanager
def packages_of(extra: str) -> Iterator[None]:
    """Where packages of an extra are imported: one that is missing or cannot be loaded is named, with what to do."""
    try:
        yield
    except (ImportError, OSError, MemoryError) as error:
        package = getattr(error, "name", None) or f"a package of the extra {extra!r}"
        raise MissingExtra(absence(error, package, extra)) from None


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
