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

Demonstrations = tuple[Demonstration, ...]


@dataclass(repr=False)
class TrialResult:
    """How one candidate set has done on the validation pairs judged so far."""

    trial: int
    """0 is the reference without demonstrations."""
    demonstrations: Demonstrations
    right: float = 0.0
    """Pairs judged right, orders averaged; ties and unscored count a half."""
    probability: float = 0.0
    """Sum over pairs of the probability on the right side; unscored count a half."""
    n_judged: int = 0

    @property
    def wrong(self) -> float:
        """Pairs judged wrong; ties and unscored count a half."""
        return self.n_judged - self.right

    @property
    def rank(self) -> tuple[float, bool, float, int, int]:
        """The tie rule: accuracy, any demonstrations at all, probability, more demonstrations, earlier trial."""
        n = len(self.demonstrations)
        return (self.right / self.n_judged, n > 0, self.probability / self.n_judged, n, -self.trial)

    def add(self, chances: Sequence[float]) -> None:
        """One pair more, its orders averaged first; nothing scored counts a half."""
        mean = sum(chances) / len(chances) if chances else 0.5
        self.right += 1.0 if mean > 0.5 else 0.5 if mean == 0.5 else 0.0
        self.probability += mean
        self.n_judged += 1


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
    results = [TrialResult(trial, demonstrations) for trial, demonstrations in enumerate(candidates)]
    both = settings.validation_orders == "both"
    pairs = [[ordered, ordered.swapped()] if both else [ordered] for ordered in validation]
    if settings.schedule == "cost":
        return (yield from _race(results, pairs, persona))
    yield from _judge(results, pairs, persona)
    return max(results, key=lambda result: result.rank)


def trials_calls(n_validation: int, settings: InductionSettings) -> Calls:
    """What `choose_demonstrations` asks at most: every candidate and the reference on all validation pairs.

    Equal candidates are judged once, and the schedule `cost` gives some up, so it may be less.
    """
    n_orders = 2 if settings.validation_orders == "both" else 1
    return Calls(questions=(settings.n_trials + 1) * n_orders * n_validation)


def draw_candidates(
    kept: Sequence[Demonstration], shown: Sequence[OrderedPair], settings: InductionSettings
) -> list[Demonstrations]:
    """The reference without demonstrations, then one set a trial, equal sets once.

    Each set is in the order of the train pairs, so that prompts share prefixes.
    """
    candidates: dict[Demonstrations, None] = {(): None}
    for trial in range(1, settings.n_trials + 1):
        key = (settings.seed, trial)
        chosen: dict[str, Demonstration] = {}
        if kept:
            most = min(len(kept), settings.max_bootstrapped or len(shown))
            size = 1 + int(keyed_uniform("size", *key, shown[0].pair.user_id) * most)
            ranked = sorted(kept, key=lambda d: keyed_uniform("reasoning", *key, d.shown.pair.hash))
            chosen = {demonstration.shown.pair.hash: demonstration for demonstration in ranked[:size]}
        others = [ordered for ordered in shown if ordered.pair.hash not in chosen]
        others.sort(key=lambda ordered: keyed_uniform("plain", *key, ordered.pair.hash))
        chosen |= {ordered.pair.hash: Demonstration(ordered) for ordered in others[: settings.max_plain]}
        candidates.setdefault(tuple(chosen[ordered.pair.hash] for ordered in shown if ordered.pair.hash in chosen))
    return list(candidates)


def _judge(
    results: Sequence[TrialResult], pairs: Sequence[Sequence[OrderedPair]], persona: Persona | None
) -> Generator[Wave, Answers, None]:
    """Judge these pairs, each in its orders, for these candidates, in one wave."""
    questions = [
        ask_about(ordered, persona, result.demonstrations)
        for result in results
        for orders in pairs
        for ordered in orders
    ]
    answers = yield Wave("trials", tuple(questions))
    verdicts = iter(answers.verdicts)
    for result in results:
        for orders in pairs:
            chances = []
            for ordered in orders:
                verdict = next(verdicts)
                if not verdict.is_scored:
                    continue
                first = verdict.probability
                if first is None:
                    first = {"first": 1.0, "second": 0.0, None: 0.5}[verdict.choice]
                chances.append(first if ordered.chosen_first else 1.0 - first)
            result.add(chances)


def _race(
    results: Sequence[TrialResult], pairs: Sequence[Sequence[OrderedPair]], persona: Persona | None
) -> Generator[Wave, Answers, TrialResult]:
    """The same winner with fewer calls: one candidate in full, the others until they cannot win any more.

    A new prefix is asked about one pair before the others, which finds it in the server's
    cache. A candidate is out once it has more wrong than the leader has in the end; the
    reference, which may not win a tie, already when it has as many.
    """
    leader, *alive = sorted(results, key=lambda result: -len(result.demonstrations))
    for some in (pairs[:1], pairs[1:]):
        if some:
            yield from _judge([leader], some, persona)
    for orders in pairs:
        alive = [
            result
            for result in alive
            if result.wrong < leader.wrong
            or (result.wrong == leader.wrong and (result.demonstrations or not leader.demonstrations))
        ]
        if not alive:
            break
        yield from _judge(alive, [orders], persona)
    finished = [result for result in (leader, *alive) if result.n_judged == len(pairs)]
    return max(finished, key=lambda result: result.rank)
