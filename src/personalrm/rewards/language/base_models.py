"""Whether a base model can be trained at all, found out without loading its weights.

A run spends hours and money on personas before a base model is opened, so what would fail
then is asked here: packages, device, tokenizer, chat template, layers that LoRA targets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from personalrm.embedding.quiet_loading import NO_FOREIGN_CODE, load_pretrained, quiet_loading
from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput, MissingExtra
from personalrm.rewards.language.bradley_terry import Lora
from personalrm.rewards.language.forests.chat_tokens import ChatTokenizer, load_tokenizer
from personalrm.rewards.language.placing import Device, placed
from personalrm.wording import absence

WEIGHTS = ("*.safetensors", "*.bin", "*.safetensors.index.json", "*.bin.index.json")


class Trainable(Protocol):
    """Options of a method that trains a language model with LoRA."""

    @property
    def lora(self) -> Lora:
        """What is trained."""
        ...

    @property
    def max_tokens(self) -> int:
        """Longest sequence."""
        ...


def check_base(base: str, options: Trainable, *, device: Device, plain_template: bool = False) -> None:
    """Refuse a base model that cannot be trained with these options.

    Args:
        base: A saved model, as transformers loads it.
        options: How it is to be trained.
        device: Where.
        plain_template: Whether one without a chat template is taken, with a plain template of ours.

    Raises:
        MissingExtra: If a package is not installed.
        BadInput: If there is no such model or device, the model has no chat template, no token to pad with, no
            weights in its folder, or no layers of the names LoRA targets.
    """
    try:
        import accelerate
        import peft
        import safetensors
        import transformers
    except (ImportError, OSError, MemoryError) as error:
        raise MissingExtra(absence(error, getattr(error, "name", None) or "torch", "train")) from None
    del accelerate, peft, safetensors, transformers  # asked for now, so that nothing is missing later
    placed(device)
    tokenizer = load_tokenizer(base)
    if tokenizer.chat_template is None and not plain_template:
        raise BadInput(
            f"base model {base!r} has no chat template, so it was never taught conversations; name its instruct "
            "version, or take it as it is with plain_template: true"
        )
    _ = ChatTokenizer(tokenizer, options.max_tokens).pad_token_id  # refuses a tokenizer without one to spare
    folder = Path(base)
    if folder.is_dir() and not any(path for name in WEIGHTS for path in folder.glob(name)):
        raise BadInput(f"base model folder {base!r} holds no weights; save the model there")
    from transformers import AutoModel

    config = load_pretrained("AutoConfig", base, "base model")
    try:
        with quiet_loading(), torch.device("meta"):  # only the plan of the model is built
            plan = AutoModel.from_config(config, **NO_FOREIGN_CODE)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, ImportError) as error:
        raise BadInput(f"base model {base!r} cannot be loaded ({type(error).__name__}); check the path") from None
    layers = {name.split(".")[-1] for name, _ in plan.named_modules()}
    missing = [target for target in options.lora.targets if target not in layers]
    if missing:
        raise BadInput(
            f"base model {base!r} has no layers named {', '.join(missing)}; name its attention as targets of lora"
        )
