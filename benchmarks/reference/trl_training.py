"""A Bradley-Terry model trained by TRL's RewardTrainer instead of our loop.

One difference is kept on purpose: sequences are made by our tokenizer, so over-long
pairs are truncated and counted where TRL alone would drop them. TRL shuffles and batches
by itself, so only trainings whose steps hold the same pairs end in the same parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.embedding.quiet_loading import quiet_loading
from personalrm.embedding.with_torch import torch
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.language.bradley_terry.model import BradleyTerry
from personalrm.rewards.language.bradley_terry.network import BradleyTerryOptions
from personalrm.rewards.language.forests.chat_tokens import ChatTokenizer, load_tokenizer
from personalrm.rewards.language.forests.pair_batches import tokenize_pairs


def train_with_trl(model: BradleyTerry, pairs: Sequence[PreferencePair], folder: Path) -> list[float]:
    """Train a fresh model by TRL, from the parameters our own training would begin with; returns TRL's losses.

    Args:
        model: Opened here; trained afterwards. Sharing and attention of its options are ours alone.
        pairs: What to train on.
        folder: Where TRL writes what it writes.
    """
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification
    from trl import RewardTrainer

    network, options = model.open().network, model.options
    chat = ChatTokenizer(load_tokenizer(model.base), options.max_tokens)
    tokens = tokenize_pairs(chat, [(model.turns.of_training(pair), pair) for pair in pairs], sharing=options.sharing)
    with quiet_loading():
        base: Any = AutoModelForSequenceClassification.from_pretrained(
            model.base, num_labels=1, trust_remote_code=False
        )
    # TRL and transformers look for this token to find where a sequence ends.
    base.config.pad_token_id = chat.pad_token_id
    tokenizer: Any = chat.tokenizer
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(chat.pad_token_id)
    rows = Dataset.from_dict(
        {"chosen_ids": [list(pair.chosen) for pair in tokens], "rejected_ids": [list(pair.rejected) for pair in tokens]}
    )
    trainer: Any = RewardTrainer(
        model=base,
        args=_config(options, folder),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=_lora(options),
    )
    theirs = dict(_matched(trainer.model, base.base_model_prefix))
    ours = {_inner(name): parameter for name, parameter in network.trained()}
    _copy(ours, theirs)
    trainer.train()
    _copy(theirs, ours)
    network.eval()
    model.cache.clear()
    return [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]


def _config(options: BradleyTerryOptions, folder: Path) -> Any:
    """The paper's optimizer in TRL's words; checkpointing off unless wanted, where TRL has it on."""
    from trl import RewardConfig

    return RewardConfig(
        output_dir=str(folder),
        per_device_train_batch_size=options.pairs_a_step,
        learning_rate=options.learning_rate,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=1.0,
        num_train_epochs=options.epochs,
        center_rewards_coefficient=options.centering or None,
        gradient_checkpointing=options.network.checkpointing,
        bf16=options.network.precision == "bfloat16",
        max_length=None,
        seed=options.seed,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_dropout=options.lora.dropout == 0.0,
        disable_tqdm=True,
        use_cpu=not torch.cuda.is_available(),
    )


def _lora(options: BradleyTerryOptions) -> Any:
    """SEQ_CLS and the head among the modules saved, or the head would be neither trained nor saved."""
    from peft import LoraConfig, TaskType

    return LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=options.lora.rank,
        lora_alpha=options.lora.alpha,
        lora_dropout=options.lora.dropout,
        target_modules=list(options.lora.targets),
        modules_to_save=["score"],
    )


def _matched(model: Any, prefix: str) -> list[tuple[str, torch.nn.Parameter]]:
    """TRL's trained parameters under our names."""
    found = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            inner = "head.weight" if ".score." in name else _inner(name).removeprefix(f"{prefix}.")
            found.append((inner, parameter))
    return found


def _inner(name: str) -> str:
    """A parameter's name inside the language model; the head's own name as it is."""
    return name.partition("base_model.model.")[2] or name


@torch.no_grad()
def _copy(source: Mapping[str, torch.nn.Parameter], target: Mapping[str, torch.nn.Parameter]) -> None:
    assert set(source) == set(target), "both sides train the same layers"
    for name, parameter in target.items():
        parameter.copy_(source[name].to(parameter.device, parameter.dtype))
