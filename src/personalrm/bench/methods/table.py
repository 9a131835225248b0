"""The one table of methods: every row of the benchmark, what it is called and how it is made.

A row that runs on the embedded engine and on a language model (just persona, just
demonstrations, both) stands once; which of the two judges is the cell's model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from personalrm.bench.methods.controls import Control, coin, first_wins, longer_wins
from personalrm.bench.methods.embedded import Engine, induced_method, personal_method, population_method
from personalrm.bench.methods.language_models import Trainings
from personalrm.bench.methods.method import Method
from personalrm.bench.methods.model import (
    CountCalls,
    Induce,
    Inductions,
    ModelMethod,
    know_nobody,
    persona_only,
    read_surveys,
)
from personalrm.bench.methods.pools import PoolSettings
from personalrm.bench.methods.prompt_writers import by_memory, by_profile, by_synthesis, show_history, synthesis_of
from personalrm.bench.methods.trained import RewardRow
from personalrm.errors import BadInput, UnknownName
from personalrm.induction.guided_profile import PROFILE_CALLS
from personalrm.induction.memory import memory_calls
from personalrm.induction.settings import InductionSettings, Variant
from personalrm.induction.waves import Calls
from personalrm.judging.model import ModelJudge
from personalrm.rewards.language_models import FINE_TUNED
from personalrm.rewards.methods import REWARD_METHODS, RewardMethod
from personalrm.rewards.reward_model import RewardModel

Need = Literal["survey", "persona_prompt", "encoder"]
Group = Literal["controls", "judges", "embedded engine", "SynthesizeMe", "reward models"]


@dataclass(frozen=True)
class Tools:
    """What methods are made of; rows of one dataset, model and seed share it, so that nothing is learned twice."""

    engine: Engine = field(default_factory=Engine)
    """The embedded engine with its population."""
    judge: ModelJudge | None = None
    """The language model; None for the embedded engine and the controls."""
    inductions: Inductions | None = None
    """The prompts the judge writes, or another model's in a transfer cell; made from `judge` when left out."""
    distilled: Inductions | None = None
    """The same with the persona prompt of a larger model (rows + distill)."""
    settings: InductionSettings = field(default_factory=InductionSettings)
    """Trials and seed; each row sets its own variant."""
    rewards: RewardMaker | None = None
    """Makes reward models on the embeddings of an encoder; None without one."""
    pool: Callable[[str], PoolSettings] | None = None
    """What each of them learns from where the data splits its users; folds of users where None."""
    trainings: Trainings | None = None
    """Trained language models on one base model; None without one."""
    trained: dict[str, RewardRow] = field(default_factory=dict)
    """Reward models by name, once trained."""

    @property
    def needed_judge(self) -> ModelJudge:
        """The language model.

        Raises:
            BadInput: If there is none.
        """
        if self.judge is None:
            raise BadInput("this method asks a language model and none was given; name a model")
        return self.judge


RewardMaker = Callable[[str], RewardModel[Any]]
"""An untrained reward model of a name."""
Make = Callable[[Tools], Method]


@dataclass(frozen=True)
class Entry:
    """One row of the table of methods."""

    title: str
    """As in Table 3."""
    group: Group
    calls: CountCalls | None
    """What learning one user asks a language model at most, without a default so that no row is forgotten; None where
    a method that is not ours does not say."""
    alone: Make | None = None
    """Makes it without any model or engine (controls)."""
    embedded: Make | None = None
    """Makes it with the embedded engine."""
    model: Make | None = None
    """Makes it with a language model."""
    encoder: Make | None = None
    """Makes it on embeddings: a trained reward model."""
    base_model: Make | None = None
    """Makes it on a language model that is trained."""
    needs: frozenset[Need] = frozenset()
    is_personal: bool = True
    """Whether it knows the user, so that the shuffled-user control says something."""


def _trained(name: str, method: RewardMethod) -> Entry:
    def make(tools: Tools) -> Method:
        maker = tools.rewards
        if maker is None:
            raise BadInput(f"method {name!r} stands on embeddings and no encoder was given; name one in encoders")
        if name not in tools.trained:
            pool = tools.pool(name) if tools.pool else None
            tools.trained[name] = RewardRow(lambda: maker(name), uses_dev=method.uses_dev, pool=pool)
        # A row's control judges with the models of the row: training takes minutes, another context none.
        return tools.trained[name]

    return Entry(method.title, "reward models", asks_nothing, encoder=make, is_personal=method.is_personal)


def _fine_tuned(name: str, title: str, *, is_personal: bool) -> Entry:
    def make(tools: Tools) -> Method:
        if tools.trainings is None:
            raise BadInput(f"method {name!r} trains a language model and none was given; name one in base_models")
        return tools.trainings.row(name)

    # Personas that it is told are counted by who writes them: one file serves all rows of a base model.
    return Entry(title, "reward models", asks_nothing, base_model=make, is_personal=is_personal)


def _control(title: str, make: Make) -> Entry:
    return Entry(title, "controls", asks_nothing, alone=make, is_personal=False)


def _written(induce: Induce, name: str, *, distilled: bool = False, only_persona: bool = False) -> Make:
    """A row of the model with prompts by an induction."""

    def make(tools: Tools) -> Method:
        judge = tools.needed_judge
        inductions = tools.distilled if distilled else tools.inductions or Inductions(judge, tools.settings)
        if inductions is None:
            raise BadInput("this method needs the persona prompt of another model; name the file in persona_prompt")
        write = inductions.writer(induce, name)
        return ModelMethod(judge, persona_only(write) if only_persona else write)

    return make


def _induced(variant: Variant) -> Make:
    return lambda tools: induced_method(tools.engine, tools.settings, variant)


def asks_nothing(*_: object) -> Calls:
    """Learning a user asks no language model."""
    return Calls()


_BOTH, _CALLS_OF_BOTH = by_synthesis("both"), synthesis_of("both")
METHODS: Mapping[str, Entry] = {
    "random": _control("Random", lambda _: Control(coin)),
    "first": _control("First position wins", lambda _: Control(first_wins)),
    "longer": _control("Longer completion wins", lambda _: Control(longer_wins)),
    "population": Entry(
        "Population (non-personal)",
        "controls",
        asks_nothing,
        embedded=lambda tools: population_method(tools.engine),
        is_personal=False,
    ),
    "default": Entry(
        "Default",
        "judges",
        asks_nothing,
        model=lambda tools: ModelMethod(tools.needed_judge, know_nobody),
        is_personal=False,
    ),
    "demographics": Entry(
        "Demographics",
        "judges",
        asks_nothing,
        model=lambda tools: ModelMethod(tools.needed_judge, read_surveys),
        needs=frozenset({"survey"}),
    ),
    "memory": Entry("Memory", "judges", lambda user, _: memory_calls(user.pairs), model=_written(by_memory, "memory")),
    "guided_profile": Entry(
        "Guided profile generation", "judges", lambda *_: PROFILE_CALLS, model=_written(by_profile, "guided_profile")
    ),
    "raw_history": Entry(
        "Raw history", "judges", asks_nothing, model=lambda tools: ModelMethod(tools.needed_judge, show_history)
    ),
    "personal": Entry(
        "Embedded engine, all context pairs",
        "embedded engine",
        asks_nothing,
        embedded=lambda tools: personal_method(tools.engine),
    ),
    "just_demonstrations": Entry(
        "SynthesizeMe, just demonstrations",
        "SynthesizeMe",
        synthesis_of("demonstrations"),
        embedded=_induced("demonstrations"),
        model=_written(by_synthesis("demonstrations"), "demonstrations"),
    ),
    "just_persona": Entry(
        "SynthesizeMe, just personas",
        "SynthesizeMe",
        _CALLS_OF_BOTH,
        embedded=_induced("persona"),
        model=_written(_BOTH, "both", only_persona=True),
    ),
    "persona_and_demonstrations": Entry(
        "SynthesizeMe, personas + demonstrations",
        "SynthesizeMe",
        _CALLS_OF_BOTH,
        embedded=_induced("both"),
        model=_written(_BOTH, "both"),
    ),
    "just_persona_distill": Entry(
        "SynthesizeMe, personas + distill",
        "SynthesizeMe",
        _CALLS_OF_BOTH,
        model=_written(_BOTH, "both", distilled=True, only_persona=True),
        needs=frozenset({"persona_prompt"}),
    ),
    "persona_and_demonstrations_distill": Entry(
        "SynthesizeMe, personas + demonstrations + distill",
        "SynthesizeMe",
        _CALLS_OF_BOTH,
        model=_written(_BOTH, "both", distilled=True),
        needs=frozenset({"persona_prompt"}),
    ),
    **{name: _trained(name, method) for name, method in REWARD_METHODS.items()},
    **{name: _fine_tuned(name, one.title, is_personal=one.is_personal) for name, one in FINE_TUNED.items()},
}


def make_method(name: str, tools: Tools) -> Method:
    """The method of a name, on the model of the tools where they have one, else on the embedded engine.

    Raises:
        UnknownName: If there is no such method.
        BadInput: If it runs on a language model and there is none, or the other way round.
    """
    if name not in METHODS:
        raise UnknownName(f"unknown method {name!r}; use some of {', '.join(METHODS)}")
    entry = METHODS[name]
    make = (
        entry.alone or entry.encoder or entry.base_model or (entry.model if tools.judge is not None else entry.embedded)
    )
    if make is None:
        runs_on = "a language model; name one" if entry.embedded is None else "the embedded engine; leave the model out"
        raise BadInput(f"method {name!r} runs on {runs_on}")
    return make(tools)
