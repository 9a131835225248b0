"""What an encoder is to us: sequences in, two vectors each out.

A sequence is a conversation with or without one completion. Encoders live apart: Hugging
Face models in `hugging_face.py` (torch), servers in `server.py`, the stylometric features
in `stylometry/encoder.py`. Knows nothing of files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt

from personalrm.preferences.messages import Conversation

Pooling = Literal["last", "mean"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
Vectors = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, repr=False)
class TextSequence:
    """A conversation, and one completion of it or none; or a completion alone."""

    conversation: Conversation
    """Empty for a completion that is read without its conversation."""
    completion: str | None = None
    """None asks for the conversation alone, up to where a completion would start."""

    @cached_property
    def key(self) -> bytes:
        """16 bytes that stand for the text; equal for equal roles and contents."""
        turns = [[turn.role, turn.content] for turn in self.conversation]
        text = json.dumps([turns, self.completion], ensure_ascii=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode("ascii"), digest_size=16).digest()

    def __repr__(self) -> str:
        length = "no completion" if self.completion is None else f"completion_characters={len(self.completion)}"
        return f"TextSequence(turns={len(self.conversation)}, {length})"


@dataclass(frozen=True, repr=False)
class Embedded:
    """Both poolings of some sequences, made in one pass."""

    last: Vectors
    """Shape `(sequences, dim)`, the hidden state of each last real token."""
    mean: Vectors
    """Shape `(sequences, dim)`, the mean over real tokens, summed in fp32."""


class Encoder(Protocol):
    """Anything that turns sequences into vectors, the same ones for the same text in any company."""

    @property
    def identity(self) -> str:
        """All that decides a vector besides the text: weights, template, layer, longest length. No keys."""
        ...

    @property
    def dim(self) -> int:
        """Width of a vector."""
        ...

    def embed(self, sequences: Sequence[TextSequence]) -> Embedded:
        """The vectors, in order; no sequences give shape `(0, dim)`."""
        ...
