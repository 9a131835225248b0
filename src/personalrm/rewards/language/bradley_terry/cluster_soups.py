"""Soups of LoRA adapters over clusters of users.

Everybody's model is trained first. Users are clustered by the mean difference of its
hidden states, chosen minus rejected, and each cluster's adapter goes on from everybody's
with that cluster's pairs. With a_ik the margin of a new user's context pair i under
adapter k, their weights p on the simplex minimize sum_i log(1 + exp(-a_i . p)), all users
in one solve. Their reward is then, of rewards, sum_k p_k r_k(x), or, of weights, that of
the one model whose delta is sum_k p_k s B_k A_k, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np

from personalrm.errors import BadInput, NotFitted
from personalrm.preferences.pairs import PreferencePair
from personalrm.rewards.heads.low_rank import STRENGTHS, MixtureState
from personalrm.rewards.heads.pair_table import choice_weights
from personalrm.rewards.heads.simplex import fit_simplex
from personalrm.rewards.heads.soups import cluster_users
from personalrm.rewards.language.bradley_terry.adapter_soups import Adapter, soup
from personalrm.rewards.language.bradley_terry.model import BradleyTerry
from personalrm.rewards.language.bradley_terry.network import BradleyTerryOptions, RewardNetwork
from personalrm.rewards.language.lora import fingerprint
from personalrm.rewards.model_card import Training, soup_card
from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem
from personalrm.rewards.saving import (
    checked_arrays,
    read_facts,
    read_model,
    saved_part,
    write_model,
)
from personalrm.rewards.training import Curve
from personalrm.rewards.watching import part
from personalrm.stats.arrays import FloatArray

KIND = "bradley_terry_soup"


@dataclass(frozen=True)
class BradleyTerrySoupOptions:
    """How many adapters, how they are trained and mixed."""

    n_clusters: int = 4
    mixture_of: Literal["weights", "rewards"] = "weights"
    """One forward of a mixed model a user, or one forward an adapter whose rewards are mixed."""
    mixing: Literal["fitted", "uniform"] = "fitted"
    """Whether a user's weights are fitted on their context, or all adapters count equally."""
    strength: float = 1.0
    """Pull of the uniform weights; chosen on the dev users where there are any."""
    adapters: BradleyTerryOptions = field(default_factory=BradleyTerryOptions)
    """How everybody's model and each cluster's adapter are trained."""

    def __post_init__(self) -> None:
        if self.n_clusters < 1 or not 0 < self.strength < float("inf"):
            raise BadInput(
                f"a soup needs at least one cluster and a positive strength, got {self.n_clusters!r} and "
                f"{self.strength!r}"
            )


class BradleyTerrySoup(RewardModel[MixtureState]):
    """One LoRA adapter a cluster of users over one causal language model, mixed for each user.

    Args:
        base: A saved model, as transformers loads it.
        options: Clusters, mixing, training.
        checkpoint: File to keep the training in; each cluster's stands beside it.
    """

    name = KIND
    options_type = BradleyTerrySoupOptions

    def __init__(
        self, base: str | Path, options: BradleyTerrySoupOptions | None = None, *, checkpoint: str | Path | None = None
    ) -> None:
        self.base, self.options = str(base), options or BradleyTerrySoupOptions()
        self.checkpoint = Path(checkpoint) if checkpoint is not None else None
        self.adapters: tuple[Adapter, ...] = ()
        """One a cluster."""
        self.strength = self.options.strength
        self.training = Training()
        self.curve: Curve | None = None
        self._model: BradleyTerry | None = None

    def fit(self, pairs: Sequence[PreferencePair], *, dev: Sequence[DevUser] = ()) -> Self:
        """Train everybody's model, cluster the users, train each cluster's adapter from there.

        Dev users stop the training of everybody's model and of the cluster they are nearest to,
        and choose the strength.

        Raises:
            BadInput: If there are no pairs, or the base model cannot be loaded.
            TrainingFailed: If the loss is not a number, or chosen and rejected are always scored alike.
        """
        n_clusters = self.options.n_clusters
        model = BradleyTerry(self.base, self.options.adapters, checkpoint=self.checkpoint)
        with part("everybody's model"):
            model.fit(pairs, dev=dev)
        self.curve, self.training = model.curve, model.training
        of_pair, of_dev = self._clusters(model, pairs, dev)
        everybody, adapters = model.adapter(), []
        for k in range(n_clusters):
            model.wear(everybody)
            own = [pair for pair, cluster in zip(pairs, of_pair, strict=True) if cluster == k]
            if own:  # an empty cluster keeps everybody's adapter
                file = self.checkpoint
                model.checkpoint = file.with_stem(f"{file.stem}-{k}") if file else None
                with part(f"adapter {k + 1} of {n_clusters}"):
                    model.go_on(own, dev=[user for user, cluster in zip(dev, of_dev, strict=True) if cluster == k])
            adapters.append(model.adapter())
        self._model, self.adapters = model.wear(everybody), tuple(adapters)
        self.strength = self.options.strength
        scored = [user for user in dev if user.targets]
        if scored and self.options.mixing == "fitted" and n_clusters > 1:
            margins, weights = self._margins([user.context for user in scored])
            targets, counts = self._margins([user.targets for user in scored])

            def loss(strength: float) -> float:
                """On the dev users' targets, of the mixture of rewards."""
                mixed = fit_simplex(margins, weights=weights, strength=strength).weights
                losses = [c * np.logaddexp(0.0, -a @ p) for a, c, p in zip(targets, counts, mixed, strict=True)]
                return float(np.concatenate(losses).sum())

            self.strength = min(STRENGTHS, key=loss)
        return self

    def condition_many(self, contexts: Sequence[Sequence[PreferencePair]]) -> list[MixtureState]:
        """The weights of each user, all in one solve; uniform without context."""
        self._fitted()
        if not contexts:
            return []
        if self.options.mixing == "uniform":
            return [MixtureState(np.full(len(self.adapters), 1.0 / len(self.adapters))) for _ in contexts]
        margins, counts = self._margins(contexts)
        return [MixtureState(p) for p in fit_simplex(margins, weights=counts, strength=self.strength).weights]

    def score_many(self, items: Sequence[ScoreItem]) -> list[FloatArray]:
        """Rewards of each item's completions, by the mixture the options name."""
        self._fitted()
        if self.options.mixture_of == "weights":  # each user's questions under their own soup
            of_user: dict[bytes, list[int]] = {}
            for place, item in enumerate(items):
                of_user.setdefault(item.state.weights.tobytes(), []).append(place)
            found: dict[int, FloatArray] = {}
            for places in of_user.values():
                adapter = self.mixed(items[places[0]].state.weights)
                found |= dict(zip(places, self._under(adapter, [items[place] for place in places]), strict=True))
            return [found[place] for place in range(len(items))]
        mixed = [np.zeros(len(item.completions)) for item in items]
        for place, adapter in enumerate(self.adapters):
            used = [n for n, item in enumerate(items) if item.state.weights[place] != 0]
            for n, rewards in zip(used, self._under(adapter, [items[n] for n in used]), strict=True):
                mixed[n] += items[n].state.weights[place] * rewards
        return mixed

    @property
    def network(self) -> RewardNetwork:
        """The one network that wears the adapters in turn.

        Raises:
            NotFitted: Before `fit` or `load`.
        """
        return self._fitted().network

    def mixed(self, weights: Sequence[float]) -> Adapter:
        """The soup of the adapters: one adapter, to serve a user with or to go on from.

        Args:
            weights: One an adapter; all weight on one gives that adapter bit for bit.
        """
        self._fitted()
        return soup(self.adapters, weights)

    def save(self, folder: str | Path) -> None:
        """Write all adapters (safetensors) and settings (JSON); the base model is not copied."""
        model = self._fitted()
        arrays = {
            f"{k}/{name}": array for k, adapter in enumerate(self.adapters) for name, array in adapter.arrays.items()
        }
        facts: dict[str, Any] = {
            "base": self.base,
            "encoder": fingerprint(model.network.decoder),
            "options": asdict(self.options),
            "strength": self.strength,
            "training": asdict(self.training),
        }
        write_model(folder, KIND, facts, arrays)
        card = soup_card(
            {**facts, "options": facts["options"]["adapters"], "knows": "nothing"}, self.options.n_clusters
        )
        (Path(folder) / "README.md").write_text(card, encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path, *, base: str | Path | None = None) -> Self:
        """The model that was saved in a folder.

        Args:
            folder: What `save` wrote.
            base: The base model, where it has moved since.

        Raises:
            StoreError: If there is no model or it cannot be read.
            BadInput: If the base model is another one.
        """
        facts = read_facts(folder, KIND)
        options = saved_part(BradleyTerrySoupOptions, facts, "options", folder)
        trained_over = saved_part(str, facts, "base", folder)
        model = cls(base or trained_over, options)
        opened = BradleyTerry(model.base, options.adapters).open()
        facts, arrays = read_model(folder, KIND, encoder=fingerprint(opened.network.decoder))
        fresh = opened.adapter()
        shapes = {f"{k}/{n}": a.shape for k in range(options.n_clusters) for n, a in fresh.arrays.items()}
        checked_arrays(arrays, shapes, folder)
        for k in range(options.n_clusters):
            own = {name: arrays[f"{k}/{name}"] for name in fresh.arrays}
            model.adapters += (Adapter(own, fresh.rank, fresh.alpha),)
        model.strength = saved_part(float, facts, "strength", folder)
        model.training = saved_part(Training, facts, "training", folder)
        model._model = opened
        return model

    def _fitted(self) -> BradleyTerry:
        if self._model is None:
            raise NotFitted(f"a {self.name} model was asked before it was fitted; call fit or load first")
        return self._model

    def _under(self, adapter: Adapter, items: Sequence[ScoreItem]) -> list[FloatArray]:
        """Rewards of the items under one adapter, whoever asks."""
        model = self._fitted().wear(adapter)
        anybody = model.condition(())
        return model.score_many([ScoreItem(anybody, item.conversation, item.completions) for item in items])

    def _margins(self, contexts: Sequence[Sequence[PreferencePair]]) -> tuple[list[FloatArray], list[FloatArray]]:
        """Each user's margins under each adapter, `(pairs, adapters)`, and weights of their pairs."""
        flat = [pair for context in contexts for pair in context]
        items = [ScoreItem(None, pair.conversation, (pair.chosen, pair.rejected)) for pair in flat]
        found = np.zeros((len(flat), len(self.adapters)))
        for place, adapter in enumerate(self.adapters):
            found[:, place] = [rewards[0] - rewards[1] for rewards in self._under(adapter, items)]
        borders = np.cumsum([len(context) for context in contexts])[:-1]
        return np.split(found, borders), [choice_weights([0] * len(context), context) for context in contexts]

    def _clusters(
        self, model: BradleyTerry, pairs: Sequence[PreferencePair], dev: Sequence[DevUser]
    ) -> tuple[list[int], list[int]]:
        """The cluster of each pair's user and that which each dev user is nearest to; some may be of nobody.

        The hidden states of everybody's model are the embedding.
        """
        differences = model.differences(pairs)  # (pairs, width)
        users = {user_id: place for place, user_id in enumerate(dict.fromkeys(pair.user_id for pair in pairs))}
        rows = np.array([users[pair.user_id] for pair in pairs])
        scale = np.sqrt((differences**2).mean(axis=0))
        scale = np.where(scale > 0, scale, 1.0)
        points = np.stack([(differences / scale)[rows == place].mean(axis=0) for place in range(len(users))])
        of_user = cluster_users(points, self.options.n_clusters, seed=model.options.seed)
        centers = {int(k): points[of_user == k].mean(axis=0) for k in np.unique(of_user)}

        def nearest(user: DevUser) -> int:
            if not user.context:  # nobody known belongs to the first
                return 0
            point = model.differences(user.context).mean(axis=0) / scale
            return min(centers, key=lambda k: float(((point - centers[k]) ** 2).sum()))

        return [int(of_user[row]) for row in rows], [nearest(user) for user in dev]
