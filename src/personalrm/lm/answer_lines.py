"""What a cache keeps of an answer, written as a line of text, and an index of where the lines begin."""

from __future__ import annotations

import hashlib
import json
import zlib
from array import array
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from personalrm.lm.protocol import Reply, TokenChances, Usage

Kind = Literal["answer", "unscored", "owner"]
OWNER_AT, KIND_AT = 42, 75
"""Where a line's owner and kind begin, after a checksum of 8 characters and a key of 32."""
NOBODY = bytes(16)


@dataclass(frozen=True)
class Unscored:
    """A request without a usable answer."""

    reason: str
    attempts: int


@dataclass(frozen=True, slots=True, repr=False)
class Line:
    """An answer, a request without one, or one more owner of either."""

    key: bytes
    """Of the request, 16 bytes."""
    owner: bytes
    """Hash of the id of a user whose data was asked about."""
    kind: Kind
    text: str = ""
    """An answer as JSON, `[reason, attempts]` as JSON, or nothing for an owner."""

    @classmethod
    def of(cls, key: bytes, user_id: str, result: Reply | Unscored) -> Line:
        """The line of a result."""
        if isinstance(result, Unscored):
            return cls(key, owner_of(user_id), "unscored", json.dumps([result.reason, result.attempts]))
        return cls(key, owner_of(user_id), "answer", _reply_as_text(result))

    def result(self) -> Reply | Unscored:
        """The result in the line of an answer or of a request without one."""
        content = json.loads(self.text)
        if self.kind == "unscored":
            return Unscored(*content)
        tokens = tuple(
            TokenChances(text, tuple((str(token), float(chance)) for token, chance in alternatives))
            for text, alternatives in content.get("tokens", ())
        )
        return Reply(content["text"], content["finish_reason"], Usage(**content["usage"]), tokens, content["model"])

    def as_bytes(self) -> bytes:
        """The line behind a checksum, without its end; JSON escapes line ends, so no text can pose as two lines."""
        body = f"{self.key.hex()} {self.owner.hex()} {self.kind} {self.text}".encode("ascii")
        return b"%08x %b" % (zlib.crc32(body), body)

    @classmethod
    def from_bytes(cls, line: bytes) -> Line | None:
        """The line that was written; None where it was changed since or not written to its end."""
        checksum, _, body = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(body):
            return None
        key, owner, kind, text = body.decode("ascii").split(" ", 3)
        return cls(bytes.fromhex(key), bytes.fromhex(owner), kind, text)  # type: ignore[arg-type]


@lru_cache(maxsize=1024)
def owner_of(user_id: str) -> bytes:
    """What a user is known by in the file; never their id."""
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).digest()[:16]


def _reply_as_text(reply: Reply) -> str:
    usage = reply.usage
    content: dict[str, Any] = {
        "text": reply.text,
        "finish_reason": reply.finish_reason,
        "model": reply.model,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "cached_tokens": usage.cached_tokens,
        },
    }
    if reply.tokens:
        content["tokens"] = [(token.text, token.alternatives) for token in reply.tokens]
    return json.dumps(content)


class LineIndex:
    """Where lines begin, by a hash of 32 bits, in 16 to 32 bytes a line (a dict of the same takes over 100).

    Different keys may share a hash: whoever reads a line compares the key in it.

    Args:
        n_lines: How many to make room for; growing to them takes three times as long.
    """

    def __init__(self, n_lines: int = 0) -> None:
        self._reserve(1024 << (n_lines // 700).bit_length())

    def add(self, line_hash: int, offset: int) -> None:
        """Note a line; noting it twice changes nothing."""
        if 4 * self._n_lines >= 3 * len(self._hashes):
            self._grow()
        offsets, last = self._offsets, len(self._offsets) - 1
        slot = line_hash & last
        # Odd steps reach every slot of a power of two; of different lengths, they keep a full table fast.
        step = line_hash >> 15 | 1
        while offsets[slot]:
            if offsets[slot] == offset:
                return
            slot = (slot + step) & last
        self._hashes[slot], offsets[slot] = line_hash, offset
        self._n_lines += 1

    def find(self, line_hash: int) -> list[int]:
        """Where lines of this hash begin, newest first."""
        last = len(self._offsets) - 1
        slot, step = line_hash & last, line_hash >> 15 | 1
        found = []
        while self._offsets[slot]:
            if self._hashes[slot] == line_hash:
                found.append(self._offsets[slot])
            slot = (slot + step) & last
        return sorted(found, reverse=True)

    def _reserve(self, n_slots: int) -> None:
        self._n_lines = 0
        self._hashes = array("I", bytes(4 * n_slots))
        self._offsets = array("Q", bytes(8 * n_slots))  # 0 is an empty slot: no line begins where the file does

    def _grow(self) -> None:
        hashes, offsets = self._hashes, self._offsets
        self._reserve(2 * len(hashes))
        for line_hash, offset in zip(hashes, offsets, strict=True):
            if offset:
                self.add(line_hash, offset)
