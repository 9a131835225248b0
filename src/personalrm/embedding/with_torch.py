"""torch, or a sentence on how to get it: every file that needs torch takes it from here."""

from __future__ import annotations

from personalrm.errors import MissingExtra
from personalrm.wording import install_hint

__all__ = ["Tensor", "nn", "torch"]

try:
    import torch
    from torch import Tensor, nn
except ImportError:
    raise MissingExtra(f"torch is not installed; {install_hint('train')}") from None
