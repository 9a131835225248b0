"""An embedding server as an encoder: order, retries, refusals, texts too long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from personalrm.embedding.chat_text import plain_text
from personalrm.embedding.encoders import TextSequence
from personalrm.embedding.server import ServerEncoder, halved
from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import AccessRefused, BadInput, BudgetSpent, ModelUnavailable
from personalrm.lm.batch import Caller
from personalrm.lm.embeddings import EmbeddingServer, vectors_of
from personalrm.lm.http import Endpoint
from personalrm.lm.protocol import Reply
from personalrm.lm.settings import Budget, Retry
from personalrm.preferences.messages import Message
from personalrm.testing.fake_server import FakeServer

QUICK = Retry(max_attempts=3, base_s=0.001)
QUESTION = (Message("user", "How do I get to the lake?"),)
SEQUENCES = [TextSequence(QUESTION, f"By train {number}.") for number in range(70)] + [TextSequence(QUESTION)]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as one:
        yield one


def asking(server: FakeServer, **options: object) -> Caller:
    endpoint = Endpoint("embedder", server.url, api_key="sk-secret")
    return Caller(EmbeddingServer(endpoint), retry=QUICK, **options)  # type: ignore[arg-type]


def test_vectors_come_back_in_order(server: FakeServer) -> None:
    with asking(server) as caller:
        found = ServerEncoder(caller).embed(SEQUENCES)
    wanted = np.array([server.embeddings.vector(plain_text(sequence)) for sequence in SEQUENCES])
    assert np.array_equal(found.last, wanted) and found.mean is found.last
    assert server.embeddings.n_requests == 3


def test_a_store_asks_for_each_text_once(server: FakeServer, tmp_path: Path) -> None:
    with asking(server) as caller:
        store = EmbeddingStore(tmp_path, ServerEncoder(caller))
        store.rows(SEQUENCES)
        store.rows(SEQUENCES)
    assert (server.embeddings.n_texts, len(store)) == (len(SEQUENCES), len(SEQUENCES))


@pytest.mark.parametrize("statuses", [[500], [429, 503], [500, 500]])
def test_faults_that_pass_are_waited_out(server: FakeServer, statuses: list[int]) -> None:
    server.embeddings.statuses = statuses
    with asking(server) as caller:
        assert np.isfinite(ServerEncoder(caller).embed(SEQUENCES[:1]).last).all()


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"data": []}', b'{"data": [{"index": 0}]}', b'{"data": [{"index": 0, "embedding": ["a"]}]}',
     b'{"data": [{"index": 0, "embedding": [NaN]}]}', b'{"data": [{"index": 0, "embedding": 3}]}', b'{"error": "busy"}'],
)  # fmt: skip
def test_replies_that_are_no_vectors_are_asked_again(server: FakeServer, body: bytes) -> None:
    server.embeddings.bodies = [body]
    with asking(server) as caller:
        assert ServerEncoder(caller).embed(SEQUENCES[:1]).last.shape == (1, 16)
    assert server.embeddings.n_requests == 2


def test_a_server_that_never_answers_well_is_named_without_its_key(server: FakeServer) -> None:
    server.embeddings.bodies = [b"{}"] * 99
    with asking(server) as caller, pytest.raises(ModelUnavailable, match="gave no vectors") as raised:
        ServerEncoder(caller).embed(SEQUENCES[:1])
    assert "secret" not in str(raised.value) and "train" not in str(raised.value)


def test_a_refused_key_ends_the_run(server: FakeServer) -> None:
    server.embeddings.statuses = [401]
    with asking(server) as caller, pytest.raises(AccessRefused):
        ServerEncoder(caller).embed(SEQUENCES[:1])


def test_a_spent_budget_ends_the_run(server: FakeServer) -> None:
    with asking(server, budget=Budget(max_calls=1)) as caller, pytest.raises(BudgetSpent):
        ServerEncoder(caller).embed(SEQUENCES)


def test_a_text_that_is_too_long_is_shortened_not_dropped(server: FakeServer) -> None:
    long = TextSequence(QUESTION, "word " * 5000)
    with asking(server) as caller:
        encoder = ServerEncoder(caller)
        found = encoder.embed([SEQUENCES[0], long]).last
    assert encoder.n_truncated == 1 and np.isfinite(found).all()
    assert np.array_equal(found[0], server.embeddings.vector(plain_text(SEQUENCES[0])))


@pytest.mark.parametrize("forged", ["<|eot_id|>", "</s>", "[SEP]", "<end_of_turn>"])
def test_a_text_cannot_forge_what_special_tokens_are_usually_called(forged: str) -> None:
    text = plain_text(TextSequence((Message("user", f"Hi{forged}"),), f"Yes.{forged}"))
    assert forged not in text and text.replace(" ", "").count(forged) == 2


def test_a_server_that_takes_no_text_is_told_apart(server: FakeServer) -> None:
    server.embeddings.longest = -1
    with asking(server) as caller, pytest.raises(BadInput, match="however short"):
        ServerEncoder(caller).embed(SEQUENCES[:1])


def test_half_of_a_text_has_its_beginning_and_its_end() -> None:
    assert halved("abcdefgh" * 2) == "ab" + "cdefgh" and halved("a") == ""


def test_another_server_is_another_identity(server: FakeServer) -> None:
    names = {ServerEncoder(Caller(EmbeddingServer(Endpoint(name, server.url)))).identity for name in ("a", "b")}
    assert len(names) == 2


def test_nothing_to_embed_is_nothing(server: FakeServer) -> None:
    with asking(server) as caller:
        assert ServerEncoder(caller).embed([]).last.shape == (0, 16)


RICE = TextSequence(QUESTION, "Cook rice.")
LONG = [TextSequence(QUESTION, f"word {number} " * 90) for number in range(3)]


def in_mode(server: FakeServer, mode: str, sequences: list[TextSequence]) -> tuple[ServerEncoder, np.ndarray]:
    """What an encoder makes of sequences in front of an odd server."""
    server.embeddings.mode = mode
    with asking(server) as caller:
        encoder = ServerEncoder(caller)
        return encoder, encoder.embed(sequences).last


def right(server: FakeServer, sequences: list[TextSequence]) -> np.ndarray:
    return np.array([server.embeddings.vector(plain_text(sequence)) for sequence in sequences])


@pytest.mark.parametrize(
    ("mode", "most"),
    [("batch10", 10), ("batch8_422", 8), ("batch16_azure", 16), ("batch1_list", 1), ("batch20_413", 16), ("batch5_no_words", 4),
     ("batch_tokens", 8)],
)  # fmt: skip
def test_how_many_texts_a_request_may_hold_is_found_out(server: FakeServer, mode: str, most: int) -> None:
    encoder, vectors = in_mode(server, mode, SEQUENCES)
    assert np.array_equal(vectors, right(server, SEQUENCES))
    assert (server.embeddings.longest_batch, encoder.n_lost, encoder.n_truncated) == (most, 0, 0)


def test_a_limit_that_the_server_named_is_kept_to_from_then_on(server: FakeServer) -> None:
    server.embeddings.mode = "batch10"
    with asking(server) as caller:
        encoder = ServerEncoder(caller)
        encoder.embed(SEQUENCES)
        n_before = server.embeddings.n_requests
        encoder.embed(SEQUENCES)
    assert server.embeddings.n_requests - n_before == 8  # 71 texts, ten a request


@pytest.mark.parametrize(
    "mode",
    ["tei_413", "ollama_ctx", "llamacpp_batch", "openai_ctx", "llama_box", "cohere_long", "long_no_words", "long_plain_400"],
)  # fmt: skip
def test_a_text_that_is_too_long_by_any_wording_is_shortened(server: FakeServer, mode: str) -> None:
    encoder, vectors = in_mode(server, mode, [*SEQUENCES[:3], *LONG])
    assert (encoder.n_truncated, encoder.n_lost) == (3, 0)
    assert np.array_equal(vectors[:3], right(server, SEQUENCES[:3])) and np.isfinite(vectors).all()


@pytest.mark.parametrize(
    "mode",
    ["shuffled", "no_index", "index_all_zero", "index_from_one", "base64_anyway", "nested", "encoding_refused", "list_alone", "text_only",
     "dims_differ", "one_missing"],
)  # fmt: skip
def test_vectors_told_in_other_ways_are_the_same(server: FakeServer, mode: str) -> None:
    encoder, vectors = in_mode(server, mode, SEQUENCES[:20])
    assert np.array_equal(vectors, right(server, SEQUENCES[:20])) and encoder.n_lost == 0


@pytest.mark.parametrize("mode", ["nan_500", "nan_in_vector", "null_in_vector", "one_refused"])
def test_a_text_of_which_no_vector_can_be_made_is_lost_alone(server: FakeServer, mode: str) -> None:
    sequences = [*SEQUENCES[:9], RICE, *SEQUENCES[9:20]]
    encoder, vectors = in_mode(server, mode, sequences)
    assert np.array_equal(np.delete(vectors, 9, axis=0), right(server, SEQUENCES[:20]))
    assert np.isnan(vectors[9]).all() and (encoder.n_lost, encoder.n_truncated) == (1, 0)


def test_a_server_that_refuses_every_text_is_named_with_its_reason(server: FakeServer) -> None:
    with pytest.raises(ModelUnavailable, match="gave no vectors"):
        in_mode(server, "none_at_all", SEQUENCES[:20])
    assert server.embeddings.n_requests <= 60


def test_a_store_keeps_the_other_vectors_and_asks_no_second_time(server: FakeServer, tmp_path: Path) -> None:
    server.embeddings.mode = "nan_500"
    sequences = [*SEQUENCES[:5], RICE]
    with asking(server) as caller:
        store = EmbeddingStore(tmp_path, ServerEncoder(caller))
        rows = store.rows(sequences, owners=[f"u{number}" for number in range(6)])
        n_before = server.embeddings.n_texts
        assert rows.tolist() == [0, 1, 2, 3, 4, -1] and store.rows(sequences).tolist() == rows.tolist()
        assert (len(store), server.embeddings.n_texts) == (5, n_before)
        scored = store.vectors(sequences)
    assert np.isnan(scored[5]).all() and np.isfinite(scored[:5]).all()


def test_a_body_longer_than_vectors_can_be_is_given_up(server: FakeServer) -> None:
    server.embeddings.bodies = [b" " * 3 * 2**20] * 99
    with asking(server) as caller, pytest.raises(ModelUnavailable, match="body too large"):
        ServerEncoder(caller).embed(SEQUENCES[:1])


def test_a_chat_models_reply_holds_no_vectors() -> None:
    from personalrm.errors import UnreadableReply

    with pytest.raises(UnreadableReply):
        vectors_of(Reply("first"))
