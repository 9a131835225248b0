"""Soups of LoRA adapters: the average of their deltas as one adapter, exactly.

A weighted sum of deltas sum_i l_i s_i B_i A_i is itself an adapter of the summed rank,
[l_1 s_1 B_1, l_2 s_2 B_2, ...] [A_1; A_2; ...]. Averaging the factors A and B one by one,
as is often done, gives another model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from personalrm.errors import BadInput

Array = npt.NDArray[np.float32]
A, B = ".lora_A.weight", ".lora_B.weight"


@dataclass(frozen=True, repr=False)
class Adapter:
    """LoRA factors by name, `NAME.lora_A.weight` (rank, in) and `NAME.lora_B.weight` (out, rank), and the rest."""

    arrays: Mapping[str, Array]
    """Factors, and tensors that are not factors, such as the head."""
    rank: int
    alpha: float

    @property
    def scaling(self) -> float:
        """s in delta W = s B A."""
        return self.alpha / self.rank

    def delta(self, layer: str) -> Array:
        """s B A of a layer, `(out, in)`."""
        product: Array = self.scaling * (self.arrays[layer + B] @ self.arrays[layer + A])
        return product

    @property
    def layers(self) -> list[str]:
        """Names of the layers it changes."""
        return [name.removesuffix(A) for name in self.arrays if name.endswith(A)]

    def __repr__(self) -> str:
        return f"Adapter(layers={len(self.layers)}, rank={self.rank}, alpha={self.alpha:g})"


def soup(adapters: Sequence[Adapter], weights: Sequence[float]) -> Adapter:
    """One adapter whose delta is the weighted sum of the adapters' deltas; the inputs stay as they are.

    Adapters of weight 0 leave no trace, and a single one of weight 1 comes back bit for
    bit. Tensors that are not factors are summed with the same weights.

    Args:
        adapters: Of one base model: equal layers and shapes, ranks may differ.
        weights: Finite numbers, one an adapter; those of a simplex make an average.

    Raises:
        BadInput: If there are none, numbers or shapes do not fit, or all weights are 0.
    """
    if len(adapters) != len(weights) or not adapters:
        raise BadInput(f"a soup needs one weight an adapter, got {len(adapters)} adapters and {len(weights)} weights")
    if not np.isfinite(weights).all() or not np.any(weights):
        raise BadInput(f"weights of a soup must be finite and not all 0, got {[float(weight) for weight in weights]!r}")
    shapes = [_shapes(adapter) for adapter in adapters]
    for place, adapter_shapes in enumerate(shapes):
        if adapter_shapes != shapes[0]:
            raise BadInput(f"adapter {place} changes other layers or shapes than adapter 0; mix adapters of one model")
    used = [(adapter, float(weight)) for adapter, weight in zip(adapters, weights, strict=True) if weight != 0]
    first, weight = used[0]
    if len(used) == 1 and weight == 1.0:
        return Adapter(
            MappingProxyType({name: array.copy() for name, array in first.arrays.items()}), first.rank, first.alpha
        )
    arrays: dict[str, Array] = {}
    for layer in first.layers:
        arrays[layer + A] = np.concatenate([adapter.arrays[layer + A] for adapter, _ in used], axis=0)
        # The scalings go into B, so the soup's own is 1.
        arrays[layer + B] = np.concatenate(
            [np.float32(weight * adapter.scaling) * adapter.arrays[layer + B] for adapter, weight in used], axis=1
        )
    for name in first.arrays:
        if name not in arrays:
            arrays[name] = np.sum([np.float32(weight) * adapter.arrays[name] for adapter, weight in used], axis=0)
    rank = sum(adapter.rank for adapter, _ in used)
    return Adapter(MappingProxyType(arrays), rank, float(rank))


def _shapes(adapter: Adapter) -> dict[str, tuple[int, ...]]:
    """Layers and shapes but for the rank, in which adapters may differ."""
    return {
        name: array.shape[1:] if name.endswith(A) else array.shape[:-1] if name.endswith(B) else array.shape
        for name, array in adapter.arrays.items()
    }
