"""Vectors in fp16, as the store keeps them: what does not fit becomes the largest number that does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from personalrm.embedding.encoders import Vectors

HalfArray = npt.NDArray[np.float16]
LARGEST = float(np.finfo(np.float16).max)
TOLD = (
    f"vectors of the encoder hold values beyond {LARGEST:.0f}, the largest of fp16, which are stored as that; another "
    "layer of the model may have smaller ones"
)


def halved(values: Vectors) -> HalfArray:
    """The values in fp16, little endian."""
    return np.clip(values, -LARGEST, LARGEST).astype("<f2")


def n_beyond(poolings: Sequence[Vectors]) -> int:
    """How many sequences have a vector that does not fit, given arrays `(sequences, dim)`, one a pooling."""
    return int(np.any([(np.abs(values) > LARGEST).any(axis=1) for values in poolings], axis=0).sum())
