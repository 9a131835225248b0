"""A trained model as two files: `model.json` says what it is, `model.safetensors` holds the numbers.

Folders come from anywhere: another version, a cut download, somebody else's hand. Whatever
is in them, reading either gives a model or one sentence that says what is wrong.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from personalrm.errors import BadInput, CorruptFile, MissingExtra, NewerVersion, StoreError
from personalrm.typed_values import saved_value
from personalrm.wording import absence

VERSION = 1
AGAIN = "update personalrm if a later one wrote it, or train it again"
Arrays = Mapping[str, npt.NDArray[Any]]
Part = TypeVar("Part")


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
    except (ImportError, OSError, MemoryError) as error:
        raise MissingExtra(absence(error, "safetensors", "train")) from None
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
        CorruptFile: If the files are not what `write_model` writes, or hold values that are not numbers.
        NewerVersion: If a later personalrm wrote them.
        BadInput: If it is of another method or encoder.
        MissingExtra: If safetensors is not installed.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load
    except (ImportError, OSError, MemoryError) as error:
        raise MissingExtra(absence(error, "safetensors", "train")) from None
    facts = read_facts(folder, kind)
    try:
        arrays = load((Path(folder) / "model.safetensors").read_bytes())
    except OSError as error:
        raise StoreError(f"model folder {str(folder)!r} cannot be read ({error.strerror or error})") from None
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise CorruptFile(f"model folder {str(folder)!r} is damaged ({type(error).__name__}); train it again") from None
    if facts["encoder"] != encoder:
        raise BadInput(
            f"model folder {str(folder)!r} was trained on another encoder's vectors; open the store with that"
        )
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise CorruptFile(f"{name!r} of model folder {str(folder)!r} holds values that are not numbers; {AGAIN}")
    return facts, arrays


def read_facts(folder: str | Path, kind: str) -> dict[str, Any]:
    """What `model.json` says, kind, version and the presence of an encoder checked.

    Raises:
        StoreError: If it cannot be read.
        CorruptFile: If it is not what `write_model` writes.
        NewerVersion: If a later personalrm wrote it.
        BadInput: If it is of another method.
    """
    try:
        facts = json.loads((Path(folder) / "model.json").read_text(encoding="utf-8"))
        found, version, _ = str(facts["kind"]), int(facts["version"]), facts["encoder"]
    except OSError as error:
        raise StoreError(f"model folder {str(folder)!r} cannot be read ({error.strerror or error})") from None
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CorruptFile(f"model folder {str(folder)!r} is damaged ({type(error).__name__}); train it again") from None
    if version > VERSION:
        raise NewerVersion(f"model folder {str(folder)!r} was written by a later personalrm; update it")
    if found != kind:
        raise BadInput(f"model folder {str(folder)!r} holds a {found!r}, wanted a {kind!r}; load it with its own class")
    checked: dict[str, Any] = facts
    return checked


def saved_part(kind: type[Part], facts: Mapping[str, Any], name: str, folder: str | Path) -> Part:
    """A frozen value that was saved with `asdict` under a name, such as the options.

    Raises:
        CorruptFile: If it is missing, has a name this version does not know, or a value that does not fit.
    """
    return saved_value(kind, facts.get(name), f"{name} of model folder {str(folder)!r}", again=AGAIN)


def saved_number(facts: Mapping[str, Any], name: str, folder: str | Path) -> float:
    """A finite number of the facts.

    Raises:
        CorruptFile: If it is missing or none.
    """
    value = facts.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise CorruptFile(f"{name!r} of model folder {str(folder)!r} is {value!r}, not a number; {AGAIN}")
    return float(value)


def saved_text(facts: Mapping[str, Any], name: str, folder: str | Path) -> str:
    """A text of the facts, such as the name of the base model.

    Raises:
        CorruptFile: If it is missing or none.
    """
    value = facts.get(name)
    if not isinstance(value, str):
        raise CorruptFile(f"model folder {str(folder)!r} lacks the text {name!r} in model.json; {AGAIN}")
    return value


def checked_arrays(arrays: Arrays, shapes: Mapping[str, tuple[int | None, ...]], folder: str | Path) -> Arrays:
    """The arrays, if they have these names and shapes; None stands for any length.

    Raises:
        CorruptFile: If one is missing, strange or of another shape.
    """
    for name in sorted(set(arrays) | set(shapes)):
        if name not in arrays or name not in shapes:
            which = "lacks" if name in shapes else "holds the strange"
            raise CorruptFile(f"model folder {str(folder)!r} {which} numbers {name!r}; {AGAIN}")
        found, wanted = arrays[name].shape, shapes[name]
        if len(found) != len(wanted) or any(b is not None and a != b for a, b in zip(found, wanted, strict=True)):
            raise CorruptFile(
                f"numbers {name!r} of model folder {str(folder)!r} have shape {found!r}, wanted {wanted!r}; {AGAIN}"
            )
    return arrays


def restore_module(module: Any, arrays: Arrays, folder: str | Path) -> None:
    """Put saved arrays into a torch module: all of them, and nothing else.

    Raises:
        CorruptFile: If names or shapes are not those of the module.
    """
    from personalrm.embedding.with_torch import torch

    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    checked_arrays(arrays, wanted, folder)
    module.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in arrays.items()})


def _replace(path: Path, content: bytes) -> None:
    unfinished = path.with_name(path.name + ".tmp")
    with open(unfinished, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
