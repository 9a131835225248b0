"""The stylometric features as an encoder: weak, but it needs no model, no torch and no network.

Everything that is trained on embeddings runs on it. A completion's vector holds the
features a person can check by eye; a conversation alone has those of its last user turn.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from personalrm.embedding.encoders import Embedded, TextSequence
from personalrm.preferences.messages import digest
from personalrm.stylometry.feature_words import INDEX, NAMES
from personalrm.stylometry.features import covered, echo, read

VERSION = 1
"""Raised whenever a feature changes what it measures."""


class StylometricEncoder:
    """The features of `stylometry.features` as vectors; both poolings are the same."""

    identity = f"stylometric {VERSION} {digest(list(NAMES))}"
    dim = len(NAMES)

    def embed(self, sequences: Sequence[TextSequence]) -> Embedded:
        """One vector of features a sequence; 0 where its language or script is not covered."""
        vectors = np.zeros((len(sequences), self.dim), dtype=np.float32)
        for place, sequence in enumerate(sequences):
            question = read(next((turn.content for turn in reversed(sequence.conversation) if turn.role == "user"), ""))
            reading = question if sequence.completion is None else read(sequence.completion)
            vectors[place] = reading.values
            vectors[place, INDEX["echo"]] = 0.0 if sequence.completion is None else echo(question, reading)
            vectors[place, ~covered(reading, reading)] = 0.0
        return Embedded(vectors, vectors)
