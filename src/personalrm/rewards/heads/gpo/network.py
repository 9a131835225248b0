"""The transformer of GPO: context tokens with labels, target tokens without, one logit a target.

Every position attends to context columns only, so targets know nothing of each other:
all targets of a user, and all users, go through in one forward.
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
    has_target_bit: bool = False
    """Tell targets from context by a learned bit beside embedding and label, so that a label of 0 means one thing."""

    def __post_init__(self) -> None:
        if min(self.width, self.n_heads, self.n_layers, self.n_embedder_layers) < 1 or self.width % self.n_heads:
            raise BadInput(f"a width of {self.width!r} cannot be split into {self.n_heads!r} heads")


@dataclass(frozen=True, repr=False)
class Places:
    """Where each of N tokens stands among B users with L columns each."""

    place: torch.Tensor
    """Shape (N,), user times L plus column; no two alike."""
    n_columns: int
    bias: torch.Tensor
    """Of scores, 0 where a column may be read and -inf where not, (B, 1, 1, L)."""

    def spread(self, x: torch.Tensor, *parts: int) -> torch.Tensor:
        """(N, width) to (B, L, *parts, the rest of the width), 0 where there is no token."""
        users = len(self.bias)
        spread = x.new_zeros(users * self.n_columns, x.shape[1]).index_copy(0, self.place, x)
        return spread.view(users, self.n_columns, *parts, -1)

    def collect(self, padded: torch.Tensor) -> torch.Tensor:
        """(B, L, width) to (N, width)."""
        return padded.flatten(0, 1).index_select(0, self.place)


@dataclass(frozen=True, repr=False)
class TokenLayout:
    """How many context tokens and targets each of B users has; those of a user stand together, users in order."""

    n_context: torch.Tensor
    """Shape (B,)."""
    n_targets: torch.Tensor
    """Shape (B,)."""

    def places(self, n_null: int) -> tuple[Places, Places, Places]:
        """Of the context tokens, of all tokens, and of the targets, when all users' null tokens come first."""
        users = torch.arange(len(self.n_context), device=self.n_context.device)
        n_told = self.n_context + n_null
        null, context, target = (users[: n_null * len(users)], 0), _numbered(self.n_context), _numbered(self.n_targets)
        told = (null, (context[0], context[1] + n_null))
        behind = (target[0], n_told[target[0]] + target[1])
        return (
            _placed(n_told, *told),
            _placed(n_told + self.n_targets, *told, behind),
            _placed(self.n_targets, target),
        )


def _placed(counts: torch.Tensor, *parts: tuple[torch.Tensor, torch.Tensor | int]) -> Places:
    """Of tokens with users and columns, part by part; the first columns of each user hold their `counts` tokens."""
    n_columns = max(1, int(counts.max()))
    place = torch.cat([user * n_columns + column for user, column in parts])
    # The softmax of nothing is not a number: a user without tokens reads columns of zeros, which leaves 0.
    hidden = (torch.arange(n_columns, device=counts.device) >= counts[:, None]) & (counts > 0)[:, None]
    bias = torch.zeros(hidden.shape, device=counts.device).masked_fill(hidden, -torch.inf)
    return Places(place, n_columns, bias[:, None, None, :])


def _numbered(counts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """User and number within the user of each of their things, `(sum of counts,)` each."""
    user = torch.repeat_interleave(counts)
    return user, torch.arange(len(user), device=user.device) - (counts.cumsum(0) - counts)[user]


class Block(torch.nn.Module):
    """Post-norm transformer layer in which everybody attends to the context tokens of their user."""

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

    def forward(self, h: torch.Tensor, context: torch.Tensor, asks: Places, told: Places) -> torch.Tensor:
        """New states of the tokens h, (N, width), which ask the context tokens, (Nc, width)."""
        q = asks.spread(self.query(h), self.n_heads).transpose(1, 2)  # (B, heads, L, width / heads)
        kv = told.spread(self.key_value(context), 2, self.n_heads).permute(2, 0, 3, 1, 4)
        seen = torch.nn.functional.scaled_dot_product_attention(q, kv[0], kv[1], attn_mask=told.bias)
        h = self.norm_attention(h + self.out(asks.collect(seen.transpose(1, 2).flatten(2))))
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
        self.bit = torch.nn.Parameter(torch.empty(width).uniform_(-1, 1) / dim**0.5) if shape.has_target_bit else None

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
        shown = mask.new_ones(targets.shape[:2])
        layout = TokenLayout(mask.sum(dim=1), shown.sum(dim=1))
        return self.read(context[mask], labels[mask], targets.flatten(0, 1), layout).view(shown.shape)

    def read(
        self, context: torch.Tensor, labels: torch.Tensor, targets: torch.Tensor, layout: TokenLayout
    ) -> torch.Tensor:
        """One logit for each target, (Nt,), of tokens without padding, user by user.

        Args:
            context: Projected context tokens, (Nc, width).
            labels: Their labels, (Nc,).
            targets: Projected target tokens, (Nt, width).
            layout: Whose they are.
        """
        labeled = context + labels[:, None] * self.label
        asked = targets if self.bit is None else targets + self.bit
        h = torch.cat([labeled, asked]) + self.first.bias  # a target's label is 0
        for layer in self.rest:
            h = layer(torch.relu(h))
        if self.null is not None:
            h = torch.cat([self.null.expand(len(layout.n_context), -1), h])
        told, everybody, last = layout.places(n_null=int(self.null is not None))
        n_told = len(told.place)
        for block in self.blocks[:-1]:
            h = block(h, h[:n_told], everybody, told)
        h = self.blocks[-1](h[n_told:], h[:n_told], last, told)  # nobody asks what the context became in the end
        logits: torch.Tensor = self.head(h)[:, 0]
        return logits


def make_network(dim: int, shape: GPOShape, *, seed: int) -> GPONetwork:
    """The network with parameters drawn from the seed; everybody else's random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GPONetwork(dim, shape)
