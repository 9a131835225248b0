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
from personalrm.induction.waves import Answers, Calls, Wave
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
    asked = [_orders(ordered, settings) for ordered in validation]
    if settings.schedule == "cost":
        return (yield from _race(candidates, asked, persona))
    scores = [_Score(trial, demonstrations) for trial, demonstrations in enumerate(candidates)]
    yield from _score(scores, asked, persona)
    return max((score.result(len(asked)) for score in scores), key=lambda result: result.rank)


def trials_calls(n_validation: int, settings: InductionSettings) -> Calls:
    """What `choose_demonstrations` asks at most: every candidate and the reference on all validation pairs.

    Equal candidates are judged once, and the schedule `cost` gives some up, so it may be less.
    """
    n_orders = 2 if settings.validation_orders == "both" else 1
    return Calls(questions=(settings.n_trials + 1) * n_orders * n_validation)


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


@dataclass
class _Score:
    """How one candidate has done so far."""

    trial: int
    demonstrations: Demonstrations
    right: float = 0.0
    """Pairs judged right; ties and unscored count a half."""
    probability: float = 0.0
    """Sum over pairs of the probability on the right side."""
    n_judged: int = 0

    @property
    def wrong(self) -> float:
        return self.n_judged - self.right

    def add(self, chances: Sequence[float]) -> None:
        """One pair more, its orders averaged first; nothing scored counts a half."""
        mean = sum(chances) / len(chances) if chances else 0.5
        self.right += 1.0 if mean > 0.5 else 0.5 if mean == 0.5 else 0.0
        self.probability += mean
        self.n_judged += 1

    def result(self, n_pairs: int) -> TrialResult:
        """The score over all pairs."""
        return TrialResult(self.trial, self.demonstrations, self.right / n_pairs, self.probability / n_pairs)


def _score(
    scores: Sequence[_Score], asked: Sequence[Sequence[OrderedPair]], persona: Persona | None
) -> Generator[Wave, Answers, None]:
    """Judge these pairs for these candidates, in one wave."""
    questions = [
        ask_about(one, persona, score.demonstrations) for score in scores for orders in asked for one in orders
    ]
    answers = yield Wave("trials", tuple(questions))
    verdicts = iter(answers.verdicts)
    for score in scores:
        for orders in asked:
            chances = [_chance_of_right(one, next(verdicts)) for one in orders]
            score.add([chance for chance in chances if chance is not None])


def _race(
    candidates: Sequence[Demonstrations], asked: Sequence[Sequence[OrderedPair]], persona: Persona | None
) -> Generator[Wave, Answers, TrialResult]:
    """The same winner with fewer calls: one candidate in full, the others until they cannot win any more.

    A new prefix is asked about one pair before the others, which finds it in the server's
    cache. A candidate is out once it has more wrong than the leader has in the end; the
    reference, which may not win a tie, already when it has as many.
    """
    scores = [_Score(trial, demonstrations) for trial, demonstrations in enumerate(candidates)]
    leader, *others = sorted(scores, key=lambda score: -len(score.demonstrations))
    for some in (asked[:1], asked[1:]):
        if some:
            yield from _score([leader], some, persona)
    alive = others
    for orders in asked:
        alive = [score for score in alive if _may_win(score, leader)]
        if not alive:
            break
        yield from _score(alive, [orders], persona)
    finished = [score.result(len(asked)) for score in (leader, *alive) if score.n_judged == len(asked)]
    return max(finished, key=lambda result: result.rank)


def _may_win(score: _Score, leader: _Score) -> bool:
    if not score.demonstrations and leader.demonstrations:
        return score.wrong < leader.wrong
    return score.wrong <= leader.wrong


def _chance_of_right(ordered: OrderedPair, verdict: Verdict) -> float | None:
    """The probability given to the user's choice; None when the verdict is unscored."""
    if not verdict.is_scored:
        return None
    first = (
        verdict.probability
        if verdict.probability is not None
        else {"first": 1.0, "second": 0.0, None: 0.5}[verdict.choice]
    )
    return first if ordered.chosen_first else 1.0 - first
