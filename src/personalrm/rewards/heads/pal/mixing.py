"""Mixtures of new users under a trained PAL: everything frozen but p, all users at once.

With the dot product the margin is linear in p and the shared simplex solver does it. The
cosine divides by the length of the mixed ideal point, so there the same objective is
stepped by Adam on the padded batch, elementwise and therefore equal to one user at a time.
The published fit is neither: a fixed number of small steps from random logits, so that its
result is mostly where it began.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from personalrm.embedding.with_torch import Tensor, nn, torch
from personalrm.rewards.heads.gathering import ContextBatch
from personalrm.rewards.heads.pal.network import PALModule
from personalrm.rewards.heads.simplex import LEAST_STRENGTH, fit_simplex, softmax
from personalrm.rewards.reward_model import FloatArray

N_STEPS = 300
RATE = 0.1
PUBLISHED_RATE, PUBLISHED_EPOCHS = 5e-3, 20
PUBLISHED_DECAY, BETAS, EPSILON = 0.01, (0.9, 0.999), 1e-8
"""torch's own for AdamW; the published code does not set them."""


def fit_mixtures(module: PALModule, contexts: ContextBatch, *, average: FloatArray, strength: float) -> FloatArray:
    """p of each user, shape `(users, prototypes)`; the average user's where there is no pair.

    Args:
        module: A trained PAL; it is not changed.
        contexts: Padded context pairs.
        average: Logits of the average user, shape `(prototypes,)`.
        strength: Pull of the average user, at least 0.
    """
    users, most = contexts.real.shape
    if not most:
        return np.tile(softmax(average), (users, 1))
    if module.options.new_user == "published":
        return _as_published(module, contexts, average)
    if module.options.similarity == "cosine":
        return _by_steps(module, contexts, average, strength)
    prompts = contexts.prompt.flatten(0, 1) if contexts.prompt is not None else None
    a = module.margins_by_prototype(contexts.chosen.flatten(0, 1), contexts.rejected.flatten(0, 1), prompts)
    margins = list(a.double().view(users, most, -1).numpy())
    weights = list(contexts.weight.double().numpy())
    return fit_simplex(margins, weights=weights, prior=average, strength=strength).weights


def _by_steps(module: PALModule, contexts: ContextBatch, average: FloatArray, strength: float) -> FloatArray:
    margins, start = _margins_of(module, contexts), torch.from_numpy(average).float()
    logits = start.repeat(len(contexts.real), 1).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=RATE)
    with torch.enable_grad():
        for _ in range(N_STEPS):
            fit = (contexts.weight * nn.functional.softplus(-margins(logits.softmax(dim=-1)))).sum()
            pull = 0.5 * (strength + LEAST_STRENGTH) * ((logits - start) ** 2).sum()
            (logits.grad,) = torch.autograd.grad(fit + pull, [logits])
            optimizer.step()
    return np.asarray(softmax(logits.detach().double().numpy()))


def _as_published(module: PALModule, contexts: ContextBatch, average: FloatArray) -> FloatArray:
    """AdamW over each user's pairs in time order, batch by batch; one random start for all, drawn from the seed."""
    margins, real = _margins_of(module, contexts), contexts.real
    generator, size = torch.Generator().manual_seed(module.options.seed), module.options.batch_size
    logits = torch.randn(len(average), generator=generator).repeat(len(real), 1)
    first, second, steps = torch.zeros_like(logits), torch.zeros_like(logits), torch.zeros(len(real), 1)
    for start in [*range(0, real.shape[1], size)] * PUBLISHED_EPOCHS:
        seen = torch.zeros_like(real)
        seen[:, start : start + size] = real[:, start : start + size]
        some = seen.any(dim=1, keepdim=True)  # who has run out of pairs waits for the next epoch
        with torch.enable_grad():
            moved = logits.clone().requires_grad_()
            losses = nn.functional.softplus(-margins(moved.softmax(dim=-1))) * seen
            (slope,) = torch.autograd.grad((losses.sum(dim=1) / seen.sum(dim=1).clamp(min=1)).sum(), [moved])
        steps += some
        first = torch.where(some, BETAS[0] * first + (1 - BETAS[0]) * slope, first)
        second = torch.where(some, BETAS[1] * second + (1 - BETAS[1]) * slope**2, second)
        way = first / (1 - BETAS[0] ** steps) / ((second / (1 - BETAS[1] ** steps)).sqrt() + EPSILON)
        logits = torch.where(some, (1 - PUBLISHED_RATE * PUBLISHED_DECAY) * logits - PUBLISHED_RATE * way, logits)
    p = softmax(logits.double().numpy())
    return np.where(real.any(dim=1, keepdim=True).numpy(), p, softmax(average))


def _margins_of(module: PALModule, contexts: ContextBatch) -> Callable[[Tensor], Tensor]:
    """Margins `(users, pairs)` as a function of p `(users, prototypes)`, everything else computed once."""
    users, most = contexts.real.shape
    prompts = contexts.prompt.flatten(0, 1) if contexts.prompt is not None else None
    with torch.no_grad():
        won, lost = module.item(contexts.chosen.flatten(0, 1)), module.item(contexts.rejected.flatten(0, 1))
        ideals = module.ideals(prompts, len(won))

    def margins(p: Tensor) -> Tensor:
        each = p.repeat_interleave(most, dim=0)
        return (module.rewards(won, ideals, each) - module.rewards(lost, ideals, each)).view(users, most)

    return margins
