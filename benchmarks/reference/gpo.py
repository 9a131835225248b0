"""GPO as the original runs it: torch's encoder, an explicit mask, loops.

Evaluation goes user by user and target by target; the loss of a step goes row by row and
question by question. Weights are copied from our network so that both compute the same thing.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch


class ReferenceGPO(torch.nn.Module):
    """MLP embedder on concat(x, y), `nn.TransformerEncoder` (post-norm, ReLU, dropout 0), MLP head, one logit."""

    def __init__(self, dim: int, width: int, n_heads: int, n_layers: int, n_embedder_layers: int) -> None:
        super().__init__()
        sizes = [dim + 1] + [width] * n_embedder_layers
        layers: list[torch.nn.Module] = []
        for before, after in pairwise(sizes):
            layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
        self.embedder = torch.nn.Sequential(*layers[:-1])
        layer = torch.nn.TransformerEncoderLayer(width, n_heads, width, dropout=0.0, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.head = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))

    def forward(self, x: torch.Tensor, y: torch.Tensor, n_context: int) -> torch.Tensor:
        """Logits (B, T) of tokens x (B, C + T, dim) with labels y (B, C + T), 0 for targets."""
        h = self.embedder(torch.cat([x, y[..., None]], dim=-1))
        length = x.shape[1]
        mask = torch.zeros(length, length, device=x.device)
        mask[:, n_context:] = -torch.inf  # target columns are hidden from everybody, the target itself included
        logits: torch.Tensor = self.head(self.encoder(h, mask=mask))[:, n_context:, 0]
        return logits


def reference_from(network: Any) -> Any:
    """A `GPONetwork`'s weights in the original's modules, a `ReferenceGPO`; the network must have no null token."""
    width, dim = network.first.out_features, network.first.in_features
    reference: Any = ReferenceGPO(dim, width, network.blocks[0].n_heads, len(network.blocks), 1 + len(network.rest))
    with torch.no_grad():
        reference.embedder[0].weight.copy_(torch.cat([network.first.weight, network.label[:, None]], dim=1))
        reference.embedder[0].bias.copy_(network.first.bias)
        for ours, theirs in zip(network.rest, reference.embedder[2::2], strict=True):
            theirs.load_state_dict(ours.state_dict())
        for block, layer in zip(network.blocks, reference.encoder.layers, strict=True):
            layer.self_attn.in_proj_weight.copy_(torch.cat([block.query.weight, block.key_value.weight]))
            layer.self_attn.in_proj_bias.copy_(torch.cat([block.query.bias, block.key_value.bias]))
            layer.self_attn.out_proj.load_state_dict(block.out.state_dict())
            layer.linear1.load_state_dict(block.wide.state_dict())
            layer.linear2.load_state_dict(block.narrow.state_dict())
            layer.norm1.load_state_dict(block.norm_attention.state_dict())
            layer.norm2.load_state_dict(block.norm_forward.state_dict())
        reference.head.load_state_dict(network.head.state_dict())
    return reference


def evaluate(
    reference: ReferenceGPO, contexts: list[torch.Tensor], labels: list[torch.Tensor], targets: list[torch.Tensor]
) -> list[torch.Tensor]:
    """Logits of every target, user by user, target by target.

    Args:
        reference: The model.
        contexts: (C, dim) a user.
        labels: (C,) a user.
        targets: (T, dim) a user.
    """
    found = []
    with torch.inference_mode():
        for context, own, shown in zip(contexts, labels, targets, strict=True):
            logits = []
            for target in shown:
                x = torch.cat([context, target[None]])[None]
                y = torch.cat([own, torch.zeros(1)])[None]
                logits.append(reference(x, y, len(context))[0, 0])
            found.append(torch.stack(logits))
    return found


def loss(reference: ReferenceGPO, x: torch.Tensor, y: torch.Tensor, n_context: int) -> torch.Tensor:
    """Loss of a step: one forward for the batch, then the original's loops over its rows and their questions.

    As there (2.8), each question's softmax over its options (here two: first, second) is written into a tensor
    of all, question by question, and each row's log-probabilities, up to its length, into another.

    Args:
        reference: The model.
        x: (B, C + T, dim).
        y: (B, C + T), 0 where the first completion is preferred, 1 where the second is.
        n_context: C.
    """
    unknown = y.clone()
    unknown[:, n_context:] = 0.0
    logits = reference(x, unknown, n_context)
    options = torch.stack([logits, torch.zeros_like(logits)], dim=-1).flatten(1)  # (B, 2 T), questions end to end
    shares = torch.zeros_like(options)
    for row in range(len(x)):
        for start in range(0, options.shape[1], 2):
            shares[row, start : start + 2] = torch.softmax(options[row, start : start + 2], dim=0)
    labels = torch.stack([1.0 - y[:, n_context:], y[:, n_context:]], dim=-1).flatten(1)
    log_probabilities = labels * shares.log()
    masked = torch.zeros_like(log_probabilities)
    for row, length in enumerate((x[:, n_context:].sum(dim=-1) != 0).sum(dim=1)):
        masked[row, : 2 * length] = log_probabilities[row, : 2 * length]
    total: torch.Tensor = -(masked.sum(dim=1) / logits.shape[1]).mean()
    return total
