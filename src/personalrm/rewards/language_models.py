"""The one table of reward models that train a language model: what each is called, made of, and told of users.

A class that is told of users in words is made as `Class(base, options, turns=..., checkpoint=...)`
and read back by `Class.load(folder, base=..., turns=...)`; one that reads their choices as
embeddings by `Class(base, store, options, checkpoint=...)` and `Class.load(folder, store,
base=...)`; one that reads them with the language model itself by `Class(base, options,
checkpoint=...)` and `Class.load(folder, base=...)`. Between the two it is a `RewardModel`
with a `network`; its options, or a part of them, have `seed`, `max_tokens`, `lora` and
`network` (with a precision). A new one is a line here, and a row of the benchmark by that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput, UnknownName
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.prepared_prompts import PreparedPrompts
from personalrm.rewards.language.user_turns import KNOWS, Knows, Nothing, RawHistory, SavedPrompts, UserTurns
from personalrm.rewards.reward_model import RewardModel
from personalrm.typed_values import spec_from, suggestion

Device = Literal["auto", "cpu", "cuda"]
Reads = Literal["turn", "embeddings", "pairs"]
SHOWN = 4
"""Raw pairs a history shows; the setting `k` of its row."""
WRITTEN: tuple[Knows, ...] = ("persona", "persona_demonstrations")
"""What is told from personal prompts."""


@dataclass(frozen=True)
class Settings:
    """Settings of one method, checked."""

    options: Any
    """Of the method's class."""
    training: Any
    """The part of the options that says how the language model is trained; often all of them."""
    k: int = SHOWN
    """Raw pairs shown, for the method that shows some."""


@dataclass(frozen=True, repr=False)
class Told:
    """What there is to tell of users."""

    prompts: PreparedPrompts = field(default_factory=PreparedPrompts)
    pairs: Sequence[PreferencePair] = ()
    """What is trained on, for histories; none where a trained model is only asked."""
    store: EmbeddingStore | None = None
    """Embeddings of their choices, for methods that read them."""


@dataclass(frozen=True)
class LanguageMethod:
    """One reward model on a language model; its classes are imported when used, since they need torch."""

    title: str
    """As in tables."""
    place: str
    """Module, class and class of its options: `language.bradley_terry:BradleyTerry:BradleyTerryOptions`."""
    knows: Knows = "nothing"
    """What it is told of a user in the system turn."""
    is_personal: bool = True
    reads: Reads = "turn"
    """How it learns of a user: from a system turn, from an embedding store, or by scoring their pairs itself."""
    part: str = ""
    """Name of the option that says how the language model is trained, where that is not all of them."""

    @property
    def reads_embeddings(self) -> bool:
        """Whether it reads a user's choices from an embedding store."""
        return self.reads == "embeddings"

    @property
    def needs_prompts(self) -> bool:
        """Whether it is told personas."""
        return self.knows in WRITTEN

    def settings(self, content: Mapping[str, Any], *, dtype: str, seed: int, where: str) -> Settings:
        """Settings from a mapping.

        Raises:
            UnknownName: If a key is unknown, with the one that was probably meant.
            BadInput: If a value does not fit, or says what the base model's `dtype` says.
        """
        content, k = dict(content), SHOWN
        if self.knows == "history":
            k = content.pop("k", SHOWN)
            if not isinstance(k, int) or isinstance(k, bool) or k < 1:
                raise BadInput(f"k of {where} is {k!r}; it is the number of raw pairs shown, 1 or more")
        own = content.pop(self.part, None) or {} if self.part else content
        if not isinstance(own, Mapping):
            raise BadInput(f"{self.part} of {where} is no group of settings; write them below it")
        if "precision" in (own.get("network") or {}):
            raise BadInput(f"network of {where} names a precision; write it as dtype of the base model")
        own = {"seed": seed, **own}
        options = spec_from(self._class(2), {**content, self.part: own} if self.part else own, where)
        training = getattr(options, self.part) if self.part else options
        training = replace(training, network=replace(training.network, precision=dtype))
        return Settings(replace(options, **{self.part: training}) if self.part else training, training, k)

    def make(
        self, base: str, settings: Settings, told: Told, *, device: Device = "auto", checkpoint: Path | None = None
    ) -> RewardModel[Any]:
        """An untrained model that keeps its training in a file and goes on from it.

        Raises:
            BadInput: If the device is not there, or this process already trains on another.
        """
        from personalrm.rewards.language.placing import train_on

        train_on(device)
        place = (told.store,) if self.reads_embeddings else ()
        model: RewardModel[Any] = self._class(1)(
            base, *place, settings.options, checkpoint=checkpoint, **self._turns(settings, told)
        )
        return model

    def load(
        self, folder: Path, base: str, settings: Settings, told: Told, *, device: Device = "auto"
    ) -> RewardModel[Any]:
        """The model that was saved in a folder, on its device."""
        from personalrm.rewards.language.placing import placed

        place = (told.store,) if self.reads_embeddings else ()
        model: Any = self._class(1).load(folder, *place, base=base, **self._turns(settings, told))
        model.network.to(placed(device))
        loaded: RewardModel[Any] = model
        return loaded

    def release(self) -> None:
        """Free what a model took that nobody holds any more; it is too large to wait for the collector."""
        from personalrm.rewards.language.placing import free_memory

        free_memory()

    def _turns(self, settings: Settings, told: Told) -> dict[str, UserTurns]:
        """The argument `turns` of classes that take one."""
        if self.reads != "turn":
            return {}
        if self.knows == "history":
            return {"turns": RawHistory(told.pairs, k=settings.k, seed=settings.training.seed)}
        return {"turns": SavedPrompts(told.prompts, self.knows) if self.needs_prompts else Nothing()}

    def _class(self, place: int) -> Any:
        parts = self.place.split(":")
        return getattr(import_module(f"personalrm.rewards.{parts[0]}"), parts[place])


_PLACE = "language.bradley_terry:BradleyTerry:BradleyTerryOptions"
FINE_TUNED: Mapping[str, LanguageMethod] = {
    KNOWS["nothing"]: LanguageMethod("Bradley-Terry", _PLACE, is_personal=False),
    KNOWS["persona"]: LanguageMethod("Bradley-Terry + personas", _PLACE, "persona"),
    KNOWS["persona_demonstrations"]: LanguageMethod(
        "Bradley-Terry + personas + demonstrations", _PLACE, "persona_demonstrations"
    ),
    KNOWS["history"]: LanguageMethod("Bradley-Terry, raw history (FSPO-like)", _PLACE, "history"),
    "vpl_lm": LanguageMethod(
        "VPL over a language model", "language.vpl_lm:LanguageVPL:LanguageVPLOptions", reads="embeddings"
    ),
    "bradley_terry_soup": LanguageMethod(
        "Soup of Bradley-Terry adapters",
        "language.bradley_terry:BradleyTerrySoup:BradleyTerrySoupOptions",
        reads="pairs",
        part="adapters",
    ),
}


def language_method(name: str) -> LanguageMethod:
    """The method of a name.

    Raises:
        UnknownName: If there is none, with the one that was probably meant.
    """
    if name not in FINE_TUNED:
        raise UnknownName(f"unknown reward model {name!r}; {suggestion(name, FINE_TUNED)}")
    return FINE_TUNED[name]
