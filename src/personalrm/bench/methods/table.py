"""The one table of methods: every row of the benchmark, what it is called and how it is made.

A row that runs on the embedded engine and on a language model (just persona, just
demonstrations, both) stands once; which of the two judges is the cell's model. A class of another
package needs no row: `package.module:Class`, or the name of its entry point, is its method's name.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

from personalrm.bench.methods.embedded import Engine, induced_method, personal_method, population_method
from personalrm.bench.methods.method import Item, Judgement, Knowledge, Method, Surveys
from personalrm.bench.methods.model import (
    CountCalls,
    Induce,
    Inductions,
    ModelMethod,
    by_synthesis,
    know_nobody,
    persona_only,
    read_surveys,
    show_history,
    synthesis_of,
)
from personalrm.datasets.targets import HeldOut
from personalrm.errors import BadInput, UnknownName
from personalrm.induction.baselines import PROFILE_CALLS, guided_profile, memory_calls, remember
from personalrm.induction.settings import InductionSettings, Variant
from personalrm.induction.waves import Calls
from personalrm.judging.model import ModelJudge
from personalrm.plugins import entry_points_of, load_class, place_of
from personalrm.preferences.pairs import PreferencePair
from personalrm.preferences.users import User
from personalrm.rewards.methods import REWARD_MODELS, RewardMethod, own_reward_method
from personalrm.typed_values import suggestion

Rule = Callable[[PreferencePair], Judgement]


class Control:
    """A rule on the pair alone.

    Args:
        rule: What it says of a pair.
    """

    def __init__(self, rule: Rule) -> None:
        self._rule = rule

    def learn(self, held_out: HeldOut, surveys: Surveys) -> None:
        """Nothing."""

    def know(self, users: Sequence[User]) -> list[Knowledge]:
        """Nothing of anybody."""
        return [Knowledge(user.user_id) for user in users]

    def judge(self, items: Sequence[Item]) -> list[Judgement]:
        """The rule on every pair."""
        return [self._rule(pair) for _, pair in items]


def coin(_: PreferencePair) -> Judgement:
    """A fair coin, in expectation: every pair is a tie and counts a half."""
    return Judgement(margin=0.0)


def first_wins(_: PreferencePair) -> Judgement:
    """The completion shown first wins, whichever it is."""
    return Judgement(chosen_first=1.0, chosen_second=0.0)


def longer_wins(pair: PreferencePair) -> Judgement:
    """The completion with more characters wins; equal lengths are a tie."""
    return Judgement(margin=float(len(pair.chosen) - len(pair.rejected)))


Need = Literal["survey", "persona_prompt", "encoder"]
JUDGE = ("learn", "know", "judge")
"""What a class must have to be a row."""
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
    reward_row: Callable[[str], Method] | None = None
    """The row of a reward model on an encoder or base model, the same one for all its cells; None without either."""

    @property
    def needed_judge(self) -> ModelJudge:
        """The language model.

        Raises:
            BadInput: If there is none.
        """
        if self.judge is None:
            raise BadInput("this method asks a language model and none was given; name a model")
        return self.judge


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
    judges_identical: bool = True
    """Whether it can be asked about two equal completions (A/A test), if it asks a language model."""


def _trained(method: RewardMethod) -> Entry:
    """The row of a reward model; on what it is made follows from what it is made of."""
    # Personas that a language model is told are counted by who writes them: one file serves all rows of a base model.
    facts: dict[str, Any] = {
        "title": method.title,
        "group": "reward models",
        "calls": asks_nothing,
        "is_personal": method.is_personal,
    }

    def make(tools: Tools) -> Method:
        if tools.reward_row is not None:
            # A row's control judges with the models of the row: training takes minutes, another context none.
            return tools.reward_row(method.name)
        if method.trains_language_model:
            raise BadInput(
                f"method {method.name!r} trains a language model and none was given; name one in base_models"
            )
        raise BadInput(f"method {method.name!r} stands on embeddings and no encoder was given; name one in encoders")

    if method.trains_language_model:
        return Entry(**facts, base_model=make)
    return Entry(**facts, encoder=make) if "store" in method.made_of else Entry(**facts, alone=make)


def _control(title: str, rule: Rule) -> Entry:
    return Entry(title, "controls", asks_nothing, alone=lambda _: Control(rule), is_personal=False)


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
    "random": _control("Random", coin),
    "first": _control("First position wins", first_wins),
    "longer": _control("Longer completion wins", longer_wins),
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
    "memory": Entry("Memory", "judges", lambda user, _: memory_calls(user.pairs), model=_written(remember, "memory")),
    "guided_profile": Entry(
        "Guided profile generation",
        "judges",
        lambda *_: PROFILE_CALLS,
        model=_written(guided_profile, "guided_profile"),
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
    **{name: _trained(method) for name, method in REWARD_MODELS.items()},
}


def entry_of(name: str, where: str = "") -> Entry:
    """The row of a name: of the table, of `package.module:Class`, or of an entry point.

    Args:
        name: The name.
        where: Where it was read, for errors: ` in the run file`.

    Raises:
        UnknownName: If there is none, with the one that was probably meant.
        BadInput: If a class of another package does not fit.
    """
    if name in METHODS:
        return METHODS[name]
    if place := place_of(name, METHODS, "judges", "reward_models"):
        return _own(name, place)
    raise UnknownName(f"unknown method {name[:80]!r}{where}; {suggestion(name, known_methods())}")


def known_methods() -> list[str]:
    """All names but those of classes that are named by their place."""
    return [*METHODS, *entry_points_of("judges"), *entry_points_of("reward_models")]


@cache
def _own(name: str, place: str) -> Entry:
    """The row of a class of another package: a reward model, or a judge, which is given what its parameters name.

    A judge that names `judge` is given a language model and runs on each of the run; `engine` is the embedded engine;
    `seed` is that of the cell. One that also has `judge_identical(items)` takes the A/A test. Its attributes `title`,
    `is_personal` and, with a language model, `calls` (a static method) say what the table says of ours.
    """
    if callable(getattr(load_class(place, "method"), "score_many", None)):
        return _trained(own_reward_method(name, place))
    judge = load_class(place, "judge", JUDGE)
    parameters = inspect.signature(judge).parameters
    for parameter in parameters.values():
        is_open = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.default is parameter.empty and not is_open and parameter.name not in ("judge", "engine", "seed"):
            raise BadInput(
                f"judge {place!r} needs {parameter.name!r}, which judges are not given; name it judge, engine or seed, "
                "or give it a default"
            )

    def make(tools: Tools) -> Method:
        given: dict[str, Any] = {"engine": tools.engine, "seed": tools.settings.seed}
        if "judge" in parameters:
            given["judge"] = tools.needed_judge
        method: Method = judge(**{key: value for key, value in given.items() if key in parameters})
        return method

    title, is_personal = getattr(judge, "title", judge.__name__), getattr(judge, "is_personal", True)
    if "judge" in parameters:
        is_able = hasattr(judge, "judge_identical")
        calls: CountCalls | None = getattr(judge, "calls", None)
        return Entry(title, "judges", calls, model=make, is_personal=is_personal, judges_identical=is_able)
    if "engine" in parameters:
        return Entry(title, "judges", asks_nothing, embedded=make, is_personal=is_personal)
    return Entry(title, "judges", asks_nothing, alone=make, is_personal=is_personal)


def make_method(name: str, tools: Tools) -> Method:
    """The method of a name, on the model of the tools where they have one, else on the embedded engine.

    Raises:
        UnknownName: If there is no such method.
        BadInput: If it runs on a language model and there is none, or the other way round.
    """
    entry = entry_of(name)
    make = (
        entry.alone or entry.encoder or entry.base_model or (entry.model if tools.judge is not None else entry.embedded)
    )
    if make is None:
        runs_on = "a language model; name one" if entry.embedded is None else "the embedded engine; leave the model out"
        raise BadInput(f"method {name!r} runs on {runs_on}")
    return make(tools)
