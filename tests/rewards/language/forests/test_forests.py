"""Scores and gradients of shared beginnings against sequences run alone, in two passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.rewards.tiny import tiny_model

from personalrm.errors import BadInput
from personalrm.rewards.language.bradley_terry.network import NetworkOptions, RewardNetwork, open_network, pair_losses
from personalrm.rewards.language.forests.attention import ATTENTIONS, run_forest, use_attention
from personalrm.rewards.language.forests.forest import make_forest
from personalrm.rewards.language.forests.pair_batches import TokenPair, plant
from personalrm.rewards.language.lora import Lora

pytestmark = pytest.mark.slow  # transformers and PEFT take seconds to import
SHORT = st.lists(st.integers(5, 8), min_size=1, max_size=6).map(tuple)


@pytest.fixture(scope="module")
def network() -> RewardNetwork:
    return open_network(tiny_model(), Lora(4, 8.0), seed=0, options=NetworkOptions(head_start="normal"))


def moved(network: RewardNetwork) -> RewardNetwork:
    """LoRA's B starts at 0, which hides half of its gradient; here it is not."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, parameter in network.trained():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.2)
    return network


def token_pairs(keys: list[int], length: int = 40) -> list[TokenPair]:
    rng = np.random.default_rng(0)

    def draw(n: int) -> tuple[int, ...]:
        return tuple(int(t) for t in rng.integers(5, 200, size=n))

    persona = draw(length)
    return [
        TokenPair((*prompt, 9, *draw(5)), (*prompt, 9, *draw(7)), key) for key in keys for prompt in [persona + draw(4)]
    ]


def two_passes(network: RewardNetwork, pairs: list[TokenPair]) -> list[torch.Tensor]:
    """Chosen alone, rejected alone, by the model's own attention with no mask of ours."""
    network.decoder.set_attn_implementation("eager")
    sides = []
    for name in ("chosen", "rejected"):
        rows = [
            network.decoder(input_ids=torch.tensor([getattr(pair, name)])).last_hidden_state[0, -1] for pair in pairs
        ]
        sides.append(network.head(torch.stack(rows))[:, 0])
    return sides


def gradients(network: RewardNetwork, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    network.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    return {name: parameter.grad.clone() for name, parameter in network.trained() if parameter.grad is not None}


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("keys", [[0, 1, 2], [0, 0, 0], [0, 0, 1]])
def test_scores_and_gradients_are_those_of_two_passes(network: RewardNetwork, attention: Any, keys: list[int]) -> None:
    moved(network)
    pairs = token_pairs(keys)
    chosen, rejected = two_passes(network, pairs)
    wanted = gradients(network, -torch.nn.functional.logsigmoid(chosen - rejected).mean())
    use_attention(network.decoder, attention)
    losses, margins = pair_losses(network, plant(pairs), 0.0)
    found = gradients(network, losses.mean())
    assert float((margins - (chosen - rejected)).detach().abs().max()) <= 1e-5
    assert set(found) == set(wanted) and len(found) == 9
    assert max(float((found[name] - value).abs().max()) for name, value in wanted.items()) <= 1e-5


def test_every_part_of_the_adapter_gets_a_gradient(network: RewardNetwork) -> None:
    use_attention(moved(network).decoder, "segments")
    found = gradients(network, pair_losses(network, plant(token_pairs([0, 1])), 0.0)[0].mean())
    assert all(float(gradient.abs().max()) > 0 for gradient in found.values())


def test_checkpointed_gradients_are_the_same() -> None:
    pairs = token_pairs([0, 0, 1])
    found = []
    for is_on in (False, True):
        options = NetworkOptions(head_start="normal", checkpointing=is_on)
        network = moved(open_network(tiny_model(), Lora(4, 8.0), seed=0, options=options)).train()
        found.append(gradients(network, pair_losses(network, plant(pairs), 0.0)[0].mean()))
    assert max(float((found[0][name] - found[1][name]).abs().max()) for name in found[0]) <= 1e-6


@settings(deadline=None)
@given(st.lists(SHORT, min_size=1, max_size=8), st.data())
def test_any_forest_gives_each_sequence_its_own_state(sequences: list[tuple[int, ...]], data: st.DataObject) -> None:
    keys = data.draw(st.lists(st.integers(0, 1), min_size=len(sequences), max_size=len(sequences)))
    model = shared_decoder()
    forest = make_forest(sequences, keys)
    states = run_forest(model, forest)[0][forest.leaves]
    model.set_attn_implementation("eager")
    alone = torch.stack([model(input_ids=torch.tensor([one])).last_hidden_state[0, -1] for one in sequences])
    use_attention(model, "segments")
    assert float((states - alone).detach().abs().max()) <= 2e-5


DECODERS: list[Any] = []


def shared_decoder() -> Any:
    if not DECODERS:
        DECODERS.append(open_network(tiny_model(), Lora(4, 8.0), seed=0, options=NetworkOptions()).decoder)
    return DECODERS[0]


def test_models_that_see_a_window_only_are_refused() -> None:
    model = shared_decoder()
    model.config.layer_types = ["sliding_attention", "full_attention"]
    with pytest.raises(BadInput, match="full attention"):
        use_attention(model, "segments")
    model.config.layer_types = None
