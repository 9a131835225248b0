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
    assert (server.embeddings.n_texts, len(store)) == (len(SEQUENCES) + 1, len(SEQUENCES))  # one for the width


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


def test_a_chat_models_reply_holds_no_vectors() -> None:
    from personalrm.errors import UnreadableReply

    with pytest.raises(UnreadableReply):
        vectors_of(Reply("first"))
