"""A Bradley-Terry adapter in PEFT's own layout, for whoever loads it without us.

    <folder>/adapter_config.json          LoRA's settings, with the head among the modules saved
    <folder>/adapter_model.safetensors    LoRA and head, under the names of a sequence classifier

The head is the classifier's `score`, which PEFT trains and saves only where it is told to.
What our folder has beside (settings, fingerprint of the base
model, kind of user turn) has no place there, so this is a way out and not a way back.
"""

from __future__ import annotations

import os
from pathlib import Path

from personalrm.embedding.with_torch import packages_of
from personalrm.errors import StoreError
from personalrm.rewards.language.bradley_terry.model import BradleyTerry
from personalrm.rewards.language.bradley_terry.network import HEAD

OURS = "base_model.model."


def export_peft(model: BradleyTerry, folder: str | Path) -> None:
    """Write adapter and head as PEFT does for `AutoModelForSequenceClassification` with one label.

    Args:
        model: Fitted or loaded.
        folder: Made if need be.

    Raises:
        NotFitted: Before `fit` or `load`.
        StoreError: If the folder cannot be written.
        MissingExtra: If PEFT is not installed.
    """
    with packages_of("train"):
        from peft import LoraConfig, TaskType
        from safetensors.numpy import save_file
    arrays, inner, lora = model.adapter().arrays, model.network.decoder.base_model_prefix, model.options.lora
    # A classifier holds the language model one level deeper than we do, beside its head.
    named = {f"{OURS}{inner}.{name.removeprefix(OURS)}": array for name, array in arrays.items() if "lora_" in name}
    named[f"{OURS}score.weight"] = arrays[HEAD]
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        modules_to_save=["score"],
        base_model_name_or_path=model.base,
        inference_mode=True,
    )
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        unfinished = path / "adapter_model.safetensors.tmp"
        save_file(named, unfinished, metadata={"format": "pt"})
        os.replace(unfinished, path / "adapter_model.safetensors")
        config.save_pretrained(str(path))
    except OSError as error:
        raise StoreError(f"adapter folder {str(path)!r} cannot be written ({error.strerror or error})") from None
