"""Mixtures of new users under a trained PAL: everything frozen but p, all users at once.

With the dot product the margin is linear in p and the shared simplex solver does it. The
cosine divides by the length of the mixed ideal point, so there the same objective is
stepped by Adam on the padded batch, elementwise and therefore equal to one user at a time.
"""

from __future__ import annotations

import numpy as np

from personalrm.embedding.with_torch import Tensor, nn, torch
from personalrm.rewards.gathering import ContextBatch
from personalrm.rewards.pal.network import PALModule
from personalrm.rewards.reward_model import FloatArray
from personalrm.rewards.simplex import LEAST_STRENGTH, fit_simplex, softmax

N_STEPS = 300
RATE = 0.1


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
    if module.options.similarity == "cosine":
        return _by_steps(module, contexts, average, strength)
    prompts = contexts.prompt.flatten(0, 1) if contexts.prompt is not None else None
    a = module.margins_by_prototype(contexts.chosen.flatten(0, 1), contexts.rejected.flatten(0, 1), prompts)
    margins = list(a.double().view(users, most, -1).numpy())
    weights = list(contexts.weight.double().numpy())
    return fit_simplex(margins, weights=weights, prior=average, strength=strength).weights


def _by_steps(module: PALModule, contexts: ContextBatch, average: FloatArray, strength: float) -> FloatArray:
    users, most = contexts.real.shape
    prompts = contexts.prompt.flatten(0, 1) if contexts.prompt is not None else None
    with torch.no_grad():
        won, lost = module.item(contexts.chosen.flatten(0, 1)), module.item(contexts.rejected.flatten(0, 1))
        ideals = module.ideals(prompts, len(won))
    start = torch.from_numpy(average).float()
    logits = start.repeat(users, 1).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=RATE)
    with torch.enable_grad():
        for _ in range(N_STEPS):
            p = logits.softmax(dim=-1).repeat_interleave(most, dim=0)
            margins: Tensor = (module.rewards(won, ideals, p) - module.rewards(lost, ideals, p)).view(users, most)
            fit = (contexts.weight * nn.functional.softplus(-margins)).sum()
            pull = 0.5 * (strength + LEAST_STRENGTH) * ((logits - start) ** 2).sum()
            (logits.grad,) = torch.autograd.grad(fit + pull, [logits])
            optimizer.step()
    return np.asarray(softmax(logits.detach().double().numpy()))
