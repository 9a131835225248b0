"""The transformer of GPO: context tokens with labels, target tokens without, one logit a target.

Every position attends to context columns only, so targets know nothing of each other:
all targets of a user, and all users, go through in one forward (reward_models.md, 2.3).
Keys and values are therefore made for the context alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput


@dataclass(frozen=True)
class GPOShape:
    """Size of the network; the paper's sweep is width 64-256, heads 2-8, layers 4-8."""

    width: int = 128
    n_heads: int = 4
    n_layers: int = 6
    n_embedder_layers: int = 4
    """Linear layers from embedding and label to the width, ReLU between."""
    has_null: bool = True
    """One learned context token that is always there, so an empty context has something to attend to."""

    def __post_init__(self) -> None:
        if min(self.width, self.n_heads, self.n_layers, self.n_embedder_layers) < 1 or self.width % self.n_heads:
            raise BadInput(f"a width of {self.width!r} cannot be split into {self.n_heads!r} heads")


class Block(torch.nn.Module):
    """Post-norm transformer layer in which everybody attends to the context columns."""

    def __init__(self, shape: GPOShape) -> None:
        super().__init__()
        width = shape.width
        self.n_heads = shape.n_heads
        self.query = torch.nn.Linear(width, width)
        self.key_value = torch.nn.Linear(width, 2 * width)
        self.out = torch.nn.Linear(width, width)
        self.wide = torch.nn.Linear(width, width)
        self.narrow = torch.nn.Linear(width, width)
        self.norm_attention = torch.nn.LayerNorm(width)
        self.norm_forward = torch.nn.LayerNorm(width)

    def forward(self, h: torch.Tensor, n_context: int, mask: torch.Tensor) -> torch.Tensor:
        """h is (B, C + T, width), the context first; mask is (B, C), which context columns are real."""
        batch, length, width = h.shape
        q = self.query(h).view(batch, length, self.n_heads, -1).transpose(1, 2)  # (B, heads, C + T, width / heads)
        kv = self.key_value(h[:, :n_context]).view(batch, n_context, 2, self.n_heads, -1).permute(2, 0, 3, 1, 4)
        seen = torch.nn.functional.scaled_dot_product_attention(q, kv[0], kv[1], attn_mask=mask[:, None, None, :])
        # A user without any context column attends to nothing; the softmax of nothing is no number.
        seen = torch.where(mask.any(dim=1)[:, None, None, None], seen, 0.0)
        h = self.norm_attention(h + self.out(seen.transpose(1, 2).reshape(batch, length, width)))
        normed: torch.Tensor = self.norm_forward(h + self.narrow(torch.relu(self.wide(h))))
        return normed


class GPONetwork(torch.nn.Module):
    """Embedder, encoder and head.

    The first linear layer takes embedding and label side by side. Its two parts are kept apart
    (`first`, `label`), so that a token's embedding is projected once, whatever its label.

    Args:
        dim: Width of a token's embedding.
        shape: Size.
    """

    def __init__(self, dim: int, shape: GPOShape) -> None:
        super().__init__()
        width = shape.width
        self.first = torch.nn.Linear(dim, width)
        self.label = torch.nn.Parameter(torch.empty(width).uniform_(-1.0, 1.0) / (dim + 1) ** 0.5)
        self.rest = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(shape.n_embedder_layers - 1))
        self.blocks = torch.nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.head = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))
        self.null = torch.nn.Parameter(torch.zeros(width)) if shape.has_null else None

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """The embedding's share of the first layer, (..., dim) -> (..., width); odd in x."""
        return torch.nn.functional.linear(x, self.first.weight)

    def forward(
        self, context: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """One logit for each target, (B, T).

        Args:
            context: Projected context tokens, (B, C, width).
            labels: Their labels, (B, C).
            mask: Which of them are real, (B, C).
            targets: Projected target tokens, (B, T, width).
        """
        labelled = context + labels[..., None] * self.label
        h = torch.cat([labelled, targets], dim=1) + self.first.bias  # a target's label is 0
        for layer in self.rest:
            h = layer(torch.relu(h))
        n_context = context.shape[1]
        if self.null is not None:
            h = torch.cat([self.null.expand(len(h), 1, -1), h], dim=1)
            mask = torch.nn.functional.pad(mask, (1, 0), value=True)
            n_context += 1
        if n_context == 0:  # nobody has a context and there is no null token: one column that nobody sees
            h, mask, n_context = torch.cat([torch.zeros_like(h[:, :1]), h], dim=1), mask.new_zeros(len(h), 1), 1
        for block in self.blocks:
            h = block(h, n_context, mask)
        logits: torch.Tensor = self.head(h[:, n_context:])[..., 0]
        return logits


def make_network(dim: int, shape: GPOShape, *, seed: int) -> GPONetwork:
    """The network with parameters drawn from the seed; everybody else's random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPONetwork(dim, shape)
