"""Which encoder a reward model reads texts with, as a value that is saved beside the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast, get_args

from personalrm.embedding.encoders import Encoder
from personalrm.errors import BadInput
from personalrm.stylometry.encoder import StylometricEncoder

STYLOMETRIC = "stylometric"


@dataclass(frozen=True)
class EncoderSpec:
    """An encoder by name."""

    name: str = STYLOMETRIC
    """`stylometric` (no model), or a Hugging Face model: a name on the hub, a folder, or a GGUF file."""
    max_tokens: int = 8192
    """Longest sequence; longer ones lose their oldest turns."""
    dtype: str = "float32"
    """float32, bfloat16 or float16."""
    device: str = "cpu"
    batch_tokens: int = 16_384
    """Most tokens of a forward."""
    layer: int | None = None
    """Which hidden layer; the last, after the final norm, where None."""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise BadInput("the encoder has no name; write stylometric, a name on the hub or a folder")
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise BadInput(f"dtype of encoder {self.name!r} is {self.dtype!r}; use float32, bfloat16 or float16")

    def on(self, device: str) -> EncoderSpec:
        """The same elsewhere: on `auto` (a GPU where there is one), `cpu`, `cuda`, or another device of torch's.

        Raises:
            BadInput: If a model is named and the device is not there.
        """
        if self.name == STYLOMETRIC:  # numpy alone; it has no use for a device
            return self
        from personalrm.embedding.with_torch import Device, placed

        known = device in get_args(Device)
        return replace(self, device=placed(cast(Device, device)).type if known else device)


def open_encoder(spec: EncoderSpec) -> Encoder:
    """The encoder; a model is loaded at the first text.

    Raises:
        MissingExtra: If a model is named and torch or transformers is missing.
    """
    if spec.name == STYLOMETRIC:
        return StylometricEncoder()
    from personalrm.embedding.hugging_face import Encoding, HuggingFaceEncoder

    dtype: object = spec.dtype
    layer = -1 if spec.layer is None else spec.layer
    encoding = Encoding(spec.max_tokens, layer, dtype, batch_tokens=spec.batch_tokens, device=spec.device)  # type: ignore[arg-type]  # checked above
    return HuggingFaceEncoder(spec.name, encoding)
