"""What the beginning of a GGUF file says of the model in it: sizes, context, whether it can talk.

The layout is that of https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3. The package `gguf`
reads more and makes an object of each of 150,000 words, which takes seconds; here long lists are passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

from personalrm.errors import BadFile
from personalrm.whole_files import replace_file

MAGIC = b"GGUF"
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _LIST = 8, 9
MOST_KEYS, MOST_WORDS = 65_536, 8_000_000
"""More than any file has."""
LONGEST_LIST = 1_024
"""Numbers of a list that is kept: one a layer, but no vocabulary."""
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.gguf)", re.IGNORECASE)
_NO_TEXT = frozenset({"bert", "nomic-bert", "jina-bert-v2", "t5encoder", "clip", "modern-bert", "gemma-embedding"})
"""Architectures that make vectors and write nothing."""


@dataclass(frozen=True)
class GGUFFacts:
    """A model as its file describes it."""

    architecture: str
    name: str
    """What its makers call it; may be empty."""
    context_tokens: int
    """What it was trained for."""
    n_layers: int
    bytes_a_token: int
    """Of keys and values in half precision, for each token of context."""
    n_bytes: int
    """Of the file, or of all its parts."""
    has_chat_template: bool
    """Whether it says how a conversation is written; models that were tuned to talk do."""

    @property
    def writes(self) -> bool:
        """Whether it writes text at all."""
        return self.architecture not in _NO_TEXT


def parts_of(path: Path) -> list[Path]:
    """The files a model consists of: itself, or all of `NAME-00001-of-00003.gguf` and so on.

    Raises:
        BadFile: If one is not there.
    """
    named = _PART.fullmatch(path.name)
    parts = [path]
    if named:
        numbers = range(1, int(named[3]) + 1)
        parts = [path.with_name(f"{named[1]}-{number:05d}-of-{named[3]}{named[4]}") for number in numbers]
    for part in parts:
        if not part.is_file():
            what = "is a folder" if part.is_dir() else "is not there"
            raise BadFile(f"model file {str(part)!r} {what}; check the path")
    return parts


def read_facts(path: Path) -> GGUFFacts:
    """The facts of a GGUF file.

    Raises:
        BadFile: If it is not there, no GGUF file, or cut short.
    """
    parts, keys = parts_of(path), None
    try:
        with parts[0].open("rb") as file:
            if file.read(4) == MAGIC:
                with mmap(file.fileno(), 0, access=ACCESS_READ) as content:
                    keys = _Header(content).keys()
    except OSError as error:
        raise BadFile(f"model file {str(path)!r} cannot be read ({error.strerror or error}); check the path") from None
    except (struct.error, UnicodeDecodeError, ValueError, OverflowError):
        raise BadFile(f"model file {str(path)!r} is cut short or damaged; download it again") from None
    if keys is None:
        raise BadFile(f"model file {str(path)!r} does not begin as a GGUF file; convert the model to GGUF")
    architecture = str(keys.get("general.architecture", ""))
    if not architecture:
        raise BadFile(f"model file {str(path)!r} names no architecture, so that nothing can run it; download it again")

    def number(name: str, default: int) -> int:
        value = keys.get(f"{architecture}.{name}", default)
        values = value if isinstance(value, list) else [value]
        # One number a layer where layers differ; the sum over layers is what counts, so their mean is taken.
        whole = [item for item in values if isinstance(item, int | float)]
        return max(0, round(sum(whole) / len(whole))) if whole else default

    n_layers, width = number("block_count", 0), number("embedding_length", 0)
    n_heads = max(1, number("attention.head_count", 1))
    of_head = width // n_heads
    of_key_and_value = number("attention.key_length", of_head) + number("attention.value_length", of_head)
    return GGUFFacts(
        architecture=architecture,
        name=str(keys.get("general.name", "")),
        context_tokens=number("context_length", 0),
        n_layers=n_layers,
        bytes_a_token=2 * n_layers * number("attention.head_count_kv", n_heads) * of_key_and_value,
        n_bytes=sum(part.stat().st_size for part in parts),
        has_chat_template="tokenizer.chat_template" in keys,
    )


class _Header:
    """The keys at the beginning of a file, read from front to back."""

    def __init__(self, content: mmap) -> None:
        self._content, self._at = content, len(MAGIC)

    def keys(self) -> dict[str, Any]:
        """All keys but the long lists among them."""
        version = self._number("I")
        if version not in (2, 3):
            raise ValueError(f"version {version}")
        n_tensors, n_keys = self._number("Q"), self._number("Q")
        if max(n_keys, n_tensors) > MOST_KEYS:
            raise ValueError(f"{n_keys} keys, {n_tensors} tensors")
        keys = {}
        for _ in range(n_keys):
            name = self._text()
            keys[name] = self._value(self._number("I"))
        last = 0  # where the last tensor begins, from the end of the header; a download that broke off ends before
        for _ in range(n_tensors):
            self._text()
            n_dimensions = self._number("I")
            self._at += 8 * n_dimensions + 4  # their sizes, and the kind of the numbers
            last = max(last, self._number("Q"))
        if n_tensors and self._at + last >= len(self._content):
            raise ValueError("a tensor beyond the end")
        return keys

    def _number(self, form: str) -> Any:
        (value,) = struct.unpack_from(f"<{form}", self._content, self._at)
        self._at += struct.calcsize(f"<{form}")
        return value

    def _text(self) -> str:
        n_bytes = self._number("Q")
        start, self._at = self._at, self._at + n_bytes
        if self._at > len(self._content):
            raise ValueError("a text beyond the end")
        return self._content[start : self._at].decode("utf-8", "replace")

    def _value(self, kind: int) -> Any:
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind == _TEXT:
            return self._text()
        if kind != _LIST:
            raise ValueError(f"kind {kind}")
        kind, n_items = self._number("I"), self._number("Q")
        if kind in _NUMBERS and n_items > LONGEST_LIST:
            self._at += n_items * struct.calcsize(f"<{_NUMBERS[kind]}")
            return None
        if n_items > MOST_WORDS:
            raise ValueError(f"{n_items} items")
        items = []
        for _ in range(n_items):
            if kind == _TEXT:
                n_bytes = self._number("Q")
                self._at += n_bytes
            elif kind in _NUMBERS:
                items.append(self._number(_NUMBERS[kind]))
            else:
                raise ValueError(f"a list of kind {kind}")
        return items or None


def hash_of_model(path: Path) -> str:
    """SHA-256 of a model's file or files, as hubs publish it; remembered, as 40 GB take half a minute.

    Raises:
        BadFile: If it cannot be read.
    """
    parts = parts_of(path)
    try:
        states = [part.stat() for part in parts]
    except OSError as error:
        raise BadFile(f"model file {str(path)!r} cannot be read ({error.strerror or error}); check the path") from None
    known = [[str(part.resolve()), s.st_size, s.st_mtime_ns, s.st_ino] for part, s in zip(parts, states, strict=True)]
    remembered = _remembered()
    found = next((digest for digest, of in remembered.items() if of == known), None)
    if found is not None:
        return found
    digests = []
    for part in parts:
        try:
            with part.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
        except OSError as error:
            raise BadFile(
                f"model file {str(part)!r} cannot be read ({error.strerror or error}); check the path"
            ) from None
    digest = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode("ascii")).hexdigest()
    with suppress(OSError):  # a cache folder that cannot be written costs the time again, nothing else
        place = _hashes_file()
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, [json.dumps(remembered | {digest: known})])
    return digest


def _hashes_file() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(folder) / "personalrm" / "gguf-hashes.json"


def _remembered() -> dict[str, Any]:
    with suppress(OSError, ValueError, RuntimeError, RecursionError):
        content = json.loads(_hashes_file().read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}
