"""The search itself: which candidate to measure next on whom, and which one wins.

It knows no models and no texts, only numbers of candidates and users and a function that
measures; so it is the same over a language model, the embedded engine or a rule of a test.

What is believed of every candidate after some measurements comes from a small Bayesian
linear model. A value is measured for a cell (instruction i, example set j) on a dev user u:

    y = m + a_i + b_j + c_ij + d_u + noise

with independent normal effects. Instructions and sets are thus learned about together,
whatever they were combined with, c_ij lets combinations be better or worse than their
parts, and d_u takes out that some users are easier than others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from personalrm.errors import NoScoredPairs
from personalrm.induction.search.settings import SearchSettings
from personalrm.induction.search.trials_file import Combination, Trial, TrialsFile, Values
from personalrm.stats.arrays import FloatArray, IntArray

LEAST_VARIANCE = 1e-4
"""Of a measurement, when all values so far are equal."""
SHARES = (0.02, 0.08, 0.3)
"""Spreads of a_i and b_j that are weighed against each other, as shares of a measurement's variance."""
OF_COMBINATIONS = 0.5
"""Variance of c_ij relative to that of a_i; half, so that parts are believed before combinations."""
OF_USERS = 1.0
"""Variance of d_u relative to that of a measurement."""


@dataclass(frozen=True)
class Measurements:
    """Values so far, one row a measurement; all arrays have shape `(measurements,)`."""

    instruction: IntArray
    examples: IntArray
    user: IntArray
    value: FloatArray


@dataclass(frozen=True)
class Belief:
    """A normal distribution over the effects (a, b, c, d, m), from which the values of all cells follow."""

    shape: tuple[int, int]
    """Instructions, example sets."""
    mean: FloatArray
    """Shape `(effects,)`."""
    lower: FloatArray
    """Cholesky root of the precision, shape `(effects, effects)`."""

    def draw(self, generator: np.random.Generator) -> FloatArray:
        """One plausible table of values, shape `(instructions, sets)` (Thompson sampling)."""
        z = generator.standard_normal(len(self.mean))
        return self._table(self.mean + np.linalg.solve(self.lower.T, z))

    @property
    def expected(self) -> FloatArray:
        """Expected values, shape `(instructions, sets)`."""
        return self._table(self.mean)

    def _table(self, effects: FloatArray) -> FloatArray:
        n_a, n_b = self.shape
        a, b, c = np.split(effects[: n_a + n_b + n_a * n_b], [n_a, n_a + n_b])
        return np.asarray(effects[-1] + a[:, None] + b[None, :] + c.reshape(self.shape), dtype=np.float64)


def believe(measured: Measurements, n_instructions: int, n_sets: int, n_users: int) -> Belief:
    """The posterior; the spread of the effects is the likeliest of `SHARES`.

    Args:
        measured: At least one measurement.
        n_instructions: Number of a_i.
        n_sets: Number of b_j.
        n_users: Number of d_u.
    """
    n_a, n_b, rows = n_instructions, n_sets, np.arange(len(measured.value))
    noise = max(LEAST_VARIANCE, float(np.var(measured.value)))
    # Which effects (a, b, c, d, m) each measurement has.
    x = np.zeros((len(rows), n_a + n_b + n_a * n_b + n_users + 1))  # (measurements, effects)
    x[rows, measured.instruction] = 1.0
    x[rows, n_a + measured.examples] = 1.0
    x[rows, n_a + n_b + measured.instruction * n_b + measured.examples] = 1.0
    x[rows, n_a + n_b + n_a * n_b + measured.user] = 1.0
    x[:, -1] = 1.0
    gram, target = x.T @ x / noise, x.T @ measured.value / noise
    fits = []
    for share in SHARES:
        parts = np.full(n_a + n_b, share * noise)
        combinations = np.full(n_a * n_b, OF_COMBINATIONS * share * noise)
        users = np.full(n_users, OF_USERS * noise)
        variance = np.concatenate((parts, combinations, users, [1.0]))  # (effects,); m lies in [-1, 1]
        lower = np.linalg.cholesky(gram + np.diag(1.0 / variance))
        half = np.linalg.solve(lower, target)
        evidence = 0.5 * float(half @ half - np.log(variance).sum()) - float(np.log(np.diag(lower)).sum())
        mean = np.asarray(np.linalg.solve(lower.T, half))
        fits.append((evidence, Belief((n_a, n_b), mean, np.asarray(lower, dtype=np.float64))))
    return max(fits, key=lambda fit: fit[0])[1]


Measure = Callable[[Combination, Sequence[int]], Values]
"""What each of these dev users gains over the default judge with personas written by this candidate."""
START = Combination(0, 0)


@dataclass(frozen=True)
class SearchResult:
    """The winner of a search, beside what it began with."""

    best: Combination
    score: float
    """Mean over the dev users that were scored."""
    start_score: float
    n_unscored: int
    """Dev users of the winner whose gain could not be measured."""
    n_measured: int
    """Measurements of one user under one candidate, all in all."""
    full: tuple[tuple[Combination, float], ...]
    """Candidates measured on everybody, with their means, best first."""


def search(
    grid: tuple[int, int],
    n_users: int,
    measure: Measure,
    settings: SearchSettings,
    trials: TrialsFile | None = None,
) -> SearchResult:
    """The best candidate found; candidate (0, 0) is measured first and only a better one replaces it.

    Args:
        grid: Numbers of instructions and of example sets.
        n_users: Dev users.
        measure: Called with a candidate and users it was not measured on yet.
        settings: Trials, minibatch, full evaluations, seed.
        trials: Keeps the trials; draws depend on the seed and the trial's number alone, so a search that
            takes up earlier trials ends like one that was never stopped.

    Raises:
        NoScoredPairs: If no dev user could be scored with the candidate we start from.
    """
    table = _Table(grid, n_users, measure, trials or TrialsFile(None, ""))
    table.measure(START, table.missing(START))
    if np.isnan(table.values[0, 0]).all():
        raise NoScoredPairs("no dev user could be scored with the persona prompt to start from; look at the model")
    for number in range(1, settings.n_trials + 1):
        generator = np.random.default_rng([settings.seed, number])
        if not table.is_open.any():
            break
        # The open candidate that is best in one draw from the belief, on a part of the users.
        cell = _best(np.where(table.is_open, table.believe().draw(generator), -np.inf))
        users = generator.permutation(table.missing(cell))[: settings.fitted_to(n_users).minibatch_size]
        table.measure(cell, sorted(int(user) for user in users))
        tried = table.is_open & table.asked.any(axis=2)
        if tried.any() and (number % settings.full_eval_steps == 0 or number == settings.n_trials):
            # The rest of the users for the tried candidate with the highest expected value.
            cell = _best(np.where(tried, table.believe().expected, -np.inf))
            table.measure(cell, table.missing(cell))
    return _winner(table)


def search_cost(on_user: Sequence[int], settings: SearchSettings) -> int:
    """What `search` spends at most where measuring a candidate on a dev user costs so much.

    The start and the most promising candidates are measured on everybody, each trial on a
    minibatch, taken to be the dearest users; no candidate is measured on a user twice.
    """
    everybody = sum(on_user)
    batch = sum(sorted(on_user, reverse=True)[: settings.fitted_to(len(on_user)).minibatch_size])
    n_full = 1 + math.ceil(settings.n_trials / settings.full_eval_steps)
    n_candidates = settings.n_instructions * settings.n_example_sets
    return min(n_candidates * everybody, n_full * everybody + settings.n_trials * batch)


class _Table:
    """All values so far."""

    def __init__(self, grid: tuple[int, int], n_users: int, measure: Measure, trials: TrialsFile) -> None:
        self.grid, self.n_users = grid, n_users
        self.values: FloatArray = np.full((*grid, n_users), np.nan)
        self.asked = np.zeros((*grid, n_users), dtype=bool)
        """Where there is an answer, scored or not."""
        self._measure, self._trials = measure, trials

    @property
    def is_open(self) -> np.ndarray:
        """Candidates not measured on everybody yet, shape `grid`."""
        return np.asarray(~self.asked.all(axis=2))

    def missing(self, cell: Combination) -> list[int]:
        """Users a candidate was not measured on yet."""
        return [int(user) for user in np.flatnonzero(~self.asked[cell.instruction, cell.examples])]

    def measure(self, cell: Combination, users: Sequence[int]) -> None:
        """Measure, or take up what an earlier run measured, and note it."""
        at = (cell.instruction, cell.examples)
        is_full = len(users) == len(self.missing(cell))
        values = self._trials.find(cell, tuple(users), is_full=is_full)
        if values is None:
            values = self._measure(cell, users)
        self.values[(*at, list(users))] = [np.nan if value is None else value for value in values]
        self.asked[(*at, list(users))] = True
        self._trials.add(Trial(len(self._trials.trials), cell, tuple(users), tuple(values), is_full))

    def believe(self) -> Belief:
        """What all values together say of every candidate."""
        instruction, examples, user = np.nonzero(~np.isnan(self.values))
        measured = Measurements(instruction, examples, user, self.values[instruction, examples, user])
        return believe(measured, *self.grid, self.n_users)


def _winner(table: _Table) -> SearchResult:
    """The best mean among candidates measured on everybody; the expected value decides ties, then the lower number.

    A candidate that left half of the dev users unscored cannot win.
    """
    n_scored = (~np.isnan(table.values)).sum(axis=2)
    fit_to_win = table.asked.all(axis=2) & (2 * n_scored > table.n_users)
    fit_to_win[0, 0] = True
    means = np.where(n_scored > 0, np.nansum(table.values, axis=2) / np.maximum(n_scored, 1), -np.inf)
    expected = table.believe().expected
    ranked = sorted(
        (Combination(int(i), int(j)) for i, j in np.argwhere(fit_to_win)),
        key=lambda cell: (
            -means[cell.instruction, cell.examples],
            cell != START,
            -expected[cell.instruction, cell.examples],
        ),
    )
    best = ranked[0]
    return SearchResult(
        best,
        float(means[best.instruction, best.examples]),
        float(means[0, 0]),
        int(table.n_users - n_scored[best.instruction, best.examples]),
        int(table.asked.sum()),
        tuple((cell, float(means[cell.instruction, cell.examples])) for cell in ranked),
    )


def _best(table: FloatArray) -> Combination:
    instruction, examples = np.unravel_index(int(np.argmax(table)), table.shape)
    return Combination(int(instruction), int(examples))
