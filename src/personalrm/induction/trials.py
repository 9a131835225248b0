"""Trials: which demonstrations help a judge most on the validation pairs.

Each trial draws some of the kept reasonings and a few plain demonstrations of other
train pairs; all trials are judged in one wave. The candidate without demonstrations
is judged too, as reference, and never wins a tie.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from personalrm.induction.bootstrap import ask_about
from personalrm.induction.draws import keyed_uniform
from personalrm.induction.settings import InductionSettings
from personalrm.induction.waves import Answers, Wave
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.pairs import OrderedPair
from personalrm.preferences.personas import Persona
from personalrm.preferences.verdicts import Verdict

Demonstrations = tuple[Demonstration, ...]


@dataclass(frozen=True, repr=False)
class TrialResult:
    """How one candidate set did on the validation pairs."""

    trial: int
    """0 is the reference without demonstrations."""
    demonstrations: Demonstrations
    accuracy: float
    """Share of validation pairs judged right, orders averaged; ties and unscored count 0.5."""
    mean_probability: float
    """Mean probability on the right side; unscored count 0.5."""

    @property
    def rank(self) -> tuple[float, bool, float, int, int]:
        """The tie rule: accuracy, any demonstrations at all, probability, more demonstrations, earlier trial."""
        n = len(self.demonstrations)
        return (self.accuracy, n > 0, self.mean_probability, n, -self.trial)


def choose_demonstrations(
    kept: Sequence[Demonstration],
    shown: Sequence[OrderedPair],
    validation: Sequence[OrderedPair],
    persona: Persona | None,
    settings: InductionSettings,
) -> Generator[Wave, Answers, TrialResult]:
    """The best candidate set of demonstrations; one wave.

    Args:
        kept: Reasonings that survived the bootstrap.
        shown: All train pairs in balanced order, the source of plain demonstrations.
        validation: Validation pairs in balanced order, at least one.
        persona: Persona in context, None in step 1 and for just demonstrations.
        settings: Number of trials, sizes, orders and seed.
    """
    candidates = draw_candidates(kept, shown, settings)
    asked = [one for ordered in validation for one in _orders(ordered, settings)]
    questions = [ask_about(one, persona, demonstrations) for demonstrations in candidates for one in asked]
    answers = yield Wave("trials", tuple(questions))
    results = [
        _result(trial, demonstrations, asked, answers.verdicts[trial * len(asked) : (trial + 1) * len(asked)])
        for trial, demonstrations in enumerate(candidates)
    ]
    return max(results, key=lambda result: result.rank)


def draw_candidates(
    kept: Sequence[Demonstration], shown: Sequence[OrderedPair], settings: InductionSettings
) -> list[Demonstrations]:
    """The reference without demonstrations, then one set a trial, equal sets once."""
    candidates: dict[Demonstrations, None] = {(): None}
    for trial in range(1, settings.n_trials + 1):
        candidates.setdefault(_draw(trial, kept, shown, settings))
    return list(candidates)


def _draw(
    trial: int, kept: Sequence[Demonstration], shown: Sequence[OrderedPair], settings: InductionSettings
) -> Demonstrations:
    """One candidate, in the order of the train pairs so that prompts share prefixes."""
    chosen: dict[str, Demonstration] = {}
    if kept:
        most = min(len(kept), settings.max_bootstrapped or len(shown))
        user_id = shown[0].pair.user_id
        size = 1 + int(keyed_uniform("size", settings.seed, trial, user_id) * most)
        ranked = sorted(kept, key=lambda d: keyed_uniform("reasoning", settings.seed, trial, d.shown.pair.hash))
        chosen = {d.shown.pair.hash: d for d in ranked[:size]}
    others = [ordered for ordered in shown if ordered.pair.hash not in chosen]
    others.sort(key=lambda ordered: keyed_uniform("plain", settings.seed, trial, ordered.pair.hash))
    chosen |= {ordered.pair.hash: Demonstration(ordered) for ordered in others[: settings.max_plain]}
    return tuple(chosen[ordered.pair.hash] for ordered in shown if ordered.pair.hash in chosen)


def _orders(ordered: OrderedPair, settings: InductionSettings) -> list[OrderedPair]:
    return [ordered, ordered.swapped()] if settings.validation_orders == "both" else [ordered]


def _result(
    trial: int, demonstrations: Demonstrations, asked: Sequence[OrderedPair], verdicts: Sequence[Verdict]
) -> TrialResult:
    """Accuracy and mean probability, the orders of one pair averaged first."""
    chances: dict[str, list[float]] = {}
    for ordered, verdict in zip(asked, verdicts, strict=True):
        chances.setdefault(ordered.pair.hash, []).extend(_chance_of_right(ordered, verdict))
    means = [sum(values) / len(values) if values else 0.5 for values in chances.values()]
    right = [1.0 if mean > 0.5 else 0.5 if mean == 0.5 else 0.0 for mean in means]
    return TrialResult(trial, demonstrations, sum(right) / len(right), sum(means) / len(means))


def _chance_of_right(ordered: OrderedPair, verdict: Verdict) -> list[float]:
    """The probability given to the user's choice; nothing when the verdict is unscored."""
    if not verdict.is_scored:
        return []
    first = (
        verdict.probability
        if verdict.probability is not None
        else {"first": 1.0, "second": 0.0, None: 0.5}[verdict.choice]
    )
    return [first if ordered.chosen_first else 1.0 - first]
