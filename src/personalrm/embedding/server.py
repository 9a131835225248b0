"""An embedding server as an encoder: one vector a text, asked for as all models are.

A server says one vector, so both poolings are the same. How long a text may be it says
only by refusing; a refused text is shortened and asked again, never dropped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from personalrm.embedding.chat_text import plain_text
from personalrm.embedding.encoders import Embedded, TextSequence, Vectors
from personalrm.errors import BadInput, ModelUnavailable
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.embeddings import embedding_request, vectors_of

BATCH = 32
"""Texts a request."""
MOST_CUTS = 12
"""How often a text is halved before the server is taken to refuse it for another reason."""
TOO_LONG = "context too long"


class ServerEncoder:
    """Vectors from a server that speaks OpenAI's `/embeddings`.

    Args:
        caller: Asks an `EmbeddingServer`; its limits, retries and budget hold here too.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.n_truncated = 0
        """Texts that were longer than the server takes, so far."""

    @property
    def identity(self) -> str:
        """Base URL and model, as canonical JSON."""
        return json.dumps(["server", 2, self._caller.lm.identity])

    @cached_property
    def dim(self) -> int:
        """Width of a vector; asked of the server once."""
        return len(self._ask(["width"])[0])

    def embed(self, sequences: Sequence[TextSequence]) -> Embedded:
        """The server's vectors, many requests under way at once.

        Raises:
            ModelUnavailable: If the server cannot be reached, refuses access, or gives no vectors.
            BadInput: If the server refuses a text however short.
        """
        if not sequences:
            return Embedded(np.zeros((0, self.dim), dtype=np.float32), np.zeros((0, self.dim), dtype=np.float32))
        vectors = np.stack(self._ask([plain_text(sequence) for sequence in sequences]))
        return Embedded(vectors, vectors)

    def _ask(self, texts: Sequence[str]) -> list[Vectors]:
        """One vector a text; texts that are too long are asked alone, then halved until they fit."""
        vectors: dict[int, Vectors] = {}
        batches = [tuple(range(start, min(start + BATCH, len(texts)))) for start in range(0, len(texts), BATCH)]
        asked = list(texts)
        for _ in range(MOST_CUTS):
            requests = [embedding_request(tuple(asked[place] for place in batch)) for batch in batches]
            asks: list[Ask[Vectors]] = [Ask(lambda request=request: request, vectors_of) for request in requests]  # type: ignore[misc]
            outcomes = self._caller.ask_all(asks)
            refused: list[int] = []
            for batch, outcome in zip(batches, outcomes, strict=True):
                if outcome.value is not None:
                    vectors.update(zip(batch, outcome.value, strict=True))
                elif outcome.reason == TOO_LONG:
                    refused += batch
                    if len(batch) == 1:
                        asked[batch[0]] = halved(asked[batch[0]])
                elif outcome.is_stopped and self._caller.stopped is not None:
                    raise self._caller.stopped
                else:
                    raise ModelUnavailable(
                        f"the server of model {self._caller.lm.name!r} gave no vectors ({outcome.reason}); check that "
                        "it serves /embeddings"
                    )
            if not refused:
                self.n_truncated += sum(short != long for short, long in zip(asked, texts, strict=True))
                return [vectors[place] for place in range(len(texts))]
            batches = [(place,) for place in refused]
        raise BadInput(
            f"the embedding server refuses {len(batches)} texts as too long, however short; check its settings"
        )


def halved(text: str) -> str:
    """Half of a text: the beginning, a quarter of what is kept, and the end."""
    half = len(text) // 2
    opening = half // 4
    return text[:opening] + text[len(text) - (half - opening) :]
