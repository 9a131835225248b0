"""A language model with a reward head: LoRA on the model, one linear map on the closing token's state.

The head is ours and in fp32, outside of what an adapter holds, so it is trained, saved
and restored by the same few lines (reward_models.md, 1.2 and 1.7 c). It starts at zero:
every reward is 0, the first step is well defined, and two seeds differ by the LoRA alone.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy.typing as npt

from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput, MissingExtra
from personalrm.rewards.bradley_terry.adapter_soups import A, Adapter, B
from personalrm.rewards.forests.attention import Attention, run_forest, use_attention
from personalrm.rewards.forests.forest import Forest

HeadStart = Literal["zero", "normal"]
Precision = Literal["float32", "bfloat16"]
LOADED: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
HEAD = "head.weight"


@dataclass(frozen=True)
class Lora:
    """Which part of the language model is trained (paper, Table 6)."""

    rank: int = 64
    alpha: float = 32.0
    targets: tuple[str, ...] = ("q_proj", "v_proj")

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.targets:
            raise BadInput(f"LoRA needs a rank of at least 1 and targets, got {self.rank!r} and {self.targets!r}")


class RewardNetwork(torch.nn.Module):
    """Rewards of the sequences of a forest.

    Args:
        backbone: A decoder without head, with LoRA.
        width: Of its hidden states.
    """

    def __init__(self, backbone: Any, width: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = torch.nn.Linear(width, 1, bias=False, dtype=torch.float32)

    def forward(self, forest: Forest) -> torch.Tensor:
        """Rewards, shape `(sequences,)`, fp32."""
        states, _ = run_forest(self.decoder, forest)
        return self.rewards(states, forest)

    def rewards(self, states: torch.Tensor, forest: Forest) -> torch.Tensor:
        """Rewards `(sequences,)` from the hidden states `(N, width)` of the forest's tokens."""
        leaves = torch.from_numpy(forest.leaves).to(states.device)
        with torch.autocast(states.device.type, enabled=False):
            rewards: torch.Tensor = self.head(states[leaves].to(torch.float32))[:, 0]
        return rewards

    @property
    def decoder(self) -> Any:
        """The language model itself, LoRA inside."""
        return self.backbone.get_base_model()

    def trained(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """Names and parameters of what is trained: LoRA and head."""
        return ((name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad)


def open_network(path: str, lora: Lora, *, seed: int, options: NetworkOptions) -> RewardNetwork:
    """The network with fresh LoRA and head, in evaluation mode; equal seeds give equal networks.

    Args:
        path: A saved model, as transformers loads it.
        lora: What is trained.
        seed: Of LoRA's and the head's start.
        options: Precision, attention, start of the head.

    Raises:
        BadInput: If the model cannot be loaded, or has no layers of the names LoRA targets.
        MissingExtra: If transformers or PEFT is not installed.
    """
    try:
        from peft import LoraConfig, TaskType, get_peft_model
        from transformers import AutoModel
    except ImportError:
        raise MissingExtra("transformers and peft are needed; pip install 'personalrm[train]'") from None
    try:
        with quietly():
            decoder: Any = AutoModel.from_pretrained(path, dtype=LOADED[options.precision])
    except (OSError, ValueError) as error:
        raise BadInput(f"no model can be loaded from {path!r} ({type(error).__name__}); check the path") from None
    use_attention(decoder, options.attention)
    config = LoraConfig(
        task_type=TaskType.FEATURE_EXTRACTION,
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=0.0,
        target_modules=list(lora.targets),
        base_model_name_or_path=path,
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks transformers in a way that is going out of use
        torch.manual_seed(seed)
        try:
            network = RewardNetwork(get_peft_model(decoder, config), decoder.config.hidden_size)
        except ValueError:
            raise BadInput(
                f"model {path!r} has no layers named {', '.join(lora.targets)}; name its attention layers as targets"
            ) from None
        if options.head_start == "zero":
            torch.nn.init.zeros_(network.head.weight)
        else:
            torch.nn.init.normal_(network.head.weight, std=decoder.config.hidden_size**-0.5)
    if options.checkpointing:
        newer = getattr(decoder, "activation_checkpointing_enable", None)  # its name from transformers 5.23 on
        (newer or decoder.gradient_checkpointing_enable)({"use_reentrant": False})
    return network.eval()


@dataclass(frozen=True)
class NetworkOptions:
    """How the language model is held and run."""

    precision: Precision = "float32"
    """Of the language model; LoRA and head are fp32 in any case."""
    attention: Attention = "segments"
    head_start: HeadStart = "zero"
    """`zero`, or `normal` with variance 1 / width."""
    checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them."""

    def __post_init__(self) -> None:
        for name, kind in (("precision", Precision), ("head_start", HeadStart)):
            if getattr(self, name) not in get_args(kind):
                raise BadInput(f"unknown {name} {getattr(self, name)!r}; use one of {', '.join(get_args(kind))}")


@contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' progress bars and its report that we left the language model's own head out."""
    from transformers.utils import logging

    verbosity, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bars:
            logging.enable_progress_bar()


def trained_tensors(network: RewardNetwork) -> dict[str, torch.Tensor]:
    """What was trained, LoRA under PEFT's names and the head, on the CPU."""
    from peft import get_peft_model_state_dict

    lora = get_peft_model_state_dict(network.backbone)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in lora.items()}
    return tensors | {HEAD: network.head.weight.detach().cpu().contiguous()}


def restore_tensors(network: RewardNetwork, tensors: Mapping[str, torch.Tensor]) -> None:
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
    set_peft_model_state_dict(network.backbone, {name: t for name, t in tensors.items() if name != HEAD})
    with torch.no_grad():
        network.head.weight.copy_(tensors[HEAD])


def restore_arrays(network: RewardNetwork, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """`restore_tensors` of numpy arrays, which stay as they are."""
    restore_tensors(network, {name: torch.from_numpy(array.copy()) for name, array in arrays.items()})


def wear(network: RewardNetwork, adapter: Adapter) -> None:
    """Put an adapter of any rank in place of the present one; the base model is loaded once for all of them.

    Raises:
        BadInput: If it changes other layers than this network's.
    """
    layers = {name: one for name, one in network.backbone.named_modules() if hasattr(one, "lora_A")}
    if sorted(layers) != sorted(adapter.layers):
        raise BadInput(
            f"an adapter of {len(adapter.layers)} layers does not fit the {len(layers)} of this model; use one of it"
        )
    with torch.no_grad():
        for name, layer in layers.items():
            for factors, ending in ((layer.lora_A, A), (layer.lora_B, B)):
                held = factors["default"].weight
                held.data = torch.from_numpy(adapter.arrays[name + ending].copy()).to(held.device, held.dtype)
            layer.r["default"], layer.lora_alpha["default"] = adapter.rank, adapter.alpha
            layer.scaling["default"] = adapter.scaling
        network.head.weight.copy_(torch.from_numpy(adapter.arrays[HEAD].copy()))


def fingerprint(decoder: Any) -> str:
    """A hash of the frozen weights: names, shapes and some numbers of each, enough to tell models apart."""
    told = hashlib.blake2b(digest_size=16)
    for name, parameter in decoder.named_parameters():
        if "lora_" in name:
            continue
        told.update(f"{name.replace('.base_layer', '')} {tuple(parameter.shape)}".encode())
        told.update(parameter.detach().flatten()[:64].float().cpu().numpy().tobytes())
    return told.hexdigest()
