"""A causal language model with LoRA: opened for forests, its trained part taken out, put back and told apart.

What stands on top of it, a scalar head or the latent heads of VPL, belongs to the method
and lies outside of the adapter, so that it is trained, saved and restored by the same few
lines.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from personalrm.embedding.quiet_loading import load_pretrained
from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput, MissingExtra
from personalrm.rewards.language.forests.attention import Attention, use_attention
from personalrm.wording import absence

Precision = Literal["float32", "bfloat16"]
LOADED: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BACKBONE = "backbone."


@dataclass(frozen=True)
class Lora:
    """Which part of the language model is trained (paper, Table 6)."""

    rank: int = 64
    alpha: float = 32.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    dropout: float = 0.0
    """Share of LoRA's inputs that training leaves out."""

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.targets:
            raise BadInput(f"LoRA needs a rank of at least 1 and targets, got {self.rank!r} and {self.targets!r}")
        if not 0.0 <= self.dropout < 1.0:
            raise BadInput(f"LoRA's dropout must lie in [0, 1), got {self.dropout!r}")


@dataclass(frozen=True)
class Holding:
    """How the language model is held and run."""

    precision: Precision = "float32"
    """Of the language model; LoRA and heads are fp32 in any case."""
    attention: Attention = "segments"
    checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise BadInput(f"unknown precision {self.precision!r}; use one of {', '.join(get_args(Precision))}")


class AdaptedNetwork(torch.nn.Module):
    """A network whose trunk is a language model with LoRA; all that is trained needs a gradient.

    Args:
        backbone: A decoder without head, with LoRA.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone

    @property
    def decoder(self) -> Any:
        """The language model itself, LoRA inside."""
        return self.backbone.get_base_model()

    def trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Names and parameters of what is trained: LoRA and heads."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)


Network = TypeVar("Network", bound=AdaptedNetwork)


def open_adapted(path: str, lora: Lora, holding: Holding, *, seed: int, make: Callable[[Any, int], Network]) -> Network:
    """The network with fresh LoRA and heads, in evaluation mode; equal seeds give equal networks.

    Args:
        path: A saved model, as transformers loads it.
        lora: What is trained.
        holding: Precision, attention.
        seed: Of LoRA's and the heads' start.
        make: The network on a backbone, given the width of its hidden states.

    Raises:
        BadInput: If the model cannot be loaded, or has no layers of the names LoRA targets.
        MissingExtra: If transformers or PEFT is not installed.
    """
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except (ImportError, OSError, MemoryError) as error:
        raise MissingExtra(absence(error, getattr(error, "name", None) or "torch", "train")) from None
    decoder: Any = load_pretrained("AutoModel", path, "base model", dtype=LOADED[holding.precision])
    use_attention(decoder, holding.attention)
    config = LoraConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        base_model_name_or_path=path,
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers in a way that is going out of use
        torch.manual_seed(seed)
        try:
            backbone = get_peft_model(decoder, config)
        except ValueError:
            raise BadInput(
                f"model {path!r} has no layers named {', '.join(lora.targets)}; name its attention layers as targets"
            ) from None
        network = make(backbone, decoder.config.hidden_size)
    if holding.checkpointing:
        newer = getattr(decoder, "activation_checkpointing_enable", None)  # its name from transformers 5.23 on
        (newer or decoder.gradient_checkpointing_enable)({"use_reentrant": False})
    return network.eval()


def trained_tensors(network: AdaptedNetwork) -> dict[str, torch.Tensor]:
    """What was trained, LoRA under PEFT's names and the heads, on the CPU."""
    from peft import get_peft_model_state_dict

    lora = get_peft_model_state_dict(network.backbone)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in {**lora, **_heads(network)}.items()}


def restore_tensors(network: AdaptedNetwork, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `trained_tensors` gave; all of it, and nothing else.

    Raises:
        BadInput: If names or shapes are not those of this network.
    """
    from peft import set_peft_model_state_dict

    wanted = {name: tensor.shape for name, tensor in trained_tensors(network).items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != wanted:
        raise BadInput(
            f"the saved adapter has {len(tensors)} tensors that do not fit the {len(wanted)} of this model; load it "
            "with the base model and the LoRA settings it was trained with"
        )
    heads = _heads(network)
    set_peft_model_state_dict(network.backbone, {name: t for name, t in tensors.items() if name not in heads})
    with torch.no_grad():
        for name, tensor in heads.items():
            tensor.copy_(tensors[name])


def fingerprint(decoder: Any) -> str:
    """A hash of the frozen weights: names, shapes and some numbers of each, enough to tell models apart."""
    told = hashlib.blake2b(digest_size=16)
    for name, parameter in decoder.named_parameters():
        if "lora_" in name:
            continue
        told.update(f"{name.replace('.base_layer', '')} {tuple(parameter.shape)}".encode())
        told.update(parameter.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return told.hexdigest()


def _heads(network: AdaptedNetwork) -> dict[str, torch.Tensor]:
    """Everything but the language model, by reference."""
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(BACKBONE)}
