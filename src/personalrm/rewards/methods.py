"""The one table of reward models: what each is called, how it is made and opened, what it learns from.

A class says what it is made of by the names of its parameters: `store` (embeddings of texts), `base` (a language
model that is trained), `turns` (what is told of users in words), `options` (of its `options_type`) and `checkpoint`
(a file that a killed training goes on from). `load(folder, ...)` takes the same but the last two. In between it is a
`RewardModel`. A new one is a class and a row here; a class of another package needs no row (`own_reward_method`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from personalrm.embedding.store import EmbeddingStore
from personalrm.errors import BadInput, UnknownName
from personalrm.plugins import entry_points_of, load_class, place_of
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.prepared_prompts import PreparedPrompts
from personalrm.rewards.language.user_turns import KNOWS, Knows, Nothing, RawHistory, SavedPrompts, UserTurns
from personalrm.rewards.reward_model import RewardModel
from personalrm.typed_values import spec_from, suggestion

Device = Literal["auto", "cpu", "cuda"]
Material = Literal["store", "base", "turns", "checkpoint"]
MATERIALS: tuple[Material, ...] = ("store", "base", "turns", "checkpoint")
Pool = Literal["train_users", "plus_context", "unfiltered"]
PROTOCOL = ("fit", "condition_many", "score_many", "save", "load")
"""What a class must have to be trained, kept and asked."""
SHOWN = 4
"""Raw pairs a history shows; the setting `k` of its row."""


@dataclass(frozen=True)
class RewardMethod:
    """One reward model; its class is imported when it is used, since most need torch."""

    name: str
    title: str
    """As in tables."""
    source: str
    """Where it comes from."""
    place: str
    """`package.module:Class`."""
    made_of: tuple[Material, ...] = ("store",)
    """Parameters of its class besides the options."""
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Options that make it what it is and cannot be set."""
    has_published: bool = False
    """Whether there are published settings apart from ours: `faithful()` of its options."""
    is_personal: bool = True
    uses_dev: bool = True
    """Whether dev users stop the training or choose settings; without, they need not be kept from it."""
    usual_pool: Pool = "plus_context"
    """What it learns from where the data splits its users and nobody says otherwise."""
    part: str = ""
    """Name of the option that says how a language model is trained, where that is not all of them."""
    short: str = ""
    """Another name on the command line."""
    with_base: str = ""
    """Name of the method that is meant when a language model to train is named too."""
    knows: Knows = "nothing"
    """What it is told of a user in the system turn."""
    variant_of: str = ""
    """Name of the method that is the same class, told something else: settings and saved models are called by it."""

    @property
    def model_class(self) -> Any:
        """Its class.

        Raises:
            MissingExtra: If torch is not installed.
        """
        return load_class(self.place, "reward model", PROTOCOL)

    @property
    def trains_language_model(self) -> bool:
        """Whether it trains a language model, which must be named, instead of a head on embeddings."""
        return "base" in self.made_of

    @property
    def takes_steps(self) -> bool:
        """Whether training takes optimizer steps, so that it can be killed and go on."""
        return "checkpoint" in self.made_of

    @property
    def needs_prompts(self) -> bool:
        """Whether it is told personas."""
        return self.knows in ("persona", "persona_demonstrations")

    @property
    def family(self) -> str:
        """The name by which its settings and saved models are called."""
        return self.variant_of or self.name

    def options(
        self,
        content: Mapping[str, Any],
        *,
        where: str,
        faithful: bool = False,
        pooling: str | None = None,
        seed: int | None = None,
        precision: str | None = None,
    ) -> Any:
        """Options from a mapping.

        Args:
            content: What is to differ from the defaults.
            where: File or place, for errors.
            faithful: Start from the published settings instead of ours.
            pooling: Of the encoder; what holds where the content names none.
            seed: Likewise.
            precision: Of the language model; the content may then not name another.

        Raises:
            UnknownName: If a key is unknown, with the one that was probably meant.
            BadInput: If a value does not fit, or there are no published settings to be faithful to.
        """
        kind = getattr(self.model_class, "options_type", None)
        if faithful and not self.has_published:
            raise BadInput(f"{self.title} has no published settings apart from ours; leave faithful out of {where}")
        if kind is None:
            if content:
                raise BadInput(f"{self.title} takes no settings; leave {where} out")
            return None
        if not isinstance(content, Mapping):
            return spec_from(kind, content, where)  # which refuses it
        settings: Mapping[str, Any] = {**content, **self.fixed}
        if self.knows == "history":
            settings = {key: value for key, value in settings.items() if key != "k"}  # see `n_shown`
        known = {item.name for item in fields(kind)}
        if pooling is not None and "pooling" in known:
            settings = {"pooling": pooling, **settings}
        inner = settings.get(self.part) or {} if self.part else settings
        if not isinstance(inner, Mapping):
            raise BadInput(f"{self.part} of {where} is not a group of settings; write them below it")
        network = inner.get("network")
        if precision is not None and isinstance(network, Mapping) and "precision" in network:
            raise BadInput(f"network of {where} names a precision; write it as dtype of the base model")
        if seed is not None and (self.part or "seed" in known):
            inner = {"seed": seed, **inner}
        settings = {**settings, self.part: inner} if self.part else inner
        options = spec_from(kind, settings, where, base=kind.faithful() if faithful else None)
        training = self.training(options)
        if precision is None or not hasattr(training, "network"):
            return options
        training = replace(training, network=replace(training.network, precision=precision))
        return replace(options, **{self.part: training}) if self.part else training

    def training(self, options: Any) -> Any:
        """The part of the options that says how a language model is trained; often all of them."""
        return getattr(options, self.part) if self.part else options

    def n_shown(self, content: Mapping[str, Any], where: str) -> int:
        """How many raw pairs a history shows.

        Raises:
            BadInput: If `k` of the settings is not a number of pairs.
        """
        k = content.get("k", SHOWN) if self.knows == "history" else SHOWN
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise BadInput(f"k of {where} is {k!r}; it is the number of raw pairs shown, 1 or more")
        return k

    def turns(self, prompts: PreparedPrompts, pairs: Sequence[PreferencePair], *, k: int, seed: int) -> UserTurns:
        """What is told of users in words: personas of the prompts, or k of the pairs."""
        if self.knows == "history":
            return RawHistory(pairs, k=k, seed=seed)
        return SavedPrompts(prompts, self.knows) if self.needs_prompts else Nothing()

    def make(
        self,
        options: Any = None,
        *,
        store: EmbeddingStore | None = None,
        base: str | None = None,
        turns: UserTurns | None = None,
        checkpoint: Path | None = None,
        device: Device | None = None,
    ) -> RewardModel[Any]:
        """An untrained model of what it needs of these.

        Args:
            options: Of its class; its defaults where None.
            store: Where the embeddings are.
            base: The language model that is trained: a folder, or a name on the hub.
            turns: What is told of users in words.
            checkpoint: File to keep a training in and to go on from.
            device: Where a language model is trained; where it is best, if None.

        Raises:
            BadInput: If something it needs is missing, the device is not there, or this process already trains on
                another.
        """
        given = {"store": store, "base": base, "turns": turns, "checkpoint": checkpoint}
        if "store" in self.made_of and store is None:
            raise BadInput(f"{self.name} reads embeddings and no store was given; pass store")
        if self.trains_language_model and base is None:
            raise BadInput(f"{self.name} trains a language model and none was named; pass base (--base)")
        if self.trains_language_model and device is not None:
            from personalrm.rewards.language.lora import train_on

            train_on(device)
        arguments: dict[str, Any] = {name: given[name] for name in self.made_of}
        if hasattr(self.model_class, "options_type"):
            arguments["options"] = self.options({}, where=self.name) if options is None else options
        model: RewardModel[Any] = self.model_class(**arguments)
        return model

    def load(
        self,
        folder: str | Path,
        *,
        store: EmbeddingStore | None = None,
        base: str | None = None,
        turns: UserTurns | None = None,
        device: Device | None = None,
    ) -> RewardModel[Any]:
        """The model that was saved in a folder, a language model on its device."""
        given: dict[Material, Any] = {"store": store, "base": base, "turns": turns}
        model: Any = self.model_class.load(folder, **{name: given[name] for name in self.made_of if name in given})
        if self.trains_language_model and device is not None and hasattr(model, "network"):
            from personalrm.embedding.with_torch import placed

            model.network.to(placed(device))
        loaded: RewardModel[Any] = model
        return loaded

    def release(self) -> None:
        """Free what a language model took that nobody holds any more; it is too large to wait for the collector."""
        if self.trains_language_model:
            from personalrm.rewards.language.lora import free_memory

            free_memory()


@dataclass(frozen=True, repr=False)
class Recipe:
    """A reward model before it is trained: which one, with which settings, made of what."""

    method: RewardMethod
    options: Any = None
    """Of its class; its defaults where None."""
    store: Callable[[], EmbeddingStore] | None = None
    """Opens the embeddings; asked by methods that read some only."""
    base: str | None = None
    """The language model that is trained, by methods that do."""
    device: Device | None = None
    """Of the language model; where None, it is trained where it is best and opened on the CPU."""
    n_shown: int = SHOWN
    """Raw pairs that a history shows."""

    def make(self, *, turns: UserTurns | None = None, checkpoint: Path | None = None) -> RewardModel[Any]:
        """The untrained model; a killed training goes on from the checkpoint, if there is one."""
        return self.method.make(
            self.options, store=self._store(), base=self.base, turns=turns, checkpoint=checkpoint, device=self.device
        )

    def load(self, folder: Path, *, turns: UserTurns | None = None) -> RewardModel[Any]:
        """The model that was trained and saved in a folder."""
        return self.method.load(folder, store=self._store(), base=self.base, turns=turns, device=self.device)

    def turns(self, prompts: PreparedPrompts, pairs: Sequence[PreferencePair] = ()) -> UserTurns | None:
        """What is told of users in words; None for a model that is told nothing so."""
        if "turns" not in self.method.made_of:
            return None
        return self.method.turns(
            prompts, pairs, k=self.n_shown, seed=getattr(self.method.training(self.options), "seed", 0)
        )

    def _store(self) -> EmbeddingStore | None:
        return self.store() if self.store is not None and "store" in self.method.made_of else None


_STEPPING: tuple[Material, ...] = ("store", "checkpoint")
_BRADLEY_TERRY = RewardMethod(
    KNOWS["nothing"],
    "Bradley-Terry",
    "Bradley and Terry 1952",
    "personalrm.rewards.language.bradley_terry.model:BradleyTerry",
    ("base", "turns", "checkpoint"),
    is_personal=False,
    usual_pool="unfiltered",
    short="bt",
)


def _told_of_users(knows: Knows, title: str, source: str) -> RewardMethod:
    """The Bradley-Terry language model that is told something of users."""
    return replace(
        _BRADLEY_TERRY,
        name=KNOWS[knows],
        title=title,
        source=source,
        is_personal=True,
        short="",
        knows=knows,
        variant_of=_BRADLEY_TERRY.name,
    )


REWARD_MODELS: Mapping[str, RewardMethod] = {
    method.name: method
    for method in (
        RewardMethod(
            "bradley_terry_head",
            "Bradley-Terry head on embeddings (non-personal)",
            "Bradley and Terry 1952",
            "personalrm.rewards.heads.low_rank:LowRank",
            fixed={"n_bases": 1},
            is_personal=False,
        ),
        RewardMethod("low_rank", "Low-rank bases", "LoRe 2025", "personalrm.rewards.heads.low_rank:LowRank"),
        RewardMethod("mrm", "MRM", "MRM, SIGIR 2026", "personalrm.rewards.heads.mrm:MRM", _STEPPING),
        RewardMethod(
            "soup", "Reward soup over user clusters", "rewarded soups 2023", "personalrm.rewards.heads.soups:Soup"
        ),
        RewardMethod(
            "two_level",
            "Style and content on two levels",
            "decision 0019 of personalrm",
            "personalrm.rewards.heads.two_level:TwoLevel",
            uses_dev=False,
        ),
        RewardMethod(
            "gpo",
            "GPO",
            "Zhao et al. 2023",
            "personalrm.rewards.heads.gpo.model:GPO",
            _STEPPING,
            has_published=True,
            usual_pool="train_users",  # as in the paper, which shows it tasks that are set apart
        ),
        RewardMethod(
            "vpl",
            "VPL",
            "Poddar et al. 2024",
            "personalrm.rewards.heads.vpl.model:VPL",
            _STEPPING,
            has_published=True,
            with_base="vpl_lm",
        ),
        RewardMethod(
            "pal", "PAL", "Chen et al. 2024", "personalrm.rewards.heads.pal:PAL", _STEPPING, has_published=True
        ),
        _BRADLEY_TERRY,
        _told_of_users("persona", "Bradley-Terry + personas", "SynthesizeMe 2025"),
        _told_of_users("persona_demonstrations", "Bradley-Terry + personas + demonstrations", "SynthesizeMe 2025"),
        _told_of_users("history", "Bradley-Terry, raw history (FSPO-like)", "FSPO 2025"),
        RewardMethod(
            "vpl_lm",
            "VPL over a language model",
            "Poddar et al. 2024",
            "personalrm.rewards.language.vpl_lm.model:LanguageVPL",
            ("store", "base", "checkpoint"),
            has_published=True,
            usual_pool="unfiltered",
        ),
        RewardMethod(
            "bradley_terry_soup",
            "Soup of Bradley-Terry adapters",
            "rewarded soups 2023",
            "personalrm.rewards.language.bradley_terry.cluster_soups:BradleyTerrySoup",
            ("base", "checkpoint"),
            usual_pool="unfiltered",
            part="adapters",
            short="bt_soup",
        ),
    )
}


def reward_method(name: str) -> RewardMethod:
    """The method of a name: of the table, `package.module:Class`, or an entry point of `personalrm.reward_models`.

    Raises:
        UnknownName: If there is none, with the one that was probably meant.
        BadInput: If a class of another package does not fit.
    """
    if name in REWARD_MODELS:
        return REWARD_MODELS[name]
    if place := place_of(name, REWARD_MODELS, "reward_models"):
        return own_reward_method(name, place)
    raise UnknownName(
        f"unknown reward model {name!r}; {suggestion(name, (*REWARD_MODELS, *entry_points_of('reward_models')))}"
    )


@cache
def own_reward_method(name: str, place: str) -> RewardMethod:
    """The method that a class of another package is; attributes of the class say what the table says of ours.

    They are `title`, `source`, `is_personal`, `uses_dev` and `usual_pool`, each with a default.

    Raises:
        BadInput: If the class is not a reward model, or needs something that reward models are not given.
    """
    model = load_class(place, "reward model", PROTOCOL)
    parameters = inspect.signature(model).parameters
    for parameter in parameters.values():
        is_given = parameter.name in (*MATERIALS, "options") or parameter.kind in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        )
        if parameter.default is parameter.empty and not is_given:
            raise BadInput(
                f"reward model {place!r} needs {parameter.name!r}, which reward models are not given; name it one of "
                f"{', '.join(MATERIALS)} or options, or give it a default"
            )
    if ("options" in parameters) != hasattr(model, "options_type"):
        raise BadInput(
            f"reward model {place!r} has one of options and options_type and needs both or neither; the second is the "
            "frozen dataclass of the first"
        )
    made_of = tuple(material for material in MATERIALS if material in parameters)
    return RewardMethod(
        name,
        getattr(model, "title", model.__name__),
        getattr(model, "source", place),
        place,
        made_of,
        has_published=hasattr(getattr(model, "options_type", None), "faithful"),
        is_personal=getattr(model, "is_personal", True),
        uses_dev=getattr(model, "uses_dev", True),
        usual_pool=getattr(model, "usual_pool", "unfiltered" if "base" in made_of else "plus_context"),
    )


def method_meant(name: str, *, base: str | None = None, knows: Knows = "nothing") -> RewardMethod:
    """The method that somebody means who names it, perhaps in short, with a language model and what users are told.

    Raises:
        UnknownName: If there is no method of the name.
        BadInput: If the method needs a language model and none is named, or has no use for one or for what is told.
    """
    method = reward_method(next((method.name for method in REWARD_MODELS.values() if method.short == name), name))
    if base is not None and method.with_base:
        method = reward_method(method.with_base)
    if base is not None and not method.trains_language_model:
        raise BadInput(f"{name} reads embeddings and trains no language model; leave the base model {base!r} out")
    if base is None and method.trains_language_model:
        raise BadInput(f"{name} trains a language model and none was named; pass --base with a name or folder")
    if knows in ("nothing", method.knows):
        return method
    variants = (row for row in REWARD_MODELS.values() if row.variant_of == method.name and row.knows == knows)
    if (variant := next(variants, None)) is None:
        raise BadInput(
            f"--prompts, --demonstrations and --history tell of users in words and {name} reads their choices itself; "
            "leave --prompts, --demonstrations and --history out"
        )
    return variant


def names_of(methods: Iterable[RewardMethod]) -> list[str]:
    """What methods are called on the command line: in short where that is possible; what flags choose is left out."""
    known = list(methods)
    chosen_by_base = {method.with_base for method in known}
    return [
        method.short or method.name for method in known if not method.variant_of and method.name not in chosen_by_base
    ]
