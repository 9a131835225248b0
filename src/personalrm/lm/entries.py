"""What a cache keeps of a request, and how it is written: in the database, and in the journal before it."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from personalrm.lm.protocol import Reply, TokenChances, Usage

Kind = Literal["answer", "unscored", "owner"]
CHECKSUM = 16
"""Characters of an answer's checksum in the database."""


@dataclass(frozen=True)
class Unscored:
    """A request without a usable answer."""

    reason: str
    attempts: int


@dataclass(frozen=True)
class Entry:
    """Something to be kept."""

    key: bytes
    user_id: str
    result: Reply | Unscored | None
    """None only adds the user as an owner of an entry that is there."""


@dataclass(frozen=True, slots=True, repr=False)
class Row:
    """An entry as it is written."""

    key: bytes
    owner: bytes
    """Hash of the user's id."""
    kind: Kind
    text: str
    """An answer as JSON, `[reason, attempts]` as JSON, or nothing for an owner."""

    @classmethod
    def of(cls, entry: Entry) -> Row:
        """The row of an entry."""
        owner = owner_of(entry.user_id)
        if entry.result is None:
            return cls(entry.key, owner, "owner", "")
        if isinstance(entry.result, Unscored):
            return cls(entry.key, owner, "unscored", json.dumps([entry.result.reason, entry.result.attempts]))
        return cls(entry.key, owner, "answer", reply_as_text(entry.result))

    def line(self) -> bytes:
        """The row as one line with a checksum; JSON has no line ends, so nothing can pose as two rows."""
        body = f"{self.key.hex()} {self.owner.hex()} {self.kind} {self.text}".encode("ascii")
        return b"%08x %b\n" % (zlib.crc32(body), body)

    @classmethod
    def from_line(cls, line: bytes) -> Row | None:
        """The row of a line; None where it is damaged or was not written to its end."""
        checksum, _, body = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(body):
            return None
        key, owner, kind, text = body.decode("ascii").split(" ", 3)
        return cls(bytes.fromhex(key), bytes.fromhex(owner), kind, text)  # type: ignore[arg-type]


@lru_cache(maxsize=1024)
def owner_of(user_id: str) -> bytes:
    """What a user is known by in the file; never their id."""
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).digest()[:16]


def reply_as_text(reply: Reply) -> str:
    """A reply as JSON."""
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
        content["tokens"] = [(one.text, one.alternatives) for one in reply.tokens]
    return json.dumps(content)


def sealed(key: bytes, text: str) -> str:
    """A text behind a checksum of itself and its key, as the database keeps it."""
    return _checksum(key, text) + text


def unsealed(key: bytes, kept: object) -> str | None:
    """The text of a kept answer; None if it is not as it was written."""
    if not isinstance(kept, str) or kept[:CHECKSUM] != _checksum(key, kept[CHECKSUM:]):
        return None
    return kept[CHECKSUM:]


def _checksum(key: bytes, text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=key, digest_size=CHECKSUM // 2).hexdigest()


def reply_from_text(text: str) -> Reply:
    """The reply in `reply_as_text`'s JSON."""
    content = json.loads(text)
    tokens = tuple(
        TokenChances(text, tuple((str(token), float(chance)) for token, chance in alternatives))
        for text, alternatives in content.get("tokens", ())
    )
    return Reply(content["text"], content["finish_reason"], Usage(**content["usage"]), tokens, content["model"])
