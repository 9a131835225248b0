"""Tiny random language models with a tokenizer trained on the spot: real files, no downloads.

Llama's ways, traps included: a template that closes every turn with the end token, a
beginning token that template and tokenizer both write, and padding set to the end token.
Needs the extra `train`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from personalrm.testing.users import LONG, SHORT

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n{{ m['content'] }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
SPECIAL = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|finetune_right_pad_id|>")


def tiny_tokenizer(*, pad: str = "<|eot_id|>", template: str | None = TEMPLATE) -> Any:
    """A byte-level tokenizer of a few hundred tokens that any text goes through."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([SHORT, LONG, "system user assistant"], trainer)
    begin = inner.token_to_id("<|begin_of_text|>")
    inner.post_processor = processors.TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", begin)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        pad_token=pad,
        additional_special_tokens=[name for name in SPECIAL[1:] if name not in ("<|eot_id|>", pad)],
    )
    tokenizer.chat_template = template
    return tokenizer


def save_tiny_model(folder: Path, *, seed: int = 0, **config: Any) -> str:
    """A random Llama and its tokenizer in a folder, as `from_pretrained` reads them; returns the path.

    Args:
        folder: Made if need be.
        seed: Of the weights.
        **config: Fields of `LlamaConfig` other than the tiny ones.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from personalrm.embedding.with_torch import torch

    tokenizer = config.pop("tokenizer", None) or tiny_tokenizer()
    tiny = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 8192,
        "initializer_range": 0.2,  # so that a random model tells sequences apart
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(LlamaConfig(**{**tiny, **config})).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
