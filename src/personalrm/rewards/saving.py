"""A trained model as two files: `model.json` says what it is, `model.safetensors` holds the numbers.

Folders come from anywhere: another version, a cut download, somebody else's hand. Whatever
is in them, reading either gives a model or one sentence that says what is wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput, CorruptFile, MissingExtra, NewerVersion, StoreError
from personalrm.typed_values import saved_object, saved_value
from personalrm.whole_files import replace_file
from personalrm.wording import absence

VERSION = 1
AGAIN = "update personalrm if a later one wrote it, or train it again"
Arrays = Mapping[str, npt.NDArray[Any]]
Part = TypeVar("Part")
Head = TypeVar("Head")


@contextmanager
def writing(folder: str | Path) -> Iterator[None]:
    """While entered, a model folder that cannot be written is refused in one sentence.

    Raises:
        StoreError: If the disk refuses.
    """
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"model folder {str(folder)!r} cannot be written ({error.strerror or error}); check the path and the disk"
        ) from None


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
    path, safetensors = Path(folder), _safetensors()
    content = {"kind": kind, "version": VERSION, **facts}
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        (path / "model.json").unlink(missing_ok=True)
        numbers = safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        replace_file(path / "model.safetensors", [numbers])
        replace_file(path / "model.json", [json.dumps(content, indent=2, sort_keys=True), "\n"])


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
    where, safetensors, facts = f"model folder {str(folder)!r}", _safetensors(), read_facts(folder, kind)
    try:
        arrays: dict[str, npt.NDArray[Any]] = safetensors.numpy.load((Path(folder) / "model.safetensors").read_bytes())
    except OSError as error:
        raise StoreError(f"{where} cannot be read ({error.strerror or error}); {AGAIN}") from None
    except (ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise CorruptFile(f"{where} is damaged ({type(error).__name__}); {AGAIN}") from None
    if facts["encoder"] != encoder:
        raise BadInput(f"{where} was trained on another encoder's vectors; open the store with that")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise CorruptFile(f"{name!r} of {where} holds values that are not numbers; {AGAIN}")
    return facts, arrays


def save_head(head: Any, folder: str | Path, *, module: Any = None, arrays: Arrays | None = None, **facts: Any) -> None:
    """Write a model that reads embeddings: its options, its encoder's identity, and what else it needs.

    Args:
        head: The model, with its name, options and store.
        folder: As for `write_model`.
        module: A torch module whose parameters are numbers of the model.
        arrays: Other numbers.
        facts: Other facts.
    """
    parameters = {name: tensor.cpu().numpy() for name, tensor in module.state_dict().items()} if module else {}
    known = {"options": asdict(head.options), "encoder": head.store.encoder.identity}
    write_model(folder, head.name, {**known, **facts}, {**parameters, **(arrays or {})})


def open_head(kind: type[Head], folder: str | Path, store: EmbeddingStore) -> tuple[Head, dict[str, Any], Arrays]:
    """A model that reads embeddings with the options it was saved with, its facts and its numbers.

    Raises:
        StoreError: If there is no model or it cannot be read.
        CorruptFile: If a file is damaged.
        BadInput: If it is of another method or encoder.
    """
    head: Any = kind
    facts, arrays = read_model(folder, head.name, encoder=store.encoder.identity)
    return head(store, saved_part(head.options_type, facts, "options", folder)), facts, arrays


def read_facts(folder: str | Path, kind: str) -> dict[str, Any]:
    """What `model.json` says, kind, version and the presence of an encoder checked.

    Raises:
        StoreError: If it cannot be read.
        CorruptFile: If it is not what `write_model` writes.
        NewerVersion: If a later personalrm wrote it.
        BadInput: If it is of another method.
    """
    facts = read_json(folder, "model.json")
    found, _ = (saved_part(str, facts, name, folder) for name in ("kind", "encoder"))
    if saved_part(int, facts, "version", folder) > VERSION:
        raise NewerVersion(f"model folder {str(folder)!r} was written by a later personalrm; update it")
    if found != kind:
        raise BadInput(f"model folder {str(folder)!r} holds a {found!r}, wanted a {kind!r}; load it with its own class")
    return facts


def read_json(folder: str | Path, name: str) -> dict[str, Any]:
    """The keys and values of a JSON file of a model folder.

    Raises:
        StoreError: If it cannot be read.
        CorruptFile: If it holds anything else.
    """
    try:
        text = (Path(folder) / name).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise StoreError(
            f"{name} of model folder {str(folder)!r} cannot be read ({error.strerror or error}); make one with "
            "personalrm train"
        ) from None
    return saved_object(text, f"{name} of model folder {str(folder)!r}", again=AGAIN)


def saved_part(kind: type[Part], facts: Mapping[str, Any], name: str, folder: str | Path) -> Part:
    """A part of the facts as what it was before it was saved: a frozen value such as the options, a number, a text.

    Raises:
        CorruptFile: If it is missing, has a name this version does not know, or a value that does not fit.
    """
    where, value = f"{name} of model folder {str(folder)!r}", facts.get(name)
    if isinstance(value, float) and not math.isfinite(value):
        raise CorruptFile(f"{where} is {value!r}, not a number; {AGAIN}")
    return saved_value(kind, value, where, again=AGAIN)


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


def _safetensors() -> Any:
    try:
        import safetensors.numpy
    except (ImportError, OSError, MemoryError) as error:
        raise MissingExtra(absence(error, "safetensors", "train")) from None
    return safetensors
