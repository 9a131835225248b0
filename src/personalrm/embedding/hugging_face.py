"""Any Hugging Face model as an encoder: causal language models and sentence encoders.

The model is `AutoModel`, without a language-modeling head and without keeping other
layers. Sequences of a causal model that begin alike are packed as token trees, so a
conversation's tokens are computed once for all its completions; others run in batches of
like length. Either way a batch holds a bounded number of tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from personalrm.embedding.chat_text import fit_tokens
from personalrm.embedding.encoders import Embedded, TextSequence
from personalrm.embedding.quiet_loading import load_pretrained
from personalrm.embedding.token_tree import Tokens, TokenTree, pack
from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput
from personalrm.lm.local.gguf import hash_of_model

PROBE = ((5, 6, 7, 8), (5, 6, 7, 9, 10))
"""Two sequences that begin alike, to see whether a model lets trees be packed."""
SAME = 1e-3
"""Largest difference, relative to the largest value, between a packed and a lone probe that is put down to rounding."""
VERSION = 2
"""Of how texts become tokens; in the identity, so that vectors of two ways are never mixed (1: special tokens could be
written by texts, and completions of one conversation could be shown under different turns)."""
ENOUGH_TOKENS, MOST_PADDED = 512, 1.1
"""Tokens from which on a larger batch is no faster, and how much of it padding may add."""
LONGEST = 8192
"""Tokens of a sequence where neither the settings nor the model say less."""


@dataclass(frozen=True)
class Encoding:
    """How texts become vectors; part of an encoder's identity but for the last four."""

    max_tokens: int = LONGEST
    """Longer sequences lose their oldest turns, then their middle; the encoder counts them."""
    layer: int = -1
    """Which hidden layer; -1 is the last, after the final norm."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    padding: Literal["right", "left"] = "right"
    """Side on which a batch is padded; changes nothing but rounding."""
    batch_tokens: int = 16_384
    """Most tokens of a forward, padding included."""
    share_prefixes: bool = True
    """Compute common beginnings once, where the model allows it."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.max_tokens < 8 or self.batch_tokens < 8:
            raise BadInput(
                f"max_tokens and batch_tokens must be at least 8, got {self.max_tokens!r} and {self.batch_tokens!r}"
            )


class HuggingFaceEncoder:
    """A model by name or folder; loaded at the first use.

    Args:
        name: A name on the hub, a folder with model and tokenizer, or a GGUF file.
        encoding: Lengths, layer, batches, device.
        local_only: Never ask the hub; a name must then be in the local cache.
    """

    def __init__(self, name: str, encoding: Encoding | None = None, *, local_only: bool = False) -> None:
        self.name, self.encoding, self.local_only = name, encoding or Encoding(), local_only
        self.n_truncated = 0
        """Sequences that were longer than the longest, so far."""
        self.n_tokens = 0
        """Tokens of all sequences, so far."""
        self.n_computed = 0
        """Tokens that went through the model, padding left out; fewer where beginnings were shared."""

    @cached_property
    def identity(self) -> str:
        """Name or folder's contents, layer, lengths, dtype, as canonical JSON."""
        kept = {name: asdict(self.encoding)[name] for name in ("max_tokens", "layer", "dtype")}
        folder = Path(self.name)
        if folder.is_file():
            return json.dumps(["hugging_face", VERSION, f"gguf {hash_of_model(folder)}", kept], sort_keys=True)
        if not folder.is_dir():
            revision = getattr(self._config, "_commit_hash", None)
            return json.dumps(["hugging_face", VERSION, f"{self.name}@{revision}", kept], sort_keys=True)
        # A hash of the files that decide vectors; about a second a gigabyte, once.
        total = hashlib.blake2b(digest_size=16)
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in (".json", ".safetensors", ".bin", ".model", ".txt", ".jinja"):
                total.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size} ".encode())
                with open(path, "rb") as file:
                    total.update(hashlib.file_digest(file, "blake2b").digest())
        return json.dumps(["hugging_face", VERSION, total.hexdigest(), kept], sort_keys=True)

    @property
    def dim(self) -> int:
        """Hidden width of the model."""
        return int(self._config.hidden_size)

    def embed(self, sequences: Sequence[TextSequence]) -> Embedded:
        """Last and mean pooling of each sequence from one pass.

        Raises:
            BadInput: If the model has no such layer.
        """
        n_layers, layer = int(getattr(self._config, "num_hidden_layers", 0)), self.encoding.layer
        if n_layers and not -n_layers - 1 <= layer <= n_layers:
            raise BadInput(f"layer of encoder {self.name!r} is {layer}; it has layers 0 to {n_layers}, -1 is the last")
        fitted = [fit_tokens(self._tokenizer, sequence, self.longest) for sequence in sequences]
        self.n_truncated += sum(fitting.is_truncated for fitting in fitted)
        self.n_tokens += sum(len(fitting.tokens) for fitting in fitted)
        # Equal ones are computed once.
        different = {tokens: place for place, tokens in enumerate(dict.fromkeys(fitting.tokens for fitting in fitted))}
        last = torch.zeros(len(different), self.dim)
        mean = torch.zeros(len(different), self.dim)
        with torch.inference_mode():
            for places, pooled in self._pooled(list(different)):
                last[places], mean[places] = pooled[0].cpu(), pooled[1].cpu()
        where = [different[fitting.tokens] for fitting in fitted]
        return Embedded(last[where].numpy(), mean[where].numpy())

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence that is embedded whole."""
        positions = int(getattr(self._config, "max_position_embeddings", None) or LONGEST)
        # Models of RoBERTa's family count positions from behind the padding's own, which no token has.
        table = getattr(getattr(self._model, "embeddings", None), "position_embeddings", None)
        padding = getattr(table, "padding_idx", None)
        return min(self.encoding.max_tokens, positions - (0 if padding is None else int(padding) + 1))

    @cached_property
    def shares_prefixes(self) -> bool:
        """Whether trees may be packed: asked for, full causal attention, and proved on a probe."""
        kinds = set(getattr(self._config, "layer_types", None) or ["full_attention"])
        windowed = getattr(self._config, "sliding_window", None) and getattr(self._config, "use_sliding_window", True)
        if not self.encoding.share_prefixes or windowed or kinds != {"full_attention"}:
            return False
        try:
            with torch.inference_mode():
                packed = self._tree_batch(pack(PROBE, max_tokens=64, least_shared=0.0))[0]
                alone = torch.cat([self._plain_batch([tokens])[0] for tokens in PROBE])
        except (TypeError, ValueError, RuntimeError, NotImplementedError):  # a model that takes no mask of ours
            return False
        return bool((packed - alone).abs().max() <= SAME * alone.abs().max())

    @cached_property
    def _config(self) -> Any:
        return self._loaded("AutoConfig")

    @cached_property
    def _tokenizer(self) -> Any:
        return self._loaded("AutoTokenizer")

    @cached_property
    def _model(self) -> Any:
        # With its configuration, which takes ten seconds to read anew from a GGUF file with a large vocabulary.
        model = self._loaded("AutoModel", config=self._config, dtype=getattr(torch, self.encoding.dtype))
        try:
            return model.to(self.encoding.device).eval().requires_grad_(False)
        except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
            raise BadInput(
                f"encoder {self.name!r} cannot run on device {self.encoding.device!r} ({type(error).__name__}); use "
                "cpu, or a device that torch has here"
            ) from None

    def _loaded(self, what: str, **options: Any) -> Any:
        return load_pretrained(what, self.name, "encoder", local_files_only=self.local_only, **options)

    def _pooled(self, sequences: Sequence[Tokens]) -> Iterator[tuple[list[int], tuple[torch.Tensor, torch.Tensor]]]:
        """Places of the sequences of a batch, and their last and mean vectors in fp32."""
        if self.shares_prefixes:
            trees = sorted(pack(sequences, max_tokens=self.encoding.batch_tokens // 4), key=len)
            for batch in _batches([len(tree) for tree in trees], self.encoding.batch_tokens):
                group = [trees[place] for place in batch]
                yield [int(number) for tree in group for number in tree.sequences], self._tree_batch(group)
            return
        order = sorted(range(len(sequences)), key=lambda place: len(sequences[place]))
        for batch in _batches([len(sequences[place]) for place in order], self.encoding.batch_tokens):
            places = [order[place] for place in batch]
            yield places, self._plain_batch([sequences[place] for place in places])

    def _tree_batch(self, trees: Sequence[TokenTree]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pooled leaves of some trees, tree by tree, each `(sequences, dim)`."""
        width, device = max(map(len, trees)), self.encoding.device
        ids, positions, ends = np.zeros((3, len(trees), width), dtype=np.int64)
        for row, tree in enumerate(trees):
            ids[row, : len(tree)], positions[row, : len(tree)] = tree.tokens, tree.positions
            ends[row, : len(tree)] = tree.ends
        places = torch.arange(width, device=device)
        # Padding sees itself only, so that its softmax is of something.
        visible = (places <= places[:, None]) & (places[:, None] < torch.as_tensor(ends, device=device)[:, None, :])
        visible |= torch.eye(width, dtype=torch.bool, device=device)
        hidden = self._hidden(ids, positions, visible[:, None])
        self.n_computed += sum(map(len, trees))
        rows = torch.as_tensor(np.repeat(np.arange(len(trees)), [len(tree.leaves) for tree in trees]), device=device)
        leaves = torch.as_tensor(np.concatenate([tree.leaves for tree in trees]), device=device)
        member = visible[rows, leaves].float()  # (sequences, width), a leaf sees exactly its own sequence
        mean = torch.einsum("sw,swd->sd", member, hidden[rows]) / member.sum(dim=1, keepdim=True)
        return hidden[rows, leaves], mean

    def _plain_batch(self, sequences: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pooled sequences, padded to the longest, each `(sequences, dim)`."""
        width, is_left = max(map(len, sequences)), self.encoding.padding == "left"
        ids, mask = np.zeros((2, len(sequences), width), dtype=np.int64)
        for row, tokens in enumerate(sequences):
            part = slice(width - len(tokens), width) if is_left else slice(0, len(tokens))
            ids[row, part], mask[row, part] = tokens, 1
        positions = (mask.cumsum(axis=1) - 1).clip(min=0)
        real = torch.as_tensor(mask, device=self.encoding.device)
        hidden = self._hidden(ids, positions if is_left else None, real)
        self.n_computed += sum(map(len, sequences))
        return pool(hidden, real)

    def _hidden(self, ids: Any, positions: Any, mask: torch.Tensor) -> torch.Tensor:
        """Hidden states of the wanted layer in fp32, `(batch, width, dim)`."""
        device, layer = self.encoding.device, self.encoding.layer
        given: dict[str, Any] = {"input_ids": torch.as_tensor(ids, device=device), "attention_mask": mask}
        if positions is not None:
            given["position_ids"] = torch.as_tensor(positions, device=device)
        if layer != -1:
            given["output_hidden_states"] = True
        output = self._model(**given)
        hidden: torch.Tensor = (output.last_hidden_state if layer == -1 else output.hidden_states[layer]).float()
        return hidden


def pool(hidden: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """State of the last real token and mean over real tokens, wherever the padding is.

    Args:
        hidden: Shape `(batch, width, dim)`, fp32.
        mask: Shape `(batch, width)`, 1 for a real token.
    """
    places = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask > 0, places, -1).max(dim=1).values  # never index -1: it may be padding
    weights = mask.to(hidden.dtype)[..., None]
    mean = (hidden * weights).sum(dim=1) / weights.sum(dim=1)
    return hidden[torch.arange(len(hidden), device=mask.device), last], mean


def _batches(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Places in order, ascending in length, cut so that a batch padded to its longest has at most `most` tokens.

    One that keeps a core busy is cut too where padding would be more than a tenth of it.
    """
    batch: list[int] = []
    n_tokens = 0
    for place, length in enumerate(lengths):
        padded = (len(batch) + 1) * length
        if batch and (padded > most or (n_tokens >= ENOUGH_TOKENS and padded > MOST_PADDED * (n_tokens + length))):
            yield batch
            batch, n_tokens = [], 0
        batch.append(place)
        n_tokens += length
    if batch:
        yield batch
