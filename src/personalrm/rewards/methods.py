"""The tables of reward models that stand on embeddings: what each is called, how it is made, where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput, UnknownName
from personalrm.rewards.reward_model import RewardModel
from personalrm.typed_values import spec_from, suggestion


@dataclass(frozen=True)
class RewardMethod:
    """One reward model; its classes are imported when it is used, since they need torch."""

    title: str
    """As in tables."""
    source: str
    """Where it comes from."""
    place: str
    """Module, class and class of its options: `heads.low_rank:LowRank:LowRankOptions`."""
    fixed: Mapping[str, Any]
    """Options that make it what it is and cannot be set."""
    faithful: Callable[[Any], Any] | None = None
    """The published settings, made by the class of the options; None where there are none apart from ours."""
    is_personal: bool = True
    uses_dev: bool = True
    """Whether dev users stop the training or choose settings; without, they need not be kept from it."""
    takes_steps: bool = False
    """Whether training takes optimiser steps, so that it can be killed and go on."""

    def classes(self) -> tuple[Any, Any]:
        """The model's class and that of its options.

        Raises:
            MissingExtra: If torch is not installed.
        """
        module, model, options = self.place.split(":")
        found = import_module(f"personalrm.rewards.{module}")
        return getattr(found, model), getattr(found, options)

    def options(self, content: Mapping[str, Any], *, where: str, faithful: bool = False) -> Any:
        """Options from a mapping.

        Raises:
            UnknownName: If a key is unknown, with the one that was probably meant.
            BadInput: If a value does not fit, or there are no published settings to be faithful to.
        """
        kind = self.classes()[1]
        if faithful and self.faithful is None:
            raise BadInput(f"{self.title} has no published settings apart from ours; leave faithful out of {where}")
        base = self.faithful(kind) if faithful and self.faithful is not None else None
        told = {**content, **self.fixed} if isinstance(content, Mapping) else content  # refused below
        return spec_from(kind, told, where, base=base)


REWARD_METHODS: Mapping[str, RewardMethod] = {
    "bradley_terry_head": RewardMethod(
        "Bradley-Terry head on embeddings (non-personal)",
        "Bradley and Terry 1952",
        "heads.low_rank:LowRank:LowRankOptions",
        {"n_bases": 1},
        is_personal=False,
    ),
    "low_rank": RewardMethod("Low-rank bases", "LoRe 2025", "heads.low_rank:LowRank:LowRankOptions", {}),
    "mrm": RewardMethod("MRM", "MRM, SIGIR 2026", "heads.mrm:MRM:MRMOptions", {}, takes_steps=True),
    "soup": RewardMethod("Reward soup over user clusters", "rewarded soups 2023", "heads.soups:Soup:SoupOptions", {}),
    "two_level": RewardMethod(
        "Style and content on two levels",
        "decision 0019 of personalrm",
        "heads.two_level:TwoLevel:TwoLevelOptions",
        {},
        uses_dev=False,
    ),
    "gpo": RewardMethod(
        "GPO", "Zhao et al. 2023", "heads.gpo:GPO:GPOOptions", {}, lambda _: _gpo_faithful(), takes_steps=True
    ),
    "vpl": RewardMethod(
        "VPL", "Poddar et al. 2024", "heads.vpl:VPL:VPLOptions", {}, lambda kind: kind.faithful(), takes_steps=True
    ),
    "pal": RewardMethod(
        "PAL", "Chen et al. 2024", "heads.pal:PAL:PALOptions", {}, lambda kind: kind.faithful(), takes_steps=True
    ),
}

LANGUAGE_METHODS: Mapping[str, RewardMethod] = {
    "vpl_lm": RewardMethod(
        "VPL over a language model",
        "Poddar et al. 2024",
        "language.vpl_lm:LanguageVPL:LanguageVPLOptions",
        {},
        lambda kind: kind.faithful(),
        takes_steps=True,
    ),
}
"""Those that also train a language model, which must be named."""
OVER_A_BASE: Mapping[str, str] = {"vpl": "vpl_lm"}
"""A method on embeddings -> the one of its kind that trains a language model along."""


def reward_method(name: str) -> RewardMethod:
    """The method of a name.

    Raises:
        UnknownName: If there is none, with the one that was probably meant.
    """
    known = {**REWARD_METHODS, **LANGUAGE_METHODS}
    if name not in known:
        raise UnknownName(f"unknown reward model {name!r}; {suggestion(name, known)}")
    return known[name]


def method_over(name: str, base: str | None) -> str:
    """The method that is meant by a name and a language model to train along, or none.

    Raises:
        UnknownName: If there is no method of the name.
        BadInput: If the method needs a language model and none is named, or has no use for one.
    """
    reward_method(name)
    if base is None and name in LANGUAGE_METHODS:
        raise BadInput(f"{name} trains a language model and none was named; pass base (--base)")
    if base is None or name in LANGUAGE_METHODS:
        return name
    if name not in OVER_A_BASE:
        raise BadInput(f"{name} reads embeddings and trains no language model; leave the base model {base!r} out")
    return OVER_A_BASE[name]


def make_reward_model(
    name: str,
    store: EmbeddingStore,
    options: Any = None,
    *,
    base: str | None = None,
    checkpoint: Path | None = None,
) -> RewardModel[Any]:
    """An untrained model.

    Args:
        name: Its method.
        store: Where its embeddings are.
        options: Of its class; the defaults where None.
        base: The language model, for methods that train one.
        checkpoint: File to keep a training in and to go on from, for methods that take steps.
    """
    method = reward_method(method_over(name, base))
    stands_on = (store,) if base is None else (base, store)
    kept = {"checkpoint": checkpoint} if method.takes_steps else {}
    chosen = options if options is not None else method.options({}, where=name)
    made: RewardModel[Any] = method.classes()[0](*stands_on, chosen, **kept)
    return made


def load_reward_model(name: str, folder: str | Path, store: EmbeddingStore) -> RewardModel[Any]:
    """A saved model."""
    loaded: RewardModel[Any] = reward_method(name).classes()[0].load(folder, store)
    return loaded


def _gpo_faithful() -> Any:
    from personalrm.rewards.heads.gpo.model import FAITHFUL

    return FAITHFUL
