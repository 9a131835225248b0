"""VPL whose decoder reads a causal language model that is trained along with LoRA (paper 5.1).

A user's context pairs, as frozen embeddings from the store, are encoded into
q(z | context) = N(mu, diag exp(lv)). The reward of a completion is decoder([h, z]) with h
the model's state at the token that closes it. Trained by the ELBO of `rewards/heads/vpl/`; a
target runs through the model once and is decoded with all its contexts' z. Contexts are drawn by step and seed alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Self

import numpy as np

from personalrm.embedding.store import EmbeddingStore
from personalrm.embedding.with_torch import Tensor, nn, torch
from personalrm.errors import BadInput, NotFitted
from personalrm.preferences.messages import Conversation, digest
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.controls import active_units
from personalrm.rewards.heads.gathering import gather_contexts, gather_pairs, pair_weights
from personalrm.rewards.heads.pair_table import choice_weights, make_pair_table
from personalrm.rewards.heads.vpl.contexts import ContextSampler, mean_z
from personalrm.rewards.heads.vpl.model import VPLState, elbo
from personalrm.rewards.language.forests.attention import run_forest
from personalrm.rewards.language.forests.chat_tokens import ChatPrefix
from personalrm.rewards.language.forests.closing_states import PrefixCache, ToRead, closing_states
from personalrm.rewards.language.forests.pair_batches import PairForest, TokenPair, order_epochs, tokenize_pairs
from personalrm.rewards.language.lora import Opened, fingerprint, opened, restore_arrays, trained_arrays
from personalrm.rewards.language.pair_training import Called, PairTraining, StepPart, run_fingerprint
from personalrm.rewards.language.vpl_lm.network import LanguageVPLNetwork, LanguageVPLOptions, open_vpl_network
from personalrm.rewards.model_card import Training, adapter_row, model_card
from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem
from personalrm.rewards.saving import checked_arrays, read_model, saved_part, write_model
from personalrm.rewards.training import STEP_STRIDE, Curve, Group, Look
from personalrm.stats.arrays import FloatArray

LOADER = "personalrm.rewards.language.vpl_lm.model.LanguageVPL"


class LanguageVPL(RewardModel[VPLState]):
    """VPL over a language model; the constructor stores what it is given.

    Args:
        base: The language model that decodes, as transformers loads it.
        store: Embeddings of context pairs, of any encoder; what is missing is put there.
        options: Architecture, loss, training.
        checkpoint: File to keep a training in and to go on from.
    """

    name = "vpl_lm"
    options_type = LanguageVPLOptions

    def __init__(
        self,
        base: str | Path,
        store: EmbeddingStore,
        options: LanguageVPLOptions | None = None,
        *,
        checkpoint: str | Path | None = None,
    ) -> None:
        self.base, self.store, self.options = str(base), store, options or LanguageVPLOptions()
        self.checkpoint = Path(checkpoint) if checkpoint is not None else None
        self.training = Training()
        self.curve: Curve | None = None
        self._opened: Opened[LanguageVPLNetwork] | None = None

    @property
    def active_share(self) -> list[float]:
        """Share of active units of z over the dev users, at each look at them; near 0 is posterior collapse."""
        return [look["active_share"] for look in self.curve.told] if self.curve else []

    def fit(self, pairs: Sequence[PreferencePair], *, dev: Sequence[DevUser] = ()) -> Self:
        """Train on the pairs of many users; dev users' targets choose the step that is kept and stop in time.

        Raises:
            BadInput: If there are no pairs, the base model cannot be loaded, or the checkpoint is of another run.
            TrainingFailed: If the loss stays no number, or chosen and rejected are always scored alike.
        """
        options = self.options
        table = make_pair_table(pairs, self.store)
        vectors = gather_pairs(table, self.store, options.pooling)
        network = self._open()
        if options.standardize:
            vectors.standardize(network.heads)
        tokens = self._tokens(table.pairs)
        steps = order_epochs(tokens, options.epochs, pairs_a_step=options.pairs_a_step, seed=options.seed)
        contexts = ContextSampler(options, table, vectors)
        weight = pair_weights(table, by_choice=options.weigh_choices)  # (pairs,), 1 on average

        def loss(called: Called, part: StepPart) -> tuple[Tensor, Tensor]:
            """The ELBO of each target of a part, `(pairs,)`, and margins `(pairs, contexts)`."""
            # The part's share of what is drawn for the whole step, so that parts and processes change nothing.
            generator = torch.Generator().manual_seed(options.seed * STEP_STRIDE + part.step)
            whole = contexts.draw(torch.tensor(list(part.step_places)), generator)
            where = {place: number for number, place in enumerate(part.step_places)}
            drawn = whole.of(torch.tensor([where[place] for place in part.places]))
            margins, latents = called(part.planted, contexts.vectors(drawn))
            losses = elbo(margins, latents, options, beta=options.kl_share(part.step, len(steps)), dim=1)
            return weight[list(part.places)].to(losses.device) * losses, margins

        run = PairTraining(network, tokens, steps, loss, options)
        users = [user for user in dev if user.targets]
        dev_tokens = self._tokens([pair for user in users for pair in user.targets])
        trained = list(network.trained())
        context_hashes = [pair.hash for user in users for pair in user.context]
        told = digest(self.store.encoder.identity, fingerprint(network.decoder), table.hashes, context_hashes)
        curve = self.curve = run.train(
            groups=[
                Group([p for name, p in trained if "lora_" in name], options.learning_rate, options.weight_decay),
                Group(
                    [p for name, p in trained if "lora_" not in name], options.head_learning_rate, options.weight_decay
                ),
            ],
            dev=self._looking(run, users, dev_tokens) if users else None,
            checkpoint=self.checkpoint,
            fingerprint=run_fingerprint((*tokens, *dev_tokens), options, network, told),
        )
        self.training = Training(
            n_pairs=len(table),
            n_users=table.n_users,
            n_truncated=sum(pair.n_turns_left_out > 0 for pair in tokens),
            n_cut=sum(pair.n_tokens_cut > 0 for pair in tokens),
            n_identical=sum(pair.is_identical for pair in tokens),
            n_steps=len(curve.losses),
            n_skipped=curve.n_skipped,
            best_step=curve.best_step,
            dev_losses=list(curve.dev),
            n_tokens_run=run.n_tokens_run,
            active_share=active_units(self._z([user.context for user in users]).cpu().numpy()) if users else None,
        )
        return self

    def condition_many(self, contexts: Sequence[Sequence[PreferencePair]]) -> list[VPLState]:
        """z = mu of each user; zeros without context."""
        self._fitted()
        return [VPLState(z) for z in self._z(contexts).cpu().numpy()] if contexts else []

    @torch.no_grad()
    def score_many(self, items: Sequence[ScoreItem]) -> list[FloatArray]:
        """Rewards in fp32; a question that several users ask runs through the model once."""
        fitted = self._fitted()
        if not items:
            return []
        asked = [
            fitted.tokenizer.tokenize(ChatPrefix("", item.conversation), item.completions).sequences for item in items
        ]
        distinct = {sequences: number for number, sequences in enumerate(dict.fromkeys(asked))}
        states = fitted.reader.read([ToRead(sequences) for sequences in distinct])
        h = torch.cat([states[distinct[sequences]] for sequences in asked])  # (completions, width)
        counts = [len(sequences) for sequences in asked]
        z = torch.from_numpy(np.repeat(np.stack([item.state.z for item in items]), counts, axis=0)).to(h.device)
        rewards = fitted.network.rewards(h, z).double().cpu().numpy()
        return [np.asarray(part) for part in np.split(rewards, np.cumsum(counts)[:-1])]

    def rank(self, state: VPLState, conversation: Conversation, completions: Sequence[str]) -> list[int]:
        """Places of the completions, best first; equal rewards keep their order."""
        return [int(place) for place in np.argsort(-self.score(state, conversation, completions), kind="stable")]

    @property
    def n_tokens_run(self) -> int:
        """Tokens that scoring has put through the model so far."""
        return self._fitted().reader.n_tokens_run

    def save(self, folder: str | Path) -> None:
        """Write adapter, encoder and decoder (safetensors), settings (JSON) and a card; the base is not copied."""
        facts = {
            "base": self.base,
            "encoder": self.store.encoder.identity,
            "language_model": fingerprint(self.network.decoder),
            "options": asdict(self.options),
            "training": asdict(self.training),
        }
        write_model(folder, self.name, facts, trained_arrays(self.network))
        (Path(folder) / "README.md").write_text(model_card(facts, self._rows(), loader=LOADER), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, store: EmbeddingStore, *, base: str | Path | None = None) -> Self:
        """The model that was saved in a folder.

        Args:
            folder: What `save` wrote.
            store: Of the encoder it was trained with.
            base: The base model, where it has moved since.

        Raises:
            StoreError: If there is no model or it cannot be read.
            CorruptFile: If a file is damaged.
            BadInput: If encoder or base model are others.
        """
        facts, arrays = read_model(folder, cls.name, encoder=store.encoder.identity)
        options = saved_part(LanguageVPLOptions, facts, "options", folder)
        trained_over, language_model = (saved_part(str, facts, name, folder) for name in ("base", "language_model"))
        model = cls(base or trained_over, store, options)
        network = model._open()
        if fingerprint(network.decoder) != language_model:
            raise BadInput(f"model folder {str(folder)!r} was trained on another base model; pass that as base")
        shapes = {name: array.shape for name, array in trained_arrays(network).items()}
        restore_arrays(network, checked_arrays(arrays, shapes, folder))
        model.training = saved_part(Training, facts, "training", folder)
        return model

    @property
    def network(self) -> LanguageVPLNetwork:
        """The network itself.

        Raises:
            NotFitted: Before `fit` or `load`.
        """
        return self._fitted().network

    def _looking(self, run: PairTraining, dev: Sequence[DevUser], tokens: Sequence[TokenPair]) -> Callable[[], Look]:
        """A look at the dev users: mean loss on their targets, and the share of active units."""
        owner = [number for number, user in enumerate(dev) for _ in user.targets]
        weight = choice_weights(owner, [pair for user in dev for pair in user.targets])
        share = torch.from_numpy(weight / weight.mean()).float().to(run.accelerator.device)
        owners = torch.tensor(owner)

        def look() -> Look:
            z = self._z([user.context for user in dev])

            def losses(planted: PairForest, places: Sequence[int]) -> Tensor:
                states, _ = run_forest(self.network.decoder, planted.forest)
                own = z[owners[list(places)].to(z.device)][:, None]  # (pairs, 1, latent)
                margins = self.network.margins(closing_states(states, planted.forest), planted, own)
                return share[list(places)] * nn.functional.softplus(-margins[:, 0])

            return Look(run.mean_loss(tokens, losses), {"active_share": active_units(z.cpu().numpy())})

        return look

    def _z(self, contexts: Sequence[Sequence[PreferencePair]]) -> Tensor:
        """Shape `(users, latent)`."""
        given = gather_contexts(contexts, self.store, self.options.pooling)
        return mean_z(self.network.heads, given, normalize=self.options.normalize_mu)

    def _tokens(self, pairs: Sequence[PreferencePair]) -> list[TokenPair]:
        told = [("", pair) for pair in pairs]  # what is known of a user is z, so nothing stands in a system turn
        return tokenize_pairs(self._fitted().tokenizer, told, sharing=self.options.sharing)

    def _open(self) -> LanguageVPLNetwork:
        options = self.options
        network = open_vpl_network(self.base, self.store.encoder.dim, options)
        self._opened = opened(
            network, self.base, PrefixCache(0), max_tokens=options.max_tokens, tokens_at_once=options.tokens_at_once
        )
        return network

    def _fitted(self) -> Opened[LanguageVPLNetwork]:
        if self._opened is None:
            raise NotFitted(f"a {self.name} model was asked before it was fitted; call fit or load first")
        return self._opened

    def _rows(self) -> dict[str, str]:
        """The method's rows of the model card."""
        training, options = self.training, self.options
        swapped = f" + {options.swap_weight:g} SPL's regulariser" if options.swap_weight else ""
        active = "no dev users" if training.active_share is None else f"{100 * training.active_share:.0f} %"
        return {
            "method": "VPL, after Poddar et al. 2024; the decoder reads a language model that was trained along",
            "told of a user": "their choices, as a vector z made from embeddings",
            "encoder of the choices": f"`{self.store.encoder.identity}`",
            "trained": adapter_row(asdict(options.lora), "encoder and decoder"),
            "loss": f"-log sigmoid(r(chosen) - r(rejected)) + {options.kl_weight:g} KL(q(z), N(0, I)){swapped}",
            "pairs, users": f"{training.n_pairs:,}, {training.n_users:,}",
            "active units of z over dev users": f"{active}; near 0 the model does not tell users apart",
        }
