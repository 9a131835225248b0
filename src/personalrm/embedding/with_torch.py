"""torch, or a sentence on how to get it: every file that needs torch takes it from here."""

from __future__ import annotations

from personalrm.errors import MissingExtra

__all__ = ["Tensor", "nn", "torch"]

try:
    import torch
    from torch import Tensor, nn
except ImportError:
    raise MissingExtra("torch is not installed; pip install 'personalrm[train]'") from None
