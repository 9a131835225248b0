"""Training of VPL over a language model: the ELBO of each target, its contexts drawn by step and seed alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from personalrm.embedding.with_torch import Tensor, nn, torch
from personalrm.rewards.heads.vpl.contexts import ContextSampler, Draw
from personalrm.rewards.heads.vpl.loss import elbo
from personalrm.rewards.language.forests.attention import run_forest
from personalrm.rewards.language.forests.closing_states import closing_states
from personalrm.rewards.language.forests.pair_batches import PairForest
from personalrm.rewards.language.pair_training import Called, StepPart
from personalrm.rewards.language.vpl_lm.network import LanguageVPLNetwork, LanguageVPLOptions
from personalrm.rewards.reward_model import FloatArray
from personalrm.rewards.training import STEP_STRIDE, Group


class TargetLoss:
    """The ELBO of each target of a part.

    Args:
        contexts: Draws contexts; its table has the pairs that are trained on, in the same order.
        weight: How much each pair counts, 1 on average, `(pairs,)`.
        options: Weights and seed.
        n_steps: Optimizer steps of the run, for the rise of beta.
    """

    def __init__(self, contexts: ContextSampler, weight: Tensor, options: LanguageVPLOptions, *, n_steps: int) -> None:
        self._contexts, self._weight, self._options, self._n_steps = contexts, weight, options, n_steps

    def __call__(self, network: Called, part: StepPart, /) -> tuple[Tensor, Tensor]:
        """Losses `(pairs,)` and margins `(pairs, contexts)`."""
        margins, latents = network(part.planted, self._contexts.vectors(self._drawn(part)))
        beta = self._options.kl_share(part.step, self._n_steps)
        losses = elbo(margins, latents, self._options, beta=beta, dim=1)
        return self._weight[list(part.places)].to(losses.device) * losses, margins

    def _drawn(self, part: StepPart) -> Draw:
        """The part's share of what is drawn for the whole step, so that parts and processes change nothing."""
        generator = torch.Generator().manual_seed(self._options.seed * STEP_STRIDE + part.step)
        whole = self._contexts.draw(torch.tensor(list(part.step_places)), generator)
        where = {place: number for number, place in enumerate(part.step_places)}
        return whole.of(torch.tensor([where[place] for place in part.places]))


def rates(network: LanguageVPLNetwork, options: LanguageVPLOptions) -> list[Group]:
    """LoRA with its rate, encoder and decoder with theirs."""
    lora = [parameter for name, parameter in network.trained() if "lora_" in name]
    heads = [parameter for name, parameter in network.trained() if "lora_" not in name]
    return [
        Group(lora, options.learning_rate, options.weight_decay),
        Group(heads, options.head_learning_rate, options.weight_decay),
    ]


def losses_under(
    network: LanguageVPLNetwork, z: Tensor, owner: Sequence[int], weight: FloatArray
) -> Callable[[PairForest, Sequence[int]], Tensor]:
    """A function to the losses `(pairs,)` of a forest's pairs under their owners' z.

    Args:
        network: In evaluation mode.
        z: Shape `(users, latent)`.
        owner: The user of each pair.
        weight: How much each pair counts, `(pairs,)`; only proportions matter.
    """
    owners = torch.from_numpy(np.asarray(owner, dtype=np.int64)).to(z.device)
    share = torch.from_numpy(weight / weight.mean()).float().to(z.device)

    def losses(planted: PairForest, places: Sequence[int]) -> Tensor:
        states, _ = run_forest(network.decoder, planted.forest)
        own = z[owners[list(places)]][:, None]  # (pairs, 1, latent)
        margins = network.margins(closing_states(states, planted.forest), planted, own)
        return share[list(places)] * nn.functional.softplus(-margins[:, 0])

    return losses
