"""What a fit with a language model would ask and cost, before anything is spent.

Each induction is played through with the answers that are kept already. Up to the first
wave that lacks one everything is known exactly; from there on each step is counted at
the most it can take, as counted beside the code that asks it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from personalrm.errors import UnreadableReply
from personalrm.induction.bootstrap import ask_about
from personalrm.induction.draws import assign_roles, in_balanced_order
from personalrm.induction.fit_job import Todo
from personalrm.induction.settings import InductionSettings
from personalrm.induction.synthesize import search, synthesis_steps, synthesize
from personalrm.induction.waves import Answers, Running, Wave
from personalrm.judging.model import ModelJudge
from personalrm.lm.batch import Ask, Outcome, key_of
from personalrm.lm.cache import Unscored
from personalrm.lm.prices import Price
from personalrm.lm.protocol import Reply, Request, Usage
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.verdicts import PersonaQuestion
from personalrm.wording import count

REASONING = "x" * 500
"""Stands for a reasoning that is not written yet."""
REPLY_TOKENS = 200
CHARACTERS_A_TOKEN = 4.0
"""Of English text: the number of tokens is printed as "about", unlike `lm.prices.CHARACTERS_A_TOKEN`, by which budgets
are held."""
Kept = Callable[[bytes], Reply | Unscored | None]
"""What is kept under a key of `lm.batch.key_of`."""


@dataclass
class Forecast:
    """At most so much; what is answered already is counted off."""

    n_users: int = 0
    n_calls: int = 0
    n_calls_same_personas: int = 0
    """The same if nobody's new persona differs from their last: then much of the last search is there already."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0
    """In US dollars at list prices; None where the price is unknown."""

    def as_json(self) -> dict[str, Any]:
        """The forecast for machines."""
        return asdict(self)

    def line(self) -> str:
        """The forecast in a sentence."""
        cost = "price unknown" if self.cost is None else f"about {self.cost:.2f} USD"
        tokens = f"about {self.prompt_tokens + self.completion_tokens:,} tokens"
        calls = f"at most {count(self.n_calls, 'call')}"
        if self.n_calls_same_personas < self.n_calls:
            calls += f" ({self.n_calls_same_personas:,} where personas stay as they are)"
        return f"would fit {count(self.n_users, 'user')}: {calls}, {tokens}, {cost}"


def forecast(
    todo: Iterable[Todo],
    judge: ModelJudge,
    settings: InductionSettings,
    price: Price | None,
    kept: Kept | None,
) -> Forecast:
    """Upper bound of calls and about how many tokens they take.

    Args:
        todo: Who would be fitted.
        judge: Who would be asked; nothing is asked.
        settings: Variant, trials, orders.
        price: What tokens cost.
        kept: Answers that are there already; None where there are none.
    """
    total = Forecast()
    for item in todo:
        total.n_users += 1
        user = _UserForecast(item, judge, replace(settings, schedule="latency"), kept)
        missing, rest = user.missing()
        n_calls = len(missing) + sum(step.n_calls for step in rest)
        total.n_calls += n_calls
        total.n_calls_same_personas += n_calls - user.saved_by_the_same_persona(rest)
        n_characters = sum(request.n_characters for request in missing)
        n_characters += sum(step.n_calls * step.n_characters for step in rest)
        total.prompt_tokens += int(n_characters / CHARACTERS_A_TOKEN)
        total.completion_tokens += n_calls * REPLY_TOKENS
    usage = Usage(total.prompt_tokens, total.completion_tokens)
    total.cost = price.of(usage) if price else None
    return total


@dataclass(frozen=True)
class _Step:
    """A wave that cannot be played through, at its largest."""

    name: str
    n_calls: int
    n_characters: int
    """Of one call, about."""


class _UserForecast:
    """One user's fit, played through as far as answers are kept."""

    def __init__(self, todo: Todo, judge: ModelJudge, settings: InductionSettings, kept: Kept | None) -> None:
        self._todo, self._judge, self._settings, self._kept = todo, judge, settings, kept
        self._split = assign_roles(todo.user.context_pairs, todo.roles, settings.seed)
        self._train = in_balanced_order(self._split.train, settings.seed)
        self._validation = in_balanced_order(self._split.validation, settings.seed)

    def missing(self) -> tuple[list[Request], list[_Step]]:
        """The requests of the first wave that is not answered, and the steps that come after it."""
        user, name = self._todo.user, self._judge.name
        induction = synthesize(user.user_id, user.context_pairs, self._settings, judge=name, recorded=self._todo.roles)
        shown = tuple(Demonstration(ordered, REASONING) for ordered in self._train)
        first = (self._train or self._validation)[0]
        question = ask_about(first)
        bare = self._judge.judge_request(replace(question, wants_hypotheses=True), "bootstrap").n_characters
        # A trial shows half of the reasonings on average.
        half = replace(question, demonstrations=shown[: 1 + len(shown) // 2])
        full = self._judge.judge_request(half, "trials").n_characters
        persona = self._judge.persona_request(PersonaQuestion(user.user_id, shown)).n_characters
        n_characters = {"bootstrap": bare, "trials": full, "persona": persona}
        n_samples = self._judge.options.n_samples
        steps = [
            _Step(step, calls.total(n_samples), n_characters[step])
            for step, calls in synthesis_steps(self._split, self._settings)
        ]
        return self._play(induction, steps)

    def saved_by_the_same_persona(self, rest: Sequence[_Step]) -> int:
        """Calls of the last search that are known, should the persona come out as it was."""
        names = [step.name for step in rest]
        if self._todo.earlier is None or "persona" not in names or "bootstrap" not in names:
            return 0
        at_most = rest[names.index("persona") + 1 :]
        again = search(self._train, self._validation, self._todo.earlier.persona, self._settings)
        missing, later = self._play(again, list(at_most))
        return sum(step.n_calls for step in at_most) - len(missing) - sum(step.n_calls for step in later)

    def _play(self, induction: Generator[Wave, Answers, Any], steps: list[_Step]) -> tuple[list[Request], list[_Step]]:
        """The requests of the first wave that is not answered, and the steps that come after it."""
        running = Running(induction)
        wave: Wave | None = next(running.induction)
        while wave is not None:
            asks = self._judge.asks(wave.step, wave.questions, wave.persona_questions)
            looked_up = [self._look_up(ask) for ask in asks]
            missing = {key: request for key, request, outcome in looked_up if outcome is None}
            if missing:
                return list(missing.values()), self._without_kept_reference(wave, steps[1:])
            outcomes = [outcome for _, _, outcome in looked_up if outcome is not None]
            judged = self._judge.judged(outcomes, len(wave.questions))
            answers, _ = running.take(judged)
            steps = steps[1:]
            try:
                wave = running.induction.send(answers) if answers is not None else None
            except StopIteration:
                wave = None
        return [], []

    def _look_up(self, ask: Ask[Any]) -> tuple[bytes, Request, Outcome[Any] | None]:
        request = ask.build()
        key = key_of(self._judge.caller.lm.identity, request)
        reply = self._kept(key) if self._kept is not None else None
        if reply is None:
            return key, request, None
        if isinstance(reply, Unscored):
            return key, request, Outcome(None, reply.reason)
        try:
            return key, request, Outcome(ask.read(reply))
        except UnreadableReply:
            return key, request, None

    def _without_kept_reference(self, wave: Wave, rest: list[_Step]) -> list[_Step]:
        """After a bootstrap, trials at their largest but for the candidate without demonstrations where it is kept."""
        if wave.step != "bootstrap" or not rest or rest[0].name != "trials":
            return rest
        both = self._settings.validation_orders == "both"
        persona = wave.questions[0].persona
        questions = [
            ask_about(shown, persona)
            for ordered in self._validation
            for shown in ((ordered, ordered.swapped()) if both else (ordered,))
        ]
        n_kept = sum(self._look_up(ask)[2] is not None for ask in self._judge.asks("trials", questions, ()))
        return [replace(rest[0], n_calls=rest[0].n_calls - n_kept), *rest[1:]]
