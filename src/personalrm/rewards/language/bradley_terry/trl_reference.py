"""The same training by TRL's RewardTrainer: the reference path, and a bridge for its users.

One difference is kept on purpose: sequences are made by our tokenizer, so over-long
pairs are truncated and counted where TRL alone would drop them (reward_models.md, 1.7 b).
TRL shuffles and batches by itself, so only trainings whose steps hold the same pairs end
in the same parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from personalrm.embedding.quiet_loading import quiet_loading
from personalrm.embedding.with_torch import torch
from personalrm.errors import MissingExtra
from personalrm.rewards.language.bradley_terry.network import RewardNetwork
from personalrm.rewards.language.bradley_terry.training import BradleyTerryOptions
from personalrm.rewards.language.forests.pair_batches import TokenPair


def train_with_trl(
    network: RewardNetwork,
    path: str,
    pairs: Sequence[TokenPair],
    options: BradleyTerryOptions,
    *,
    tokenizer: Any,
    pad_token_id: int,
    folder: Path,
) -> list[float]:
    """Train by TRL from the network's present parameters and put the result back; returns the logged losses.

    Args:
        network: From `open_network`.
        path: The base model, which TRL loads a second time.
        pairs: What to train on.
        options: Rate, epochs, pairs a step, seed, LoRA; sharing and attention are ours alone.
        tokenizer: The model's own.
        pad_token_id: Not the token that closes a turn.
        folder: Where TRL writes.

    Raises:
        MissingExtra: If trl or datasets is not installed.
    """
    try:
        from datasets import Dataset
        from transformers import AutoModelForSequenceClassification
        from trl import RewardTrainer
    except ImportError:
        raise MissingExtra("trl and datasets are needed; pip install 'personalrm[train]'") from None
    with quiet_loading():
        model: Any = AutoModelForSequenceClassification.from_pretrained(path, num_labels=1)
    # TRL and transformers look for this token to find where a sequence ends.
    model.config.pad_token_id = pad_token_id
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad_token_id)
    rows = Dataset.from_dict(
        {"chosen_ids": [list(pair.chosen) for pair in pairs], "rejected_ids": [list(pair.rejected) for pair in pairs]}
    )
    trainer: Any = RewardTrainer(
        model=model,
        args=_config(options, folder),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=_lora(options),
    )
    theirs = dict(_matched(trainer.model, model.base_model_prefix))
    ours = {_inner(name): parameter for name, parameter in network.trained()}
    _copy(ours, theirs)
    trainer.train()
    _copy(theirs, ours)
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
