"""An adapter in PEFT's layout scores the same without us."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.rewards.tiny import tiny_model, tiny_model_of, training_pairs

from personalrm.embedding.quiet_loading import quiet_loading
from personalrm.errors import NotFitted, StoreError
from personalrm.rewards.language.bradley_terry.model import BradleyTerry
from personalrm.rewards.language.bradley_terry.peft_export import export_peft
from personalrm.rewards.language.forests.chat_tokens import ChatPrefix, ChatTokenizer, load_tokenizer

pytestmark = pytest.mark.slow
TALK = training_pairs()[0].conversation
OFFERED = ("By train.", "It takes a while, but by bus.", "")


@pytest.fixture(scope="module")
def model() -> BradleyTerry:
    return tiny_model_of(epochs=2, head_start="normal").fit(training_pairs())


def classifier(folder: Path) -> Any:
    """What transformers and PEFT make of the folder alone."""
    from peft import AutoPeftModelForSequenceClassification

    with quiet_loading(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=1).eval()


def test_peft_loads_it_and_scores_the_same(model: BradleyTerry, tmp_path: Path) -> None:
    export_peft(model, tmp_path)
    chat, loaded = ChatTokenizer(load_tokenizer(tiny_model())), classifier(tmp_path)
    loaded.config.pad_token_id = chat.pad_token_id
    sequences = chat.tokenize(ChatPrefix("", TALK), OFFERED).sequences
    with torch.inference_mode():
        found = [loaded(input_ids=torch.tensor([one])).logits[0, 0].item() for one in sequences]
    assert found == pytest.approx(model.score(model.condition([]), TALK, OFFERED), abs=1e-5)
    assert len({round(one, 4) for one in found}) == 3


def test_the_head_is_among_what_peft_saves(model: BradleyTerry, tmp_path: Path) -> None:
    export_peft(model, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["task_type"], config["modules_to_save"], config["r"]) == ("SEQ_CLS", ["score"], 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_nothing_is_exported_before_it_was_fitted_or_where_nobody_may_write(
    model: BradleyTerry, tmp_path: Path
) -> None:
    with pytest.raises(NotFitted):
        export_peft(tiny_model_of(), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        export_peft(model, tmp_path / "file")
