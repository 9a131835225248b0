"""Bradley-Terry reward model: a language model with LoRA and a scalar head (paper 5.1).

P(chosen beats rejected) = sigmoid(r(chosen) - r(rejected)). Plain, it is the same for
everybody; told of the user in the system turn, it is personal. Training and scoring
compute what sequences share once; rewards are those of the sequences run alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Self

import numpy as np

from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput, NotFitted
from personalrm.preferences.messages import Conversation
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.language.bradley_terry.adapter_soups import Adapter
from personalrm.rewards.language.bradley_terry.network import (
    BradleyTerryOptions,
    RewardNetwork,
    open_network,
    pair_losses,
    wear,
)
from personalrm.rewards.language.forests.attention import run_forest
from personalrm.rewards.language.forests.chat_tokens import ChatPrefix
from personalrm.rewards.language.forests.closing_states import PrefixCache, ToRead, closing_states
from personalrm.rewards.language.forests.pair_batches import cut_to_budget, order_epochs, plant, tokenize_pairs
from personalrm.rewards.language.lora import Opened, fingerprint, opened, restore_arrays, trained_arrays
from personalrm.rewards.language.pair_training import Called, PairTraining, StepPart, run_fingerprint
from personalrm.rewards.language.user_turns import KNOWS, Nothing, UserTurn, UserTurns
from personalrm.rewards.model_card import Training, bradley_terry_card
from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem
from personalrm.rewards.saving import checked_arrays, read_facts, read_model, saved_part, write_model
from personalrm.rewards.training import Curve
from personalrm.stats.arrays import FloatArray

KIND = "bradley_terry"


class BradleyTerry(RewardModel[UserTurn]):
    """A Bradley-Terry reward model over a causal language model.

    Args:
        base: A saved model, as transformers loads it.
        options: How it is trained.
        turns: What is told of users; nothing where left out.
        cache: Keeps users' beginnings between questions.
        checkpoint: File to keep a training in and to go on from.
    """

    options_type = BradleyTerryOptions

    def __init__(
        self,
        base: str | Path,
        options: BradleyTerryOptions | None = None,
        *,
        turns: UserTurns | None = None,
        cache: PrefixCache | None = None,
        checkpoint: str | Path | None = None,
    ) -> None:
        self.base, self.options, self.turns = str(base), options or BradleyTerryOptions(), turns or Nothing()
        self.cache = cache if cache is not None else PrefixCache()
        self.checkpoint = Path(checkpoint) if checkpoint is not None else None
        self.training = Training()
        self.curve: Curve | None = None
        self._opened: Opened[RewardNetwork] | None = None
        self._prefixes: dict[str, tuple[int, ...]] = {}

    @property
    def name(self) -> str:
        """The method's name in tables, by what it is told of users."""
        return KNOWS[self.turns.knows]

    def fit(self, pairs: Sequence[PreferencePair], *, dev: Sequence[DevUser] = ()) -> Self:
        """Train; dev users' targets choose the step that is kept.

        Raises:
            BadInput: If there are no pairs, or the base model cannot be loaded.
            TrainingFailed: If the loss is not a number, or chosen and rejected are always scored alike.
        """
        if not pairs:
            raise BadInput("there are no pairs to train a Bradley-Terry model on; pass at least one")
        return self.open().go_on(pairs, dev=dev)

    def go_on(self, pairs: Sequence[PreferencePair], *, dev: Sequence[DevUser] = ()) -> Self:
        """`fit` from where the model stands instead of from the start.

        LoRA and head are trained in place, on one process or on all that `accelerate launch` started.
        """
        options, tokenizer, network = self.options, self._fitted().tokenizer, self.network
        turns = [self.turns.of_training(pair) for pair in pairs]
        tokens = tokenize_pairs(tokenizer, list(zip(turns, pairs, strict=True)), sharing=options.sharing)
        told = [(self.turns.of_context(user.context), pair) for user in dev for pair in user.targets]
        dev_tokens = tokenize_pairs(tokenizer, told, sharing=options.sharing)

        def loss(called: Called, part: StepPart) -> tuple[torch.Tensor, torch.Tensor]:
            return pair_losses(called, part.planted, options.centering)

        steps = order_epochs(tokens, options.epochs, pairs_a_step=options.pairs_a_step, seed=options.seed)
        run = PairTraining(network, tokens, steps, loss, options)

        def look() -> float:
            return run.mean_loss(dev_tokens, lambda planted, _: pair_losses(network, planted, 0.0)[0])

        curve = run.train(
            dev=look if dev_tokens else None,
            checkpoint=self.checkpoint,
            fingerprint=run_fingerprint((*tokens, *dev_tokens), options, network, f"{len(tokens)} to learn from"),
        )
        self.cache.clear()
        self.curve = curve
        self.training = Training(
            n_pairs=len(pairs),
            n_users=len({pair.user_id for pair in pairs}),
            n_users_told_of=len({pair.user_id for pair, turn in zip(pairs, turns, strict=True) if turn}),
            n_truncated=sum(pair.n_turns_left_out > 0 for pair in tokens),
            n_cut=sum(pair.n_tokens_cut > 0 for pair in tokens),
            n_identical=sum(pair.is_identical for pair in tokens),
            n_steps=len(curve.losses),
            n_skipped=curve.n_skipped,
            best_step=curve.best_step,
            dev_losses=list(curve.dev),
        )
        return self

    def condition_many(self, contexts: Sequence[Sequence[PreferencePair]]) -> list[UserTurn]:
        """The system turn of each user."""
        self._fitted()
        return [UserTurn(self.turns.of_context(context)) for context in contexts]

    def score_many(self, items: Sequence[ScoreItem]) -> list[FloatArray]:
        """Rewards in fp32, the user's turn computed once and kept."""
        fitted, asked = self._fitted(), []
        for item in items:
            system = item.state.system
            if system and system not in self._prefixes:
                if len(self._prefixes) >= 4096:  # a bound for servers that run for weeks
                    self._prefixes.clear()
                self._prefixes[system] = fitted.tokenizer.user_prefix(system)
            found = fitted.tokenizer.tokenize(ChatPrefix(system, item.conversation), item.completions)
            asked.append(ToRead(found.sequences, self._prefixes.get(system, ())))
        rewards = (fitted.network.rewards(states).detach() for states in fitted.reader.read(asked))
        return [reward.double().cpu().numpy() for reward in rewards]

    def rank(self, state: UserTurn, conversation: Conversation, completions: Sequence[str]) -> list[int]:
        """Places of the completions, best first; equal rewards keep their order."""
        return [int(place) for place in np.argsort(-self.score(state, conversation, completions), kind="stable")]

    @property
    def n_tokens_run(self) -> int:
        """Tokens that scoring has put through the model so far."""
        return self._fitted().reader.n_tokens_run

    def save(self, folder: str | Path) -> None:
        """Write adapter and head (safetensors), settings (JSON) and a model card; the base model is not copied."""
        facts = {
            "base": self.base,
            "encoder": fingerprint(self.network.decoder),
            "knows": self.turns.knows,
            "options": asdict(self.options),
            "training": asdict(self.training),
        }
        write_model(folder, KIND, facts, self.adapter().arrays)
        (Path(folder) / "README.md").write_text(bradley_terry_card(facts), encoding="utf-8")

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        base: str | Path | None = None,
        turns: UserTurns | None = None,
        cache: PrefixCache | None = None,
    ) -> Self:
        """The model that was saved in a folder.

        Args:
            folder: What `save` wrote.
            base: The base model, where it has moved since.
            turns: What is told of users; must be of the kind it was trained with.
            cache: As for the class.

        Raises:
            StoreError: If there is no model or it cannot be read.
            BadInput: If the base model is another one, or the turns tell something else.
        """
        facts = read_facts(folder, KIND)  # says what must be known before the base model is opened
        options = saved_part(BradleyTerryOptions, facts, "options", folder)
        trained_over, knows = (saved_part(str, facts, name, folder) for name in ("base", "knows"))
        model = cls(base or trained_over, options, turns=turns, cache=cache)
        if model.turns.knows != knows:
            raise BadInput(
                f"model folder {str(folder)!r} was trained with the user turn {knows!r}, got {model.turns.knows!r}; "
                "pass turns of that kind"
            )
        network = model.open().network
        facts, arrays = read_model(folder, KIND, encoder=fingerprint(network.decoder))
        shapes = {name: array.shape for name, array in trained_arrays(network).items()}
        restore_arrays(network, checked_arrays(arrays, shapes, folder))
        model.training = saved_part(Training, facts, "training", folder)
        return model

    def adapter(self) -> Adapter:
        """LoRA and head as arrays, for `adapter_soups.soup`."""
        return Adapter(trained_arrays(self.network), self.options.lora.rank, self.options.lora.alpha)

    def with_adapter(self, adapter: Adapter) -> BradleyTerry:
        """A model of the same base and turns with another adapter, such as a soup; this one stays as it is."""
        lora = replace(self.options.lora, rank=adapter.rank, alpha=adapter.alpha)
        model = BradleyTerry(self.base, replace(self.options, lora=lora), turns=self.turns).open()
        restore_arrays(model.network, adapter.arrays)
        return model

    @torch.no_grad()
    def differences(self, pairs: Sequence[PreferencePair]) -> FloatArray:
        """Hidden state of chosen minus that of rejected at the closing token, shape `(pairs, width)`."""
        told = [(self.turns.of_training(pair), pair) for pair in pairs]
        tokens = tokenize_pairs(self._fitted().tokenizer, told, sharing=self.options.sharing)
        differences: list[FloatArray] = [np.zeros(0)] * len(pairs)
        for part in cut_to_budget(tokens, range(len(pairs)), max_tokens=self.options.tokens_at_once):
            planted = plant([tokens[place] for place in part], is_shared=True)
            states, _ = run_forest(self.network.decoder, planted.forest)
            ends = closing_states(states, planted.forest).cpu().double().numpy()
            for place, difference in zip(part, ends[planted.chosen] - ends[planted.rejected], strict=True):
                differences[place] = difference
        return np.stack(differences)

    def open(self) -> Self:
        """The untrained network, so that an adapter can be worn; returns the model itself."""
        options = self.options
        network = open_network(self.base, options.lora, seed=options.seed, options=options.network)
        self._opened = opened(
            network, self.base, self.cache, max_tokens=options.max_tokens, tokens_at_once=options.tokens_at_once
        )
        network.decoder.config.pad_token_id = self._opened.tokenizer.pad_token_id
        self._prefixes = {}
        return self

    def wear(self, adapter: Adapter) -> Self:
        """Put another adapter, of any rank, in place of this model's own; returns the model itself."""
        wear(self.network, adapter)
        self.cache.clear()
        self.options = replace(self.options, lora=replace(self.options.lora, rank=adapter.rank, alpha=adapter.alpha))
        return self

    @property
    def network(self) -> RewardNetwork:
        """The network itself.

        Raises:
            NotFitted: Before `fit` or `load`.
        """
        return self._fitted().network

    def _fitted(self) -> Opened[RewardNetwork]:
        if self._opened is None:
            raise NotFitted("a bradley_terry model was asked before it was fitted; call fit or load first")
        return self._opened
