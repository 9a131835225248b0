"""Encoders that are planted: a text's vector is looked up or drawn from its hash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from personalrm.embedding.encoders import Embedded, TextSequence


class PlantedEncoder:
    """An encoder that knows some completions by heart and draws the vectors of all other texts from their hash.

    Args:
        dim: Width.
        vectors: Vector of a completion, whatever the conversation; shape `(dim,)` each.
        seed: Part of the identity, and of what is drawn.
    """

    def __init__(
        self, dim: int = 8, vectors: Mapping[str, npt.NDArray[np.floating]] | None = None, *, seed: int = 0
    ) -> None:
        self.dim = dim
        self.identity = f"planted {dim} {seed}"
        self._vectors, self._seed = vectors or {}, seed
        self.n_embedded = 0
        """Sequences embedded so far, to see what a store spared."""

    def embed(self, sequences: Sequence[TextSequence]) -> Embedded:
        """The planted vectors; `mean` is half of `last`, so that the two can be told apart."""
        self.n_embedded += len(sequences)
        last = np.array([self._vector(sequence) for sequence in sequences], dtype=np.float32).reshape(-1, self.dim)
        return Embedded(last, last * np.float32(0.5))

    def _vector(self, sequence: TextSequence) -> npt.NDArray[np.floating]:
        if sequence.completion is not None and sequence.completion in self._vectors:
            return self._vectors[sequence.completion]
        rng = np.random.default_rng([self._seed, *sequence.key])
        return rng.normal(size=self.dim)
