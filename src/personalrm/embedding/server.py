"""An embedding server as an encoder: one vector a text, asked for as all models are.

A server says one vector, so both poolings are the same. How long a text may be it says
only by refusing; a refused text is shortened and asked again, never dropped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from personalrm.embedding.chat_text import plain_text
from personalrm.embedding.encoders import Embedded, TextSequence, Vectors
from personalrm.errors import BadInput, ModelUnavailable
from personalrm.lm.batch import Ask, Caller
from personalrm.lm.embeddings import NOT_FINITE, TOO_MANY_TEXTS, embedding_request, vectors_of
from personalrm.lm.refusals import TOO_LONG

BATCH = 32
"""Texts a request."""
MOST_CUTS = 12
"""How often a text that is too long is halved before the server is taken to refuse it for another reason."""
MOST_BLIND_CUTS, SHORT = 4, 400
"""The same where the server does not say why it refuses a text; and characters that are too long for nobody."""
AFTER = ", after "


class ServerEncoder:
    """Vectors from a server that speaks OpenAI's `/embeddings`.

    Args:
        caller: Asks an `EmbeddingServer`; its limits, retries and budget hold here too.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self.n_truncated = 0
        """Texts that were longer than the server takes, so far."""
        self.n_lost = 0
        """Texts that it could make no vector of, so far."""
        self._size = BATCH
        self._width: int | None = None

    @property
    def identity(self) -> str:
        """Base URL and model, as canonical JSON."""
        return json.dumps(["server", 2, self._caller.lm.identity])

    @property
    def dim(self) -> int:
        """Width of a vector; asked of the server once."""
        if self._width is None:
            self._ask(["width"])
        return self._width or 0

    def embed(self, sequences: Sequence[TextSequence]) -> Embedded:
        """The server's vectors, many requests under way at once; not-a-number for a text that it can make none of.

        Raises:
            ModelUnavailable: If the server cannot be reached, refuses access, or gives no vectors.
            BadInput: If the server refuses every text however short.
        """
        if not sequences:
            return Embedded(np.zeros((0, self.dim), dtype=np.float32), np.zeros((0, self.dim), dtype=np.float32))
        found = self._ask([plain_text(sequence) for sequence in sequences])
        lost = np.full(self.dim, np.nan, dtype=np.float32)
        vectors = np.stack([lost if vector is None else vector for vector in found])
        return Embedded(vectors, vectors)

    def _ask(self, texts: Sequence[str]) -> list[Vectors | None]:
        """One vector a text, None where there is none.

        A request that is refused is made smaller, down to texts that are asked alone. A text that is refused alone
        is shortened. Neither needs to know how a server says what it does not like.
        """
        vectors: dict[int, Vectors] = {}
        asked, n_cuts, reasons = list(texts), [0] * len(texts), Counter[str]()
        batches = _in_parts(range(len(texts)), self._size)
        while batches:
            requests = [embedding_request(tuple(asked[place] for place in batch)) for batch in batches]
            asks: list[Ask[Vectors]] = [Ask(lambda request=request: request, vectors_of) for request in requests]  # type: ignore[misc]
            outcomes = self._caller.ask_all(asks)
            refused: list[Sequence[int]] = []
            for batch, outcome in zip(batches, outcomes, strict=True):
                place = batch[0]
                if outcome.value is not None:
                    vectors.update(zip(batch, outcome.value, strict=True))
                elif outcome.is_stopped and self._caller.stopped is not None:
                    raise self._caller.stopped
                elif len(batch) > 1:
                    refused += _in_parts(batch, self._smaller(len(batch), outcome.reason))
                elif n_cuts[place] < _most_cuts(asked[place], outcome.reason):
                    n_cuts[place] += 1
                    asked[place] = halved(asked[place])
                    refused.append(batch)
                else:
                    reasons[outcome.reason] += 1
            batches = refused
        if not vectors and not self._gives_vectors():
            self._refuse(reasons.most_common(1)[0][0], len(texts))
        for vector in vectors.values():
            self._width = self._width or len(vector)
            if len(vector) != self._width:
                raise ModelUnavailable(
                    f"the server of model {self._caller.lm.name!r} gave vectors of several widths; check that it "
                    "serves one model by that name"
                )
        self.n_truncated += sum(n > 0 for place, n in enumerate(n_cuts) if place in vectors)
        self.n_lost += reasons.total()
        return [vectors.get(place) for place in range(len(texts))]

    def _smaller(self, n_texts: int, reason: str) -> int:
        """Texts a request after one of so many was refused."""
        if reason.startswith(TOO_MANY_TEXTS):
            told = getattr(self._caller.lm, "most_texts", None) or n_texts // 2
            self._size = max(1, min(self._size, told, n_texts - 1))
            return self._size
        # What was tried in vain several times is tried alone; what was refused at once may be too much of it.
        return 1 if reason.startswith(TOO_LONG) or AFTER in reason else n_texts // 2

    def _gives_vectors(self) -> bool:
        """Whether it ever gave one, or gives one of a word that is nobody's."""
        if self._width is None:
            (outcome,) = self._caller.ask_all([Ask(lambda: embedding_request(("width",)), vectors_of)])
            self._width = len(outcome.value[0]) if outcome.value is not None else None
        return self._width is not None

    def _refuse(self, reason: str, n_texts: int) -> NoReturn:
        """Say why no text at all has a vector.

        Raises:
            BadInput: If texts are too long, however short.
            ModelUnavailable: For any other reason.
        """
        if reason.startswith(TOO_LONG):
            raise BadInput(
                f"the embedding server refuses {n_texts} texts as too long, however short; check its settings"
            )
        raise ModelUnavailable(
            f"the server of model {self._caller.lm.name!r} gave no vectors ({reason}); check that it serves /embeddings"
        )


def _in_parts(places: Sequence[int], size: int) -> list[Sequence[int]]:
    return [places[start : start + size] for start in range(0, len(places), size)]


def _most_cuts(text: str, reason: str) -> int:
    """How often a text that was refused alone is halved."""
    if reason.startswith(TOO_LONG):
        return MOST_CUTS
    if reason.startswith(NOT_FINITE) or len(text) < SHORT:
        return 0
    return MOST_BLIND_CUTS


def halved(text: str) -> str:
    """Half of a text: the beginning, a quarter of what is kept, and the end."""
    half = len(text) // 2
    opening = half // 4
    return text[:opening] + text[len(text) - (half - opening) :]
