"""Attention over a forest inside any transformers model, through its attention interface.

`segments` computes each segment against the keys of the segments above it and its own.
`sdpa` and `eager` run the model's own attention with a mask of all tokens by all tokens,
for models that do not take part in the interface. All three give the scores of the
sequences run alone.

Attention of a forest without gradients: what many tokens see in common is read in one call.

All tokens below a segment see it whole, so they go against its keys together and without
a mask; each segment goes against itself causally. A token's parts are then merged by the
logarithms of their softmax denominators,

    o = o_a + sigmoid(l_b - l_a) (o_b - o_a),  l = log(exp l_a + exp l_b),

which is the softmax over all of them. No key is copied, and the calls are large. The
denominators come from the operator behind `scaled_dot_product_attention`, which torch has
for the CPU; elsewhere, and where gradients are wanted, segments go one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from personalrm.embedding.with_torch import packages_of, torch
from personalrm.errors import BadInput
from personalrm.rewards.language.forests.forest import Forest, Segment


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


Attention = Literal["segments", "sdpa", "eager"]
ATTENTIONS: tuple[Attention, ...] = get_args(Attention)
NAME = "personalrm_segments"
KeysValues = tuple[tuple[torch.Tensor, torch.Tensor], ...]
"""Keys and values of each layer, `(1, heads, tokens, width)` each."""


def use_attention(model: Any, attention: Attention) -> None:
    """Make a model attend this way from now on.

    Raises:
        BadInput: If the model's layers see a window only, which trees do not know.
        MissingExtra: If transformers is not installed.
    """
    with packages_of("train"):
        from transformers import AttentionInterface
    if attention not in ATTENTIONS:
        raise BadInput(f"unknown attention {attention!r}; use one of {', '.join(ATTENTIONS)}")
    kinds = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"}:
        raise BadInput(f"the model has layers of kinds {sorted(kinds)!r}; shared beginnings need full attention")
    AttentionInterface.register(NAME, segment_attention)
    model.set_attn_implementation(NAME if attention == "segments" else attention)


def run_forest(
    model: Any, forest: Forest, *, cached: KeysValues | None = None, keep: bool = False
) -> tuple[torch.Tensor, KeysValues]:
    """Hidden states `(N, width)` of a forest's tokens, and with `keep` the keys and values of all of them.

    Args:
        model: A decoder without head, prepared by `use_attention`.
        forest: The tokens.
        cached: Keys and values of the `n_cached` tokens that all trees begin with.
        keep: Whether keys and values are wanted.
    """
    device = model.device
    past = _cache(cached) if cached is not None or keep else None
    given: dict[str, Any] = {"input_ids": torch.from_numpy(forest.tokens).to(device)[None]}
    given["position_ids"] = torch.from_numpy(forest.positions).to(device)[None]
    if model.config._attn_implementation == NAME:
        given["forest"] = forest
    else:
        given["attention_mask"] = _dense_mask(forest, model.dtype, device)
    out = model(**given, past_key_values=past, use_cache=past is not None)
    kept = tuple((layer.keys, layer.values) for layer in past.layers) if keep and past is not None else ()
    return out.last_hidden_state[0], kept


def segment_attention(
    module: Any,  # noqa: ARG001  # transformers hands it in
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    forest: Forest,
    scaling: float,
    dropout: float = 0.0,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """Attention `(1, N, heads, width)` of queries `(1, heads, N, width)` over keys `(1, kv heads, cached + N, width)`.

    Raises:
        BadInput: If the model wants capped logits or attention sinks, which this does not compute.
    """
    unknown = [name for name in ("softcap", "s_aux", "sliding_window") if others.get(name) is not None]
    if unknown or attention_mask is not None:
        raise BadInput(
            f"attention 'segments' knows no {(unknown or ['mask'])[0]}; use attention 'eager' for this model"
        )
    if can_merge(query, dropout):
        found = merged_attention(query, key, value, forest=forest, scaling=scaling)
        return found.transpose(1, 2).contiguous(), None
    shares = query.shape[1] // key.shape[1]
    if shares > 1:  # grouped queries
        key, value = (tensor.repeat_interleave(shares, dim=1) for tensor in (key, value))
    parts = [
        _attend(query, key, value, segment, forest=forest, scaling=scaling, dropout=dropout)
        for segment in forest.segments
    ]
    return torch.cat(parts, dim=2).transpose(1, 2).contiguous(), None


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segment: Segment,
    *,
    forest: Forest,
    scaling: float,
    dropout: float,
) -> torch.Tensor:
    """Attention of one segment, `(1, heads, tokens, width)`."""
    attend = torch.nn.functional.scaled_dot_product_attention
    own = query[:, :, segment.start : segment.end]
    n_cached = forest.n_cached
    ranges = [(n_cached + start, n_cached + end) for start, end in (*segment.before, (segment.start, segment.end))]
    if n_cached:
        ranges.insert(0, (0, n_cached))
    keys, values = _gathered(key, ranges), _gathered(value, ranges)
    n_own, n_before = own.shape[2], keys.shape[2] - own.shape[2]
    if n_before == 0:
        return attend(own, keys, values, is_causal=True, scale=scaling, dropout_p=dropout)
    mask = forest.scratch.get((n_own, n_before))
    if mask is None:  # equal in all layers; 0 where a token may look
        hidden = torch.ones(n_own, n_before + n_own, dtype=torch.bool, device=own.device).triu(n_before + 1)
        mask = torch.zeros(hidden.shape, dtype=own.dtype, device=own.device).masked_fill(hidden, -torch.inf)
        forest.scratch[n_own, n_before] = mask
    return attend(own, keys, values, attn_mask=mask, scale=scaling, dropout_p=dropout)


def _gathered(tensor: torch.Tensor, ranges: Sequence[tuple[int, int]]) -> torch.Tensor:
    joined: list[list[int]] = []
    for start, end in ranges:  # neighbors join, so that a straight run is a view and no copy
        if joined and joined[-1][1] == start:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    parts = [tensor[:, :, start:end] for start, end in joined]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def _dense_mask(forest: Forest, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """0 where a token may look and the smallest number where not, `(1, 1, N, cached + N)`."""
    seen = torch.from_numpy(forest.visible()).to(device)
    mask = torch.full(seen.shape, torch.finfo(dtype).min, dtype=dtype, device=device)
    return mask.masked_fill(seen, 0.0)[None, None]


def _cache(cached: KeysValues | None) -> Any:
    """A cache of its own for one run: what is handed in stays as it is."""
    from transformers import DynamicCache

    cache = DynamicCache()
    for layer, (keys, values) in enumerate(cached or ()):
        cache.update(keys, values, layer)
    return cache
