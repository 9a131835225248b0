"""Attention over a forest inside any transformers model, through its attention interface.

`segments` computes each segment against the keys of the segments above it and its own.
`sdpa` and `eager` run the model's own attention with a mask of all tokens by all tokens,
for models that do not take part in the interface. All three give the scores of the
sequences run alone.

Without gradients, what many tokens see in common is read in one call: all tokens below a
segment see it whole, so they go against its keys together and without a mask; each segment
goes against itself causally. A token's parts are then merged by the logarithms of their
softmax denominators,

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
from personalrm.rewards.language.forests.forest import Forest

Attention = Literal["segments", "sdpa", "eager"]
ATTENTIONS: tuple[Attention, ...] = get_args(Attention)
NAME = "personalrm_segments"
KeysValues = tuple[tuple[torch.Tensor, torch.Tensor], ...]
"""Keys and values of each layer, `(1, heads, tokens, width)` each."""


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
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    # Tokens before heads in memory, as the next layer reads them.
    out = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
    log = torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)  # (1, heads, N), of denominators
    n_cached = forest.n_cached
    seen_by_all: list[tuple[slice, slice]] = []  # keys, and the tokens that all see them
    for segment in forest.segments:
        tokens, keys = slice(segment.start, segment.end), slice(n_cached + segment.start, n_cached + segment.end)
        out[:, :, tokens], log[:, :, tokens] = attend(
            query[:, :, tokens], key[:, :, keys], value[:, :, keys], 0.0, True, scale=scaling
        )
        if segment.below > segment.end:
            seen_by_all.append((keys, slice(segment.end, segment.below)))
    if n_cached:
        seen_by_all.append((slice(0, n_cached), slice(0, query.shape[2])))
    for keys, tokens in seen_by_all:
        part, log_part = attend(query[:, :, tokens], key[:, :, keys], value[:, :, keys], 0.0, False, scale=scaling)
        before = log[:, :, tokens]
        out[:, :, tokens].lerp_(part, torch.sigmoid(log_part - before)[..., None].to(part.dtype))
        torch.logaddexp(before, log_part, out=before)
    return out


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
    past: Any = None
    if cached is not None or keep:
        from transformers import DynamicCache

        past = DynamicCache()  # of its own for one run: what is handed in stays as it is
        for layer, (keys, values) in enumerate(cached or ()):
            past.update(keys, values, layer)
    given: dict[str, Any] = {"input_ids": torch.from_numpy(forest.tokens).to(device)[None]}
    given["position_ids"] = torch.from_numpy(forest.positions).to(device)[None]
    if model.config._attn_implementation == NAME:
        given["forest"] = forest
    else:
        hidden = torch.from_numpy(~forest.visible()).to(device)  # (N, cached + N)
        mask = torch.zeros(hidden.shape, dtype=model.dtype, device=device)
        given["attention_mask"] = mask.masked_fill(hidden, torch.finfo(model.dtype).min)[None, None]
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
        merged = merged_attention(query, key, value, forest=forest, scaling=scaling)
        return merged.transpose(1, 2).contiguous(), None
    shares = query.shape[1] // key.shape[1]
    if shares > 1:  # grouped queries
        key, value = (tensor.repeat_interleave(shares, dim=1) for tensor in (key, value))
    attend, n_cached = torch.nn.functional.scaled_dot_product_attention, forest.n_cached
    found = []
    for segment in forest.segments:
        own = query[:, :, segment.start : segment.end]  # (1, heads, tokens, width)
        ranges = [(n_cached + start, n_cached + end) for start, end in (*segment.before, (segment.start, segment.end))]
        if n_cached:
            ranges.insert(0, (0, n_cached))
        keys, values = _gathered(key, ranges), _gathered(value, ranges)
        n_own, n_before = own.shape[2], keys.shape[2] - own.shape[2]
        if n_before == 0:
            found.append(attend(own, keys, values, is_causal=True, scale=scaling, dropout_p=dropout))
            continue
        mask = forest.scratch.get((n_own, n_before))
        if mask is None:  # equal in all layers; 0 where a token may look
            hidden = torch.ones(n_own, n_before + n_own, dtype=torch.bool, device=own.device).triu(n_before + 1)
            mask = torch.zeros(hidden.shape, dtype=own.dtype, device=own.device).masked_fill(hidden, -torch.inf)
            forest.scratch[n_own, n_before] = mask
        found.append(attend(own, keys, values, attn_mask=mask, scale=scaling, dropout_p=dropout))
    return torch.cat(found, dim=2).transpose(1, 2).contiguous(), None


def _gathered(tensor: torch.Tensor, ranges: Sequence[tuple[int, int]]) -> torch.Tensor:
    joined: list[list[int]] = []
    for start, end in ranges:  # neighbors join, so that a straight run is a view and no copy
        if joined and joined[-1][1] == start:
            joined[-1][1] = end
        else:
            joined.append([start, end])
    parts = [tensor[:, :, start:end] for start, end in joined]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
