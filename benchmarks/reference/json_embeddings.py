"""Embeddings as the originals keep them: a JSON list of floats a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def write(path: Path, vectors: Any) -> None:
    """One line a vector."""
    with open(path, "w", encoding="ascii") as file:
        for vector in vectors.tolist():
            file.write(json.dumps({"embedding": vector}) + "\n")


def read(path: Path) -> Any:
    """All vectors, shape `(rows, dim)`."""
    with open(path, encoding="ascii") as file:
        return np.array([json.loads(line)["embedding"] for line in file], dtype=np.float16)
