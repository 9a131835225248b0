"""The store: each text once, both poolings, safe against crashes and strangers, forgetful when asked."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from benchmarks.simulations.planted_encoder import PlantedEncoder

from personalrm.embedding.encoders import Embedded, TextSequence
from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput, CorruptFile, NewerVersion, StoreError
from personalrm.preferences.messages import Message

QUESTION = (Message("user", "How do I get to the lake?"),)


def texts(*completions: str | None) -> list[TextSequence]:
    return [TextSequence(QUESTION, completion) for completion in completions]


def test_rows_hold_what_the_encoder_says(tmp_path: Path) -> None:
    encoder = PlantedEncoder()
    store = EmbeddingStore(tmp_path, encoder)
    rows, wanted = store.rows(texts("a", "b", None)), encoder.embed(texts("a", "b", None))
    assert np.abs(store.matrix("last")[rows] - wanted.last).max() < 2e-3
    assert np.abs(store.matrix("mean")[rows] - wanted.mean).max() < 2e-3


def test_a_text_is_embedded_once(tmp_path: Path) -> None:
    encoder = PlantedEncoder()
    rows = EmbeddingStore(tmp_path, encoder).rows(texts("a", "b", "a"))
    again = EmbeddingStore(tmp_path, encoder).rows(texts("b", "a"))
    assert (rows.tolist(), again.tolist(), encoder.n_embedded) == ([0, 1, 0], [1, 0], 2)


def test_the_same_words_from_another_speaker_are_another_text(tmp_path: Path) -> None:
    spoken = TextSequence((Message("system", "a"), Message("user", "b")))
    other = TextSequence((Message("user", "a"), Message("user", "b")))
    assert len(set(EmbeddingStore(tmp_path, PlantedEncoder()).rows([spoken, other]))) == 2


def test_an_empty_completion_is_not_no_completion(tmp_path: Path) -> None:
    assert len(set(EmbeddingStore(tmp_path, PlantedEncoder()).rows(texts("", None)))) == 2


def test_the_matrix_is_a_map_of_half_floats(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, PlantedEncoder())
    store.rows(texts("a"))
    assert isinstance(store.matrix(), np.memmap) and store.matrix().dtype == np.float16


def test_an_empty_store_has_an_empty_matrix(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, PlantedEncoder(dim=5))
    assert (store.rows([]).tolist(), store.matrix().shape, len(store)) == ([], (0, 5), 0)


def test_erase_removes_rows_with_their_last_owner(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, PlantedEncoder())
    rows = store.rows(texts("hers", "theirs", "theirs"), owners=["ann", "ann", "bob"])
    assert store.erase("ann") == 1
    assert not store.matrix()[rows[0]].any() and store.matrix()[rows[1]].any()
    assert store.erase("bob") == 1 and len(store) == 0


def test_erased_vectors_are_not_in_the_files(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, PlantedEncoder())
    store.rows(texts("secret"), owners=["ann"])
    store.erase("ann")
    assert not any((tmp_path / f"{pooling}.f16").read_bytes().strip(b"\0") for pooling in ("last", "mean"))
    assert TextSequence(QUESTION, "secret").key not in (tmp_path / "rows.sqlite").read_bytes()


def test_erasing_a_stranger_changes_nothing(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, PlantedEncoder())
    store.rows(texts("a"))
    assert (store.erase("nobody"), len(store)) == (0, 1)


def test_what_was_erased_is_embedded_anew(tmp_path: Path) -> None:
    encoder = PlantedEncoder()
    mine, other = EmbeddingStore(tmp_path, encoder), EmbeddingStore(tmp_path, encoder)
    mine.rows(texts("a"), owners=["ann"])
    other.erase("ann")
    row = mine.rows(texts("a"), owners=["ann"])
    assert row.tolist() == [1] and mine.matrix()[1].any()


def test_neither_texts_nor_user_ids_reach_the_disk(tmp_path: Path) -> None:
    EmbeddingStore(tmp_path, PlantedEncoder()).rows(texts("a very private text"), owners=["ann@example.org"])
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"private" not in stored and b"ann@" not in stored and b"lake" not in stored


def test_bytes_of_a_crash_behind_the_last_row_are_overwritten(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, PlantedEncoder())
    store.rows(texts("a"))
    with open(tmp_path / "last.f16", "ab") as file:
        file.write(b"\x7f" * 21)
    row = EmbeddingStore(tmp_path, PlantedEncoder()).rows(texts("b"))
    wanted = PlantedEncoder().embed(texts("b")).last[0]
    assert np.abs(EmbeddingStore(tmp_path, PlantedEncoder()).matrix()[row[0]] - wanted).max() < 2e-3


CRASH = """
import os, sys
from personalrm.embedding.encoders import TextSequence
from personalrm.embedding.store import EmbeddingStore
from personalrm.preferences.messages import Message
from benchmarks.simulations.planted_encoder import PlantedEncoder

class Dying(PlantedEncoder):
    def embed(self, sequences):
        if self.n_embedded >= 1024:
            os.kill(os.getpid(), 9)
        return super().embed(sequences)

question = (Message("user", "How do I get to the lake?"),)
EmbeddingStore(sys.argv[1], Dying()).rows([TextSequence(question, str(n)) for n in range(2000)])
"""


@pytest.mark.slow
def test_a_kill_costs_only_what_was_under_way(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path)], check=False)
    encoder = PlantedEncoder()
    rows = EmbeddingStore(tmp_path, encoder).rows(texts(*map(str, range(2000))))
    assert (killed.returncode, encoder.n_embedded, rows.tolist()) == (-9, 2000 - 1024, list(range(2000)))


@pytest.mark.slow
def test_two_processes_may_fill_one_folder(tmp_path: Path) -> None:
    code = CRASH.replace("1024", "10**9").replace("range(2000)", "range(int(sys.argv[2]), int(sys.argv[2]) + 1500)")
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(n)]) for n in (0, 700)]
    assert [writer.wait() for writer in writers] == [0, 0]
    encoder = PlantedEncoder()
    store = EmbeddingStore(tmp_path, encoder)
    sequences = texts(*map(str, range(2200)))
    rows = store.rows(sequences)
    assert (encoder.n_embedded, sorted(rows)) == (0, list(range(2200)))
    assert np.abs(store.matrix()[rows] - encoder.embed(sequences).last).max() < 4e-3


def test_another_encoder_is_refused(tmp_path: Path) -> None:
    EmbeddingStore(tmp_path, PlantedEncoder()).rows(texts("a"))
    with pytest.raises(StoreError, match="another encoder"):
        EmbeddingStore(tmp_path, PlantedEncoder(seed=1)).rows(texts("a"))


def test_a_later_version_is_refused(tmp_path: Path) -> None:
    EmbeddingStore(tmp_path, PlantedEncoder()).rows(texts("a"))
    with sqlite3.connect(tmp_path / "rows.sqlite") as database:
        database.execute("UPDATE facts SET value = '99' WHERE name = 'version'")
    database.close()
    with pytest.raises(NewerVersion):
        len(EmbeddingStore(tmp_path, PlantedEncoder()))


def test_a_cut_file_is_corrupt_not_garbage(tmp_path: Path) -> None:
    EmbeddingStore(tmp_path, PlantedEncoder()).rows(texts("a", "b"))
    os.truncate(tmp_path / "last.f16", 20)
    with pytest.raises(CorruptFile):
        EmbeddingStore(tmp_path, PlantedEncoder()).matrix()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StoreError, match="cannot be"):
        EmbeddingStore(tmp_path, PlantedEncoder()).rows(texts("a"))


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError):
        EmbeddingStore(tmp_path / "file", PlantedEncoder()).rows(texts("a"))


class Broken(PlantedEncoder):
    """Gives what no encoder should."""

    def __init__(self, values: np.ndarray) -> None:
        super().__init__(dim=2)
        self._values = values

    def embed(self, sequences: Sequence[TextSequence]) -> Embedded:
        return Embedded(self._values, self._values)


@pytest.mark.parametrize(
    "values", [np.array([[np.nan, 0.0]]), np.array([[np.inf, 0.0]]), np.zeros((1, 3)), np.zeros((0, 2))]
)
def test_vectors_that_are_none_are_refused_and_not_kept(tmp_path: Path, values: np.ndarray) -> None:
    store = EmbeddingStore(tmp_path, Broken(values))
    with pytest.raises(BadInput):
        store.rows(texts("a"))
    assert len(store) == 0


def test_owners_must_be_as_many_as_sequences(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="2 sequences have 1 owners"):
        EmbeddingStore(tmp_path, PlantedEncoder()).rows(texts("a", "b"), owners=["ann"])


def test_lone_surrogates_and_null_characters_are_texts_too(tmp_path: Path) -> None:
    assert len(set(EmbeddingStore(tmp_path, PlantedEncoder()).rows(texts("\ud800", "\0", "")))) == 3


def test_a_sequence_says_nothing_of_its_text() -> None:
    assert repr(texts("secret")[0]) == "TextSequence(turns=1, completion_characters=6)"


def test_values_beyond_fp16_are_counted_and_told_once(tmp_path: Path) -> None:
    vectors = {"huge": np.full(8, 7e4), "both": np.array([-1e9, *np.ones(7)]), "fine": np.full(8, 65504.0)}
    store = EmbeddingStore(tmp_path, PlantedEncoder(vectors=vectors))
    with pytest.warns(RuntimeWarning, match="beyond 65504") as told:
        store.rows([TextSequence((), text) for text in ("huge", "fine", "other")])
    store.vectors([TextSequence((), text) for text in ("both", "huge", "fine")])
    assert (store.n_clipped, len(told)) == (2, 1)
    assert store.vectors([TextSequence((), "huge")]).max() == 65504.0
    assert store.matrix()[0, 0] == 65504.0
