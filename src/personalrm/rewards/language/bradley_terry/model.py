"""Bradley-Terry reward model: a language model with LoRA and a scalar head (paper 5.1).

P(chosen beats rejected) = sigmoid(r(chosen) - r(rejected)). Plain, it is the same for
everybody; told of the user in the system turn, it is personal. Training and scoring
compute what sequences share once; rewards are those of the sequences run alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from personalrm.errors import BadInput, NotFitted
from personalrm.preferences.messages import Conversation
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.language.bradley_terry.adapter_soups import Adapter
from personalrm.rewards.language.bradley_terry.network import RewardNetwork, open_network, restore_arrays, wear
from personalrm.rewards.language.bradley_terry.training import BradleyTerryOptions, train_network
from personalrm.rewards.language.forests.chat_tokens import ChatPrefix, ChatTokenizer, load_tokenizer
from personalrm.rewards.language.forests.closing_states import PrefixCache, StateReader, ToRead, state_differences
from personalrm.rewards.language.forests.pair_batches import TokenPair, tokenize_pairs
from personalrm.rewards.language.lora import fingerprint, trained_tensors
from personalrm.rewards.language.user_turns import KNOWS, Nothing, UserTurn, UserTurns
from personalrm.rewards.model_card import Training, bradley_terry_card
from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem
from personalrm.rewards.saving import checked_arrays, read_facts, read_model, saved_part, write_model
from personalrm.rewards.training import Curve
from personalrm.stats.arrays import FloatArray

KIND = "bradley_terry"


@dataclass(frozen=True)
class SavedSettings:
    """What must be known before the base model is opened."""

    folder: str
    options: BradleyTerryOptions
    base: str
    """The base model, where it was when the model was trained."""
    knows: str
    """What kind of thing it was told of users."""

    def refuse_other_turns(self, knows: str) -> None:
        """Refuse turns of another kind than those of the training.

        Raises:
            BadInput: Then.
        """
        if knows != self.knows:
            raise BadInput(
                f"model folder {self.folder!r} was trained with the user turn {self.knows!r}, got {knows!r}; "
                "pass turns of that kind"
            )


def saved_settings(folder: str | Path, kind: str = KIND) -> SavedSettings:
    """The settings of a saved model.

    Args:
        folder: What `save` wrote.
        kind: The method it must be of.

    Raises:
        StoreError: If there is no model or it cannot be read.
        CorruptFile: If `model.json` is not what `save` writes.
        BadInput: If it is of another method.
    """
    facts = read_facts(folder, kind)
    options = saved_part(BradleyTerryOptions, facts, "options", folder)
    base, knows = (saved_part(str, facts, name, folder) for name in ("base", "knows"))
    return SavedSettings(str(folder), options, base, knows)


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
        self._network: RewardNetwork | None = None
        self._tokenizer: ChatTokenizer | None = None
        self._reader: StateReader | None = None
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
        """`fit` from where the model stands instead of from the start."""
        tokens = self._counted(pairs)
        told = [(self.turns.of_context(user.context), pair) for user in dev for pair in user.targets]
        dev_tokens = tokenize_pairs(self._fitted()[1], told, sharing=self.options.sharing)
        curve = train_network(self.network, tokens, self.options, dev=dev_tokens, checkpoint=self.checkpoint)
        self.cache.clear()
        self.curve, self.training.n_steps, self.training.n_skipped = curve, len(curve.losses), curve.n_skipped
        self.training.best_step, self.training.dev_losses = curve.best_step, list(curve.dev)
        return self

    def condition_many(self, contexts: Sequence[Sequence[PreferencePair]]) -> list[UserTurn]:
        """The system turn of each user."""
        self._fitted()
        return [UserTurn(self.turns.of_context(context)) for context in contexts]

    def score_many(self, items: Sequence[ScoreItem]) -> list[FloatArray]:
        """Rewards in fp32, the user's turn computed once and kept."""
        reader, tokenizer = self._fitted()
        asked = []
        for item in items:
            found = tokenizer.tokenize(ChatPrefix(item.state.system, item.conversation), item.completions)
            asked.append(ToRead(found.sequences, self._prefix(item.state.system)))
        rewards = (self.network.rewards(states).detach() for states in reader.read(asked))
        return [reward.double().cpu().numpy() for reward in rewards]

    def rank(self, state: UserTurn, conversation: Conversation, completions: Sequence[str]) -> list[int]:
        """Places of the completions, best first; equal rewards keep their order."""
        return [int(place) for place in np.argsort(-self.score(state, conversation, completions), kind="stable")]

    @property
    def n_tokens_run(self) -> int:
        """Tokens that scoring has put through the model so far."""
        return self._fitted()[0].n_tokens_run

    def save(self, folder: str | Path) -> None:
        """Write adapter and head (safetensors), settings (JSON) and a model card; the base model is not copied."""
        self._fitted()
        network, arrays = self.network, self.adapter().arrays
        facts = {
            "base": self.base,
            "encoder": fingerprint(network.decoder),
            "knows": self.turns.knows,
            "options": asdict(self.options),
            "training": asdict(self.training),
        }
        write_model(folder, KIND, facts, arrays)
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
        saved = saved_settings(folder)
        options = saved.options
        model = cls(base or saved.base, options, turns=turns, cache=cache)
        saved.refuse_other_turns(model.turns.knows)
        network = open_network(model.base, options.lora, seed=options.seed, options=options.network)
        facts, arrays = read_model(folder, KIND, encoder=fingerprint(network.decoder))
        shapes = {name: tuple(tensor.shape) for name, tensor in trained_tensors(network).items()}
        restore_arrays(network, checked_arrays(arrays, shapes, folder))
        model.training = saved_part(Training, facts, "training", folder)
        model._open(network.eval())
        return model

    def adapter(self) -> Adapter:
        """LoRA and head as arrays, for `adapter_soups.soup`."""
        arrays = {name: tensor.float().numpy().copy() for name, tensor in trained_tensors(self.network).items()}
        return Adapter(arrays, self.options.lora.rank, self.options.lora.alpha)

    def with_adapter(self, adapter: Adapter) -> BradleyTerry:
        """A model of the same base and turns with another adapter, such as a soup; this one stays as it is."""
        lora = replace(self.options.lora, rank=adapter.rank, alpha=adapter.alpha)
        model = BradleyTerry(self.base, replace(self.options, lora=lora), turns=self.turns)
        network = open_network(self.base, lora, seed=self.options.seed, options=self.options.network)
        restore_arrays(network, adapter.arrays)
        model._open(network)
        return model

    def differences(self, pairs: Sequence[PreferencePair]) -> FloatArray:
        """Hidden state of chosen minus that of rejected at the closing token, shape `(pairs, width)`."""
        told = [(self.turns.of_training(pair), pair) for pair in pairs]
        tokens = tokenize_pairs(self._fitted()[1], told, sharing=self.options.sharing)
        return state_differences(self.network.decoder, tokens, tokens_at_once=self.options.tokens_at_once)

    def open(self) -> Self:
        """The untrained network, so that an adapter can be worn; returns the model itself."""
        self._open(open_network(self.base, self.options.lora, seed=self.options.seed, options=self.options.network))
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
        if self._network is None:
            raise NotFitted("a bradley_terry model was asked before it was fitted; call fit or load first")
        return self._network

    def _counted(self, pairs: Sequence[PreferencePair]) -> list[TokenPair]:
        """The pairs as tokens, counted."""
        turns = [self.turns.of_training(pair) for pair in pairs]
        told = list(zip(turns, pairs, strict=True))
        tokens = tokenize_pairs(self._fitted()[1], told, sharing=self.options.sharing)
        self.training = Training(
            n_pairs=len(pairs),
            n_users=len({pair.user_id for pair in pairs}),
            n_users_told_of=len({pair.user_id for pair, turn in zip(pairs, turns, strict=True) if turn}),
            n_truncated=sum(pair.n_turns_left_out > 0 for pair in tokens),
            n_cut=sum(pair.n_tokens_cut > 0 for pair in tokens),
            n_identical=sum(pair.is_identical for pair in tokens),
        )
        return tokens

    def _open(self, network: RewardNetwork) -> None:
        self._network = network
        self._tokenizer = ChatTokenizer(
            load_tokenizer(self.base), self.options.max_tokens, config=network.decoder.config
        )
        network.decoder.config.pad_token_id = self._tokenizer.pad_token_id
        self._reader = StateReader(network.decoder, self.cache, tokens_at_once=self.options.tokens_at_once)
        self._prefixes = {}

    def _fitted(self) -> tuple[StateReader, ChatTokenizer]:
        if self._reader is None or self._tokenizer is None:
            raise NotFitted("a bradley_terry model was asked before it was fitted; call fit or load first")
        return self._reader, self._tokenizer

    def _prefix(self, system: str) -> tuple[int, ...]:
        if system and system not in self._prefixes:
            if len(self._prefixes) >= 4096:  # a bound for servers that run for weeks
                self._prefixes.clear()
            self._prefixes[system] = self._fitted()[1].user_prefix(system)
        return self._prefixes.get(system, ())
