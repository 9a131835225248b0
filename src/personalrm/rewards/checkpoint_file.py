"""A checkpoint as it is read back: safetensors whose metadata say which run it is of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from personalrm.embedding.with_torch import torch
from personalrm.errors import CorruptFile


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def read_tensors(file: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Metadata and tensors of a checkpoint.

    Raises:
        CorruptFile: If it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        opened: Any = safe_open(file, framework="pt")
        with opened as content:
            return dict(content.metadata()), {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise CorruptFile(
            f"checkpoint {str(file)!r} cannot be read ({type(error).__name__}); remove it to start anew"
        ) from None
