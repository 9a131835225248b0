"""Our search for the persona prompt beside random and exhaustive search, on a scripted model with a planted prompt.

The scripted model writes a person's real taste with a chance that is a known function of the persona prompt: a base,
plus a weight for the word each instruction holds, plus a weight for the word each set of example personas holds. One
instruction and one set are planted as the best. Everything goes through the real path: prompts, caller, judge in both
orders, gain over the default judge. Counted are different requests, as a model server would be paid for.

Random search measures whole candidates in random order until it has made as many calls. `--seeds N` (50).
`--wavers X`: how much a draw depends on the prompt beside the person (0, so that the exhaustive search
is reliable; see testing/coaching.py).
"""

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass

from personalrm.induction.search.gain import Gain, judge_under
from personalrm.induction.search.loop import search
from personalrm.induction.search.people import Subject
from personalrm.induction.search.settings import SearchSettings
from personalrm.induction.search.trials_file import Combination, Values
from personalrm.judging.model import ModelJudge
from personalrm.judging.options import JudgeOptions
from personalrm.lm.batch import Caller
from personalrm.preferences.demonstrations import Demonstration
from personalrm.preferences.pairs import OrderedPair
from personalrm.preferences.persona_prompts import ExamplePersona, PersonaPrompt
from personalrm.testing import ScriptedLM, tiny_pair
from personalrm.testing.coaching import coached

GRID = (6, 6)
N_USERS = 30
BASE = 0.3
PLANTED = (0.3, 0.25)
"""Weights of the planted instruction's word and of the planted set's; the others draw theirs from [0, 0.12]."""
TRIALS = {0.5: 25, 0.25: 10}
"""Trials that stay below a share of the exhaustive search's calls."""


@dataclass
class World:
    """One seed: a model, its candidates, people, and where the best prompt is planted."""

    seed: int
    wavers: float

    def __post_init__(self) -> None:
        draw = random.Random(f"prompt search {self.seed}")
        self.planted = Combination(draw.randrange(1, GRID[0]), draw.randrange(1, GRID[1]))
        words = {f"alpha{n}": draw.uniform(0.0, 0.12) for n in range(GRID[0])}
        words |= {f"beta{n}": draw.uniform(0.0, 0.12) for n in range(GRID[1])}
        words |= {f"alpha{self.planted.instruction}": PLANTED[0], f"beta{self.planted.examples}": PLANTED[1]}
        self.lm = ScriptedLM(coached(words, BASE, wavers=self.wavers))
        self.people = [_subject(f"s{self.seed}u{n}", 100 * n, likes_long=n % 2 == 0) for n in range(N_USERS)]
        self.caller = Caller(self.lm)
        judge = ModelJudge(self.caller, JudgeOptions(logprobs=False))
        self.gain = Gain(judge_under(judge), self.prompt(Combination(0, 0)))
        self.gain.prepare(self.people)

    def prompt(self, cell: Combination) -> PersonaPrompt:
        """The persona prompt of a candidate."""
        example = ExamplePersona(f"Chose beta{cell.examples}.", "Likes it.")
        return PersonaPrompt(f"Describe them, alpha{cell.instruction}.", (example,))

    def measure(self, cell: Combination, users: Sequence[int]) -> Values:
        """The gain of a candidate on some people."""
        subjects = [self.people[user] for user in users]
        return self.gain.of(self.gain.write(self.prompt(cell), subjects), subjects)

    @property
    def n_calls(self) -> int:
        """Different requests so far."""
        return len({request.messages for request in self.lm.requests})


def _subject(user_id: str, number: int, *, likes_long: bool) -> Subject:
    """A person with four choices to learn from and two to be scored on."""
    pairs = [tiny_pair(user_id, number + k, likes_long=likes_long) for k in range(6)]
    evidence = [Demonstration(OrderedPair(pair, chosen_first=k % 2 == 0)) for k, pair in enumerate(pairs[:4])]
    return Subject(user_id, tuple(evidence), tuple(pairs[4:]))


@dataclass(frozen=True)
class Outcome:
    """What one search came to."""

    found: bool
    found_instruction: bool
    n_calls: int


def ours(seed: int, n_trials: int, wavers: float) -> Outcome:
    """Our search from the start to its end."""
    world = World(seed, wavers)
    with world.caller:
        settings = SearchSettings(n_trials=n_trials, minibatch_size=10, full_eval_steps=3, seed=seed)
        best = search(GRID, N_USERS, world.measure, settings).best
        return Outcome(best == world.planted, best.instruction == world.planted.instruction, world.n_calls)


def at_random(seed: int, most_calls: int | None, wavers: float) -> Outcome:
    """Whole candidates in random order until the calls are spent; without a limit the exhaustive search."""
    world = World(seed, wavers)
    cells = [Combination(i, j) for i in range(GRID[0]) for j in range(GRID[1])]
    random.Random(f"order {seed}").shuffle(cells)
    means: dict[Combination, float] = {}
    with world.caller:
        for cell in cells:
            if most_calls is not None and world.n_calls >= most_calls:
                break
            values = [value for value in world.measure(cell, range(N_USERS)) if value is not None]
            means[cell] = sum(values) / len(values)
        best = max(means, key=lambda cell: means[cell])
        return Outcome(best == world.planted, best.instruction == world.planted.instruction, world.n_calls)


def compare(n_seeds: int, wavers: float, *, shares: Sequence[float] = tuple(TRIALS)) -> list[dict[str, object]]:
    """A row for each search: how often it finds the planted prompt, and at how many calls."""
    exhaustive = [at_random(seed, None, wavers) for seed in range(n_seeds)]
    rows = [_row("exhaustive", exhaustive, exhaustive)]
    for share in shares:
        found = [ours(seed, TRIALS[share], wavers) for seed in range(n_seeds)]
        rows.append(_row(f"ours, below {share:g}", found, exhaustive))
        random_ones = [at_random(seed, one.n_calls, wavers) for seed, one in enumerate(found)]
        rows.append(_row("random, as many calls", random_ones, exhaustive))
    return rows


def _row(name: str, outcomes: Sequence[Outcome], exhaustive: Sequence[Outcome]) -> dict[str, object]:
    shares = [one.n_calls / whole.n_calls for one, whole in zip(outcomes, exhaustive, strict=True)]
    return {
        "search": name,
        "planted prompt found": f"{sum(one.found for one in outcomes)}/{len(outcomes)}",
        "its instruction found": f"{sum(one.found_instruction for one in outcomes)}/{len(outcomes)}",
        "calls, mean": round(sum(one.n_calls for one in outcomes) / len(outcomes)),
        "most, of exhaustive": round(max(shares), 3),
    }


def main() -> None:
    """Print the table."""
    from _table import show

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--wavers", type=float, default=0.0)
    parser.add_argument("--shares", type=float, nargs="*", default=list(TRIALS))
    options = parser.parse_args()
    for row in compare(options.seeds, options.wavers, shares=options.shares):
        show(f"prompt search, {row.pop('search')}", row)


if __name__ == "__main__":
    main()
