"""A causal language model with LoRA: checked, opened for forests, its trained part taken out, put back and told apart.

What stands on top of it, a scalar head or the latent heads of VPL, belongs to the method
and lies outside of the adapter, so that it is trained, saved and restored by the same few
lines.
"""

from __future__ import annotations

import gc
import hashlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

import numpy as np

from personalrm.embedding.quiet_loading import NO_FOREIGN_CODE, load_pretrained, quiet_loading
from personalrm.embedding.with_torch import Device, packages_of, placed, torch
from personalrm.errors import BadInput
from personalrm.rewards.language.forests.attention import Attention, use_attention
from personalrm.rewards.language.forests.chat_tokens import ChatTokenizer, load_tokenizer
from personalrm.rewards.language.forests.closing_states import PrefixCache, StateReader
from personalrm.rewards.saving import Arrays

Precision = Literal["float32", "bfloat16"]
LOADED: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
BACKBONE = "backbone."
WEIGHTS = ("*.safetensors", "*.bin", "*.safetensors.index.json", "*.bin.index.json")


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
    """Refuse a base model that cannot be trained with these options, without loading its weights.

    A run spends hours and money on personas before a base model is opened, so what would fail
    then is asked here: packages, device, tokenizer, chat template, layers that LoRA targets.

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
    with packages_of("train"):
        import accelerate
        import peft
        import safetensors
        from transformers import AutoModel
    del accelerate, peft, safetensors  # asked for now, so that nothing is missing later
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


def train_on(device: Device) -> None:
    """Make accelerate train there; whatever it is told first holds for the whole process.

    Raises:
        BadInput: If the device is not there, or this process already trains on another.
        MissingExtra: If accelerate is not installed.
    """
    with packages_of("train"):
        from accelerate import PartialState
    wanted = placed(device).type
    if PartialState(cpu=wanted == "cpu").device.type != wanted:
        raise BadInput(f"this process already trains elsewhere than on {wanted!r}; train there in another process")


def free_memory() -> None:
    """Give back what models that nobody holds any more took, on a GPU too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


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
    with packages_of("train"):
        from peft import LoraConfig, TaskType, get_peft_model
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


def trained_arrays(network: AdaptedNetwork) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    """What was trained, LoRA under PEFT's names and the heads, as copies in fp32."""
    from peft import get_peft_model_state_dict

    tensors = {**get_peft_model_state_dict(network.backbone), **_heads(network)}
    return {name: tensor.detach().cpu().contiguous().float().numpy().copy() for name, tensor in tensors.items()}


def restore_arrays(network: AdaptedNetwork, arrays: Arrays) -> None:
    """Put back what `trained_arrays` gave, which stays as it is; all of it, and nothing else.

    Raises:
        BadInput: If names or shapes are not those of this network.
    """
    from peft import set_peft_model_state_dict

    wanted = {name: array.shape for name, array in trained_arrays(network).items()}
    if {name: array.shape for name, array in arrays.items()} != wanted:
        raise BadInput(
            f"the saved adapter has {len(arrays)} tensors that do not fit the {len(wanted)} of this model; load it "
            "with the base model and the LoRA settings it was trained with"
        )
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    heads = _heads(network)
    set_peft_model_state_dict(network.backbone, {name: t for name, t in tensors.items() if name not in heads})
    with torch.no_grad():
        for name, tensor in heads.items():
            tensor.copy_(tensors[name])


def _heads(network: AdaptedNetwork) -> dict[str, torch.Tensor]:
    """Everything but the language model, by reference."""
    return {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(BACKBONE)}


def fingerprint(decoder: Any) -> str:
    """A hash of the frozen weights: names, shapes and some numbers of each, enough to tell models apart."""
    told = hashlib.blake2b(digest_size=16)
    for name, parameter in decoder.named_parameters():
        if "lora_" in name:
            continue
        told.update(f"{name.replace('.base_layer', '')} {tuple(parameter.shape)}".encode())
        told.update(parameter.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return told.hexdigest()


@dataclass(frozen=True, repr=False)
class Opened(Generic[Network]):
    """A network that is ready to be asked: what turns texts into its tokens, and what reads its states."""

    network: Network
    tokenizer: ChatTokenizer
    reader: StateReader


def opened(network: Network, base: str, cache: PrefixCache, *, max_tokens: int, tokens_at_once: int) -> Opened[Network]:
    """A network with the tokenizer of its base model.

    Args:
        network: From `open_adapted`.
        base: The saved model.
        cache: Users' beginnings.
        max_tokens: Longest sequence.
        tokens_at_once: Tokens of a forest.

    Raises:
        BadInput: If there is no tokenizer at the path.
    """
    tokenizer = ChatTokenizer(load_tokenizer(base), max_tokens, config=network.decoder.config)
    return Opened(network, tokenizer, StateReader(network.decoder, cache, tokens_at_once=tokens_at_once))
