"""torch, or a sentence on how to get it: every file that needs torch takes it from here."""

from __future__ import annotations

from personalrm.errors import MissingExtra
from personalrm.wording import absence

__all__ = ["Tensor", "nn", "torch"]

try:
    import torch
    from torch import Tensor, nn
except (ImportError, OSError, MemoryError) as error:  # where memory is short the linker says so in any of them
    raise MissingExtra(absence(error, "torch", "train")) from None
