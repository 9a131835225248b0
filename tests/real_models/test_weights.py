"""The weights of a GGUF file in torch: a real encoder of texts, and a real base model for LoRA."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from personalrm.embedding.encoders import TextSequence
from personalrm.embedding.hugging_face import Encoding, HuggingFaceEncoder
from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput
from personalrm.preferences.messages import Message
from personalrm.preferences.people import example_path

pytestmark = pytest.mark.lm


def asked(question, answer):
    return TextSequence((Message("user", question),), answer)


@pytest.fixture(scope="module")
def encoder(smollm2):
    return HuggingFaceEncoder(str(smollm2), Encoding(layer=15))


def test_texts_that_mean_the_same_are_near_each_other(encoder, tmp_path):
    store = EmbeddingStore(tmp_path, encoder)
    texts = ["The cat sleeps on the sofa.", "A cat is sleeping on the couch.", "Interest rates rose by half a point."]
    rows = store.rows([asked("Say something.", text) for text in texts])
    vectors = store.matrix("last")[rows].astype(np.float64)
    vectors -= vectors.mean(axis=0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near, far = vectors[0] @ vectors[1], max(vectors[0] @ vectors[2], vectors[1] @ vectors[2])
    assert vectors.shape == (3, 576) and near > far + 0.2


def test_conversations_are_packed_and_the_file_is_the_identity(encoder, smollm2):
    assert encoder.shares_prefixes
    assert str(smollm2.parent) not in encoder.identity and "gguf b179c952" in encoder.identity
    assert HuggingFaceEncoder(str(smollm2)).identity != encoder.identity


def test_a_layer_that_is_not_there_is_one_sentence(smollm2):
    with pytest.raises(BadInput, match="is 31; it has layers 0 to 30"):
        HuggingFaceEncoder(str(smollm2), Encoding(layer=31)).embed([asked("a", "b")])


def test_an_epoch_of_lora_is_trained(smollm2, tmp_path):
    lines = Path(example_path()).read_text(encoding="utf-8").splitlines()
    (tmp_path / "people.jsonl").write_text("\n".join(lines[:16]) + "\n")
    settings = tmp_path / "settings.yaml"
    settings.write_text("epochs: 1\nmax_tokens: 96\nlora: {rank: 4}\n")
    arguments = ("train", "bt", tmp_path / "people.jsonl", "--base", smollm2, "-c", settings, "--dev-percent", 0)
    more = ("--out", tmp_path / "model", "--home", tmp_path / "home", "--json")
    command = [sys.executable, "-m", "personalrm", *map(str, (*arguments, *more))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "it/s" not in done.stderr  # the bars of other packages
    report = json.loads(done.stdout)
    assert report["n_pairs"] == 16 and report["n_steps"] >= 1
    assert (tmp_path / "model" / "model.safetensors").stat().st_size > 100_000
