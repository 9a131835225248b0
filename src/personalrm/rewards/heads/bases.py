"""Fitting bases and everybody's weights of them together, by L-BFGS on all pairs.

With d = (e(chosen) - e(rejected)) / scale, V the bases and p_u = softmax(l_u),

    sum_i c_i log(1 + exp(-d_i V p_u)) + dim/2 (ridge |v|^2 + spread |V - v|^2 / B) + strength/2 sum_u |l_u|^2

is minimized, v the population's direction, so that few data fall back to what all share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from personalrm.embedding.encoders import Pooling
from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput
from personalrm.rewards.heads.pair_table import PairTable
from personalrm.rewards.watching import tell
from personalrm.stats.arrays import FloatArray

MOST_BASES = 1000
"""Memory grows with their square."""


@dataclass(frozen=True)
class LowRankOptions:
    """Settings of low-rank bases."""

    n_bases: int = 4
    """1 is the population alone: plain Bradley-Terry on embeddings."""
    pooling: Pooling = "last"
    ridge: float = 1.0
    """Pull of the population's direction to zero; at 1 a margin has a prior spread of about 1."""
    spread: float = 1.0
    """Pull of each basis to the population's direction."""
    strength: float = 1.0
    """Pull of a user's logits to the average user's."""
    n_iterations: int = 200
    """Most L-BFGS iterations."""

    def __post_init__(self) -> None:
        if self.n_bases < 1 or self.n_iterations < 1:
            raise BadInput(f"n_bases and n_iterations must be at least 1, got {self.n_bases!r}, {self.n_iterations!r}")
        if self.n_bases > MOST_BASES:
            raise BadInput(f"n_bases is {self.n_bases!r}, more than {MOST_BASES:,}; a few are enough for most people")
        if not all(0 < value < np.inf for value in (self.ridge, self.spread, self.strength)):
            raise BadInput(f"ridge, spread and strength must be positive, got {asdict(self)!r}")


def fit_bases(
    rows: npt.NDArray[np.floating], table: PairTable, options: LowRankOptions
) -> tuple[FloatArray, FloatArray]:
    """V, shape `(dim, bases)`, and the training users' logits, `(users, bases)`.

    The population's direction is fitted first (a convex problem). The bases then start at the corners
    of a simplex around it, in the directions in which users pull away from it most, so no random start
    decides what is found.

    Args:
        rows: Scaled differences in the order of the table, shape `(pairs, dim)`.
        table: Whose they are, and how much each counts.
        options: Number of bases and strengths.
    """
    # Double precision while it is cheap; with 40,000 pairs of width 4,096 it would take 1.3 GB.
    kind = torch.float64 if rows.size <= 2**26 else torch.float32
    d, c = torch.as_tensor(rows).to(kind), torch.as_tensor(table.weight).to(kind)
    user, dim = torch.as_tensor(table.user), rows.shape[1]
    head = fit_head(rows, table.weight, options.ridge, np.zeros(dim), options.n_iterations)
    center = torch.as_tensor(head).to(kind).requires_grad_()
    if options.n_bases == 1:
        return center.detach().double().numpy()[:, None], np.zeros((table.n_users, 1))
    with torch.no_grad():
        pull = torch.zeros(table.n_users, dim, dtype=kind)
        pull.index_add_(0, user, (c * torch.sigmoid(-(d @ center)))[:, None] * d)
        start = _corners(pull - pull.mean(dim=0), options.n_bases) / dim
    apart, logits = start.clone().requires_grad_(), torch.zeros(table.n_users, options.n_bases, dtype=kind)
    logits.requires_grad_()

    def joint() -> torch.Tensor:
        p = torch.softmax(logits, dim=1)[user]  # (pairs, bases)
        margins = d @ center + ((d @ apart) * p).sum(dim=1)
        pulls = options.ridge * squared(center) + options.spread * squared(apart) / options.n_bases
        loss: torch.Tensor = bradley_terry_loss(margins, c) + 0.5 * dim * pulls
        return loss + 0.5 * options.strength * squared(logits)

    minimize(joint, [center, apart, logits], options.n_iterations, n_pairs=table.weight.sum())
    bases = (center[:, None] + apart).detach().double().numpy()
    return bases, logits.detach().double().numpy()


def fit_head(
    rows: npt.NDArray[np.floating], weights: FloatArray, ridge: float, center: FloatArray, n_iterations: int
) -> FloatArray:
    """Ridge Bradley-Terry: the direction v, shape `(dim,)`, that minimizes loss + dim/2 ridge |v - center|^2.

    Args:
        rows: Scaled differences, shape `(pairs, dim)`; none leave v at the center.
        weights: How much each counts, shape `(pairs,)`.
        ridge: Pull to the center.
        center: Where v starts, shape `(dim,)`.
        n_iterations: Most iterations.
    """
    kind = torch.float64 if rows.size <= 2**26 else torch.float32
    d, c, start = (torch.as_tensor(array).to(kind) for array in (rows, weights, center))
    v = start.clone().requires_grad_()

    def objective() -> torch.Tensor:
        loss: torch.Tensor = bradley_terry_loss(d @ v, c) + 0.5 * len(v) * ridge * squared(v - start)
        return loss

    minimize(objective, [v], n_iterations, n_pairs=weights.sum())
    return np.asarray(v.detach().double().numpy())


def bradley_terry_loss(margins: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """sum_i c_i log(1 + exp(-m_i))."""
    total: torch.Tensor = (weights * torch.nn.functional.softplus(-margins)).sum()
    return total


def squared(values: torch.Tensor) -> torch.Tensor:
    """|x|^2."""
    total: torch.Tensor = (values**2).sum()
    return total


def _corners(pull: torch.Tensor, n_bases: int) -> torch.Tensor:
    """Corners of a simplex around 0 in the leading directions of the users' pulls, shape `(dim, bases)`."""
    left, size, directions = torch.linalg.svd(pull, full_matrices=False)
    n = min(n_bases - 1, len(size))
    corners = torch.eye(n_bases, dtype=pull.dtype) - 1.0 / n_bases
    coordinates = torch.linalg.svd(corners).U[:, :n]  # (bases, n), an orthonormal frame of the simplex
    reach = size[:n] / max(1, len(left)) ** 0.5  # root mean square of the users' pulls along each direction
    start: torch.Tensor = (directions[:n].T * reach) @ coordinates.T * n_bases**0.5
    return start


def minimize(
    objective: Callable[[], torch.Tensor], variables: list[torch.Tensor], n_iterations: int, *, n_pairs: float
) -> None:
    """L-BFGS with a line search on the whole data, in place; whoever looks on is told the objective a pair."""
    optimizer = torch.optim.LBFGS(
        variables,
        max_iter=n_iterations,
        max_eval=2 * n_iterations,
        history_size=20,
        tolerance_grad=1e-6,
        tolerance_change=1e-10,
        line_search_fn="strong_wolfe",
    )

    evaluations: list[int] = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = objective()
        value.backward()
        evaluations.append(1)
        if len(evaluations) <= n_iterations:  # line searches may look at more points than there are steps
            tell(len(evaluations), n_iterations, loss=float(value.detach()) / max(1.0, n_pairs))
        return value

    optimizer.step(closure)
