"""torch, or a sentence on how to get it: every file that needs torch takes it from here."""

from __future__ import annotations

from personalrm.errors import MissingExtra

__all__ = ["torch"]

try:
    import torch
except ImportError:
    raise MissingExtra("torch is not installed; pip install 'personalrm[train]'") from None
