"""The stylometric features as vectors of a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from personalrm.embedding.encoders import TextSequence
from personalrm.embedding.store import EmbeddingStore
from personalrm.preferences.messages import Message
from personalrm.stylometry.encoder import StylometricEncoder
from personalrm.stylometry.feature_words import INDEX
from personalrm.stylometry.features import difference
from personalrm.testing import tiny_pair


def test_differences_of_vectors_are_differences_of_features() -> None:
    pair = tiny_pair()
    found = StylometricEncoder().embed([TextSequence(pair.conversation, text) for text in (pair.chosen, pair.rejected)])
    wanted = difference(pair.conversation, pair.chosen, pair.rejected)
    assert np.abs(found.last[0] - found.last[1] - wanted).max() < 1e-5


def test_a_conversation_alone_has_the_features_of_its_question() -> None:
    found = StylometricEncoder().embed(
        [TextSequence((Message("user", "Short?"),)), TextSequence((Message("user", "Long" * 99),))]
    )
    length = found.last[:, INDEX["length"]]
    assert length[0] < length[1] and found.last[0, INDEX["echo"]] == 0.0


def test_an_empty_completion_has_finite_features() -> None:
    conversation = (Message("user", ""),)
    assert np.isfinite(StylometricEncoder().embed([TextSequence(conversation, "")]).last).all()


def test_a_store_takes_it(tmp_path: Path) -> None:
    pair = tiny_pair()
    store = EmbeddingStore(tmp_path, StylometricEncoder())
    assert store.rows([TextSequence(pair.conversation, pair.chosen)]).tolist() == [0]
    assert store.matrix("mean").shape == (1, StylometricEncoder.dim)
