"""Attention of a forest without gradients: what many tokens see in common is read in one call.

All tokens below a segment see it whole, so they go against its keys together and without
a mask; each segment goes against itself causally. A token's parts are then merged by the
logarithms of their softmax denominators,

    o = o_a + sigmoid(l_b - l_a) (o_b - o_a),  l = log(exp l_a + exp l_b),

which is the softmax over all of them. No key is copied, and the calls are large. The
denominators come from the operator behind `scaled_dot_product_attention`, which torch has
for the CPU; elsewhere, and where gradients are wanted, segments go one by one.
"""

from __future__ import annotations

from personalrm.embedding.with_torch import torch
from personalrm.rewards.language.forests.forest import Forest


def can_merge(query: torch.Tensor, dropout: float) -> bool:
    """Whether the operator with denominators is there, and gives all that is asked."""
    return (
        query.device.type == "cpu"
        and not torch.is_grad_enabled()
        and dropout == 0.0
        and hasattr(torch.ops.aten, "_scaled_dot_product_flash_attention_for_cpu")
    )


def merged_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *, forest: Forest, scaling: float
) -> torch.Tensor:
    """Attention `(1, heads, N, width)` of all segments.

    Args:
        query: `(1, heads, N, width)`.
        key: `(1, kv heads, cached + N, width)`.
        value: Like `key`.
        forest: Whose tokens they are.
        scaling: Of the scores.
    """
    n_cached = forest.n_cached
    merged = _Merged(query, scaling)
    for segment in forest.segments:
        own = slice(n_cached + segment.start, n_cached + segment.end)
        merged.start(slice(segment.start, segment.end), key[:, :, own], value[:, :, own])
    for segment in forest.segments:
        if segment.below > segment.end:
            own = slice(n_cached + segment.start, n_cached + segment.end)
            merged.add(slice(segment.end, segment.below), key[:, :, own], value[:, :, own])
    if n_cached:
        merged.add(slice(0, query.shape[2]), key[:, :, :n_cached], value[:, :, :n_cached])
    return merged.out


class _Merged:
    """Attention as far as it has been computed, and the logarithm of each token's denominator."""

    def __init__(self, query: torch.Tensor, scaling: float) -> None:
        self._query, self._scaling = query, scaling
        # Tokens before heads in memory, as the next layer reads them.
        self.out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        self._log = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)  # (1, heads, N)

    def start(self, tokens: slice, key: torch.Tensor, value: torch.Tensor) -> None:
        """The tokens among themselves, causally."""
        self.out[:, :, tokens], self._log[:, :, tokens] = self._attend(tokens, key, value, is_causal=True)

    def add(self, tokens: slice, key: torch.Tensor, value: torch.Tensor) -> None:
        """Keys that all of the tokens see."""
        part, log = self._attend(tokens, key, value, is_causal=False)
        before = self._log[:, :, tokens]
        share = torch.sigmoid(log - before)[..., None].to(part.dtype)
        self.out[:, :, tokens].lerp_(part, share)
        torch.logaddexp(before, log, out=before)

    def _attend(
        self, tokens: slice, key: torch.Tensor, value: torch.Tensor, *, is_causal: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
        part, log = attend(self._query[:, :, tokens], key, value, 0.0, is_causal, scale=self._scaling)
        return part, log
