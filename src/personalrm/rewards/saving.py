"""A trained model as two files: `model.json` says what it is, `model.safetensors` holds the numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from personalrm.errors import BadInput, CorruptFile, MissingExtra, NewerVersion, StoreError

VERSION = 1
Arrays = Mapping[str, npt.NDArray[Any]]


def write_model(folder: str | Path, kind: str, facts: Mapping[str, Any], arrays: Arrays) -> None:
    """Write both files, each whole or not at all; the JSON last, so a model that has one is complete.

    Args:
        folder: Made if need be.
        kind: The method's name; `read_model` wants the same.
        facts: Options and the encoder's identity, plain JSON.
        arrays: The numbers.

    Raises:
        StoreError: If the folder cannot be written.
        MissingExtra: If safetensors is not installed.
    """
    try:
        from safetensors.numpy import save
    except ImportError:
        raise MissingExtra("safetensors is not installed; pip install 'personalrm[train]'") from None
    content = {"kind": kind, "version": VERSION, **facts}
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "model.json").unlink(missing_ok=True)
        _replace(Path(folder) / "model.safetensors", save({n: np.ascontiguousarray(a) for n, a in arrays.items()}))
        _replace(Path(folder) / "model.json", (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("utf-8"))
    except OSError as error:
        raise StoreError(f"model folder {str(folder)!r} cannot be written ({error.strerror or error})") from None


def read_model(folder: str | Path, kind: str, *, encoder: str) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Facts and numbers of a saved model.

    Args:
        folder: What `write_model` was given.
        kind: The method it must be of.
        encoder: Identity of the encoder it will be used with; must be the one it was trained with.

    Raises:
        StoreError: If there is no model or it cannot be read.
        CorruptFile: If the files are not what `write_model` writes.
        NewerVersion: If a later personalrm wrote them.
        BadInput: If it is of another method or encoder.
        MissingExtra: If safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except ImportError:
        raise MissingExtra("safetensors is not installed; pip install 'personalrm[train]'") from None
    try:
        facts = json.loads((Path(folder) / "model.json").read_text(encoding="utf-8"))
        arrays = load((Path(folder) / "model.safetensors").read_bytes())
        found, version, known = facts["kind"], int(facts["version"]), facts["encoder"]
    except OSError as error:
        raise StoreError(f"model folder {str(folder)!r} cannot be read ({error.strerror or error})") from None
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CorruptFile(f"model folder {str(folder)!r} is damaged ({type(error).__name__}); train it again") from None
    if version > VERSION:
        raise NewerVersion(f"model folder {str(folder)!r} was written by a later personalrm; update it")
    if found != kind:
        raise BadInput(f"model folder {str(folder)!r} holds a {found!r}, wanted a {kind!r}; load it with its own class")
    if known != encoder:
        raise BadInput(
            f"model folder {str(folder)!r} was trained on another encoder's vectors; open the store with that"
        )
    return facts, arrays


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + ".tmp")
    with open(unfinished, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
