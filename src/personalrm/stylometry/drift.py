"""Has this user's taste changed, and since when: one weight vector against two.

Under the first account all choices follow one w ~ N(mu, Sigma); under the second those
before a turning point follow one draw and those from it on another, independent one. The
turning point is a border between conversations, every border being as likely beforehand.
The logarithm of the Bayes factor of the second account is

    log mean_t Z(before t) Z(since t) / Z(all),    Z by Laplace's approximation.

A change is reported when that is at least `LEAST_EVIDENCE` and, since the factor rests on
the model being right, when also at most a share `MOST_CHANCE` of random orders of the
same conversations look as changed as the true order does. That second test is exact: who
never changed is reported with at most that chance, whatever their choices look like; how
often both together raise a false alarm is measured in docs/measurements/changing-taste.md.

Where people do not differ (Sigma near nothing) two draws are alike and nobody is reported.

Where taste has changed, weights and sentences follow the later choices. For a feature that
changed, the earlier choices belong to another weight: they neither raise nor lower what is
believed of the present one. For every other feature all choices count. This is the exact
posterior of the second account with the features that did not change held in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.preferences.drift import Drift
from personalrm.preferences.personas import Claim, Persona
from personalrm.stats.arrays import FloatArray
from personalrm.stats.bradley_terry import ChoiceProblem, buckets, fit_map, log_likelihood
from personalrm.stylometry.claims import find_leanings, write_claim
from personalrm.stylometry.feature_words import FEATURES, INDEX, Feature
from personalrm.stylometry.observations import Choices, Timeline
from personalrm.stylometry.population import Prior
from personalrm.stylometry.sentences import Leaning
from personalrm.stylometry.weights import Weights, fit_weights

LEAST_SIDE = 3
"""Conversations on either side of a turning point; a change that rests on fewer is not looked for."""
LEAST_EVIDENCE = 2.0
"""Least log Bayes factor of a change, 7.4 to 1 (measured rates: docs/measurements/changing-taste.md)."""
LEAST_HINT = 0.3
"""Least score of a timeline that is looked at closely; spares constant users the work, not a part of the test."""
MOST_CHANCE = 0.05
"""Largest share of random orders that look as changed as the true one."""
N_ORDERS = 999
MOST_POINTS = 16
"""Turning points weighed exactly, those with the highest score; the others count as impossible."""
FIRST_ORDERS = 99
"""Orders tried first; for most constant users they are enough to end the test."""
NUMBERS_AT_ONCE = 2_000_000
MOST_NAMED = 3
"""Features named as changed at most."""


@dataclass(frozen=True)
class Turn:
    """A change of taste in a timeline."""

    first: int
    """The conversation with which the new taste begins, from 0."""
    log_evidence: float
    """Log Bayes factor of two weight vectors against one, averaged over all turning points."""
    chance: float
    """Share of random orders of the conversations that look as changed (p-value)."""
    changed: tuple[int, ...]
    """Places of the features whose own evidence speaks for a change, strongest first; never empty."""
    named: tuple[int, ...]
    """Those of them that are worth a sentence."""


def find_turn(timeline: Timeline, weights: Weights) -> Turn | None:
    """A user's change of taste, or None where none is found.

    Args:
        timeline: The user's choices in time order.
        weights: The MAP fit to all of them, with the prior it started from.
    """
    if timeline.n_conversations < 2 * LEAST_SIDE:
        return None
    scores = _Scores(timeline, weights)
    by_feature = scores.evidence(scores.gradient[None], scores.sizes[None])  # (1, points, features)
    by_point = by_feature[0].sum(axis=1)
    if by_point.max() < LEAST_HINT:
        return None
    points = np.sort(np.argsort(-by_point, kind="stable")[:MOST_POINTS])
    halves = [half for point in points + LEAST_SIDE for half in timeline.halves(int(point))]
    evidence = log_evidence([timeline.choices, *halves], weights.prior)
    exact = evidence[1::2] + evidence[2::2] - evidence[0]  # (points,), log Bayes factor of a change at each
    highest = exact.max()
    log_factor = float(highest + np.log(np.exp(exact - highest).sum())) - np.log(len(by_point))
    if log_factor < LEAST_EVIDENCE:
        return None
    chance = _chance(scores, float(_looks_changed(by_feature)[0]))
    if chance > MOST_CHANCE:
        return None
    best = int(points[exact.argmax()])
    of_best = by_feature[0, best]
    n_changed = max(1, int((of_best > 0).sum()))
    changed = tuple(int(place) for place in np.argsort(-of_best, kind="stable")[:n_changed])
    strongest = of_best[changed[0]]
    named = [place for place in changed if of_best[place] >= min(strongest, strongest / 2.0)][:MOST_NAMED]
    return Turn(best + LEAST_SIDE, float(log_factor), chance, changed, tuple(named))


class _Scores:
    """What each conversation pulls at the weights, where all are fitted by one vector."""

    def __init__(self, timeline: Timeline, weights: Weights) -> None:
        prior, choices = weights.prior, timeline.choices
        x = choices.differences / prior.scale
        firsts = np.flatnonzero(np.diff(choices.groups, prepend=-1))
        terms = np.exp(np.clip(-(x @ weights.mean), -500.0, 500.0))
        p = terms / (1.0 + np.add.reduceat(terms, firsts))[choices.groups]  # (rows,)
        of_choice = np.add.reduceat(p[:, None] * x, firsts, axis=0)
        starts = np.flatnonzero(np.diff(timeline.conversations, prepend=-1))
        information = np.linalg.inv(weights.covariance) - np.diag(1.0 / prior.variance)
        # Of the log-likelihood at the MAP weights, (conversations, features); and choices in each, (conversations,).
        self.gradient = np.add.reduceat(of_choice, starts, axis=0)
        self.sizes = np.diff(starts, append=len(timeline.conversations)).astype(float)
        # Diagonals (features,) of the information F of all choices and of F H^-1 F, H the Hessian of the log posterior.
        self.information = np.diagonal(information)
        self.explained = np.diagonal(information @ weights.covariance @ information)
        # Prior variance of a change, two independent draws.
        self.spread = 2.0 * prior.variance

    def evidence(self, gradient: FloatArray, sizes: FloatArray) -> FloatArray:
        """Approximate log Bayes factor of a change of each feature at each turning point.

        With G the gradient of all later conversations and I the information they have of a
        shift v beyond what the common weights can absorb: G^2 v / 2 (1 + I v) - log(1 + I v) / 2.
        A conversation's information is taken as its share of the whole, so that only sums
        are needed.

        Args:
            gradient: Shape `(orders, conversations, features)`.
            sizes: Shape `(orders, conversations)`.
        """
        inner = slice(LEAST_SIDE, gradient.shape[1] - LEAST_SIDE + 1)
        later = np.cumsum(gradient[:, ::-1], axis=1)[:, ::-1][:, inner]  # (orders, points, features)
        share = (np.cumsum(sizes[:, ::-1], axis=1)[:, ::-1] / self.sizes.sum())[:, inner, None]
        known = 1.0 + np.maximum(share * self.information - share**2 * self.explained, 0.0) * self.spread
        return np.asarray(0.5 * (later**2 * self.spread / known - np.log(known)))


def log_evidence(parts: Sequence[Choices], prior: Prior) -> FloatArray:
    """log Z of each part under the prior, by Laplace; shape `(parts,)`."""
    evidence = np.empty(len(parts))
    for places, batch in buckets([ChoiceProblem(part.differences / prior.scale, part.groups) for part in parts]):
        posterior = fit_map(batch, prior.mean, 1.0 / prior.variance)
        away = ((posterior.mode - prior.mean) ** 2 / prior.variance).sum(axis=1)
        volume = np.linalg.slogdet(posterior.hessian)[1] + np.log(prior.variance).sum()
        evidence[places] = log_likelihood(batch, posterior.mode) - 0.5 * (away + volume)
    return evidence


def _chance(scores: _Scores, seen: float) -> float:
    """Share of random orders of the conversations whose best turning point scores as high, the true order included."""
    rng = np.random.default_rng(0)
    n_conversations = len(scores.sizes)
    most = max(1, NUMBERS_AT_ONCE // (n_conversations * len(FEATURES)))
    n_as_high, n_done, at_once = 1, 0, min(FIRST_ORDERS, most)
    while n_done < N_ORDERS and n_as_high <= MOST_CHANCE * (N_ORDERS + 1):  # beyond that it cannot be reported
        orders = np.argsort(rng.random((min(at_once, N_ORDERS - n_done), n_conversations)), axis=1)
        by_feature = scores.evidence(scores.gradient[orders], scores.sizes[orders])
        n_as_high += int((_looks_changed(by_feature) >= seen - 1e-9).sum())
        n_done, at_once = n_done + len(orders), most
    return n_as_high / (n_done + 1)


def _looks_changed(by_feature: FloatArray) -> FloatArray:
    """How changed each order looks: the Bayes factor of one changed feature, summed over features and points."""
    return np.asarray(np.logaddexp.reduce(by_feature.reshape(len(by_feature), -1), axis=1))


LEAST_SHIFT = 0.1
"""A change that moves the weight less than the smallest adverb says still gets that adverb."""


@dataclass(frozen=True, repr=False)
class Present:
    """What is believed of a user's taste today."""

    weights: Weights
    turn: Turn | None = None
    """The change it follows; None where all choices count alike."""
    before: FloatArray | None = None
    """Weights of the features of `turn.changed` before it, in scaled units."""


def fit_present(choices: Sequence[Choices], timelines: Sequence[Timeline], priors: Sequence[Prior]) -> list[Present]:
    """MAP weights of many users, those whose taste has changed by their later choices.

    Args:
        choices: What each chose, in the order of the rows; without a change this decides.
        timelines: The same choices in time order.
        priors: The prior of each.
    """
    return [
        Present(weights) if (turn := find_turn(timeline, weights)) is None else _since(timeline, weights.prior, turn)
        for timeline, weights in zip(timelines, fit_weights(choices, priors), strict=True)
    ]


def _since(timeline: Timeline, prior: Prior, turn: Turn) -> Present:
    """The fit with a weight of its own before the turn for every changed feature."""
    seen, changed = timeline.choices, list(turn.changed)
    early = (timeline.conversations[seen.groups] < turn.first)[:, None]
    x = seen.differences / prior.scale
    past = np.where(early, x[:, changed], 0.0)  # (rows, changed)
    x[:, changed] = np.where(early, 0.0, x[:, changed])
    wide = Prior(
        scale=np.ones(x.shape[1] + len(changed)),
        mean=np.concatenate([prior.mean, prior.mean[changed]]),
        variance=np.concatenate([prior.variance, prior.variance[changed]]),
    )
    both = fit_weights([Choices(np.hstack([x, past]), seen.groups)], [wide])[0]
    n = len(prior.mean)
    weights = Weights(prior, both.mean[:n], both.covariance[:n, :n], seen.n_choices)
    return Present(weights, turn, both.mean[n:])


def write_present(present: Present, timeline: Timeline) -> tuple[Persona, Drift]:
    """The persona of a user whose taste has changed, and the change as it is saved.

    Sentences about what changed come first, with the later pairs as their evidence and the
    earlier taste beside it; the others are those that all choices support.
    """
    turn, weights = present.turn, present.weights
    if turn is None or present.before is None:
        raise AssertionError("write_present is for users whose taste has changed")
    number, pair_id = timeline.first_pair(turn.first)
    before, since = timeline.halves(turn.first)
    claims: list[Claim] = []
    proofs: list[tuple[Claim, Claim]] = []  # of each sentence about a change: what was wanted before, and since
    for place, weight_before in zip(turn.changed, present.before, strict=True):
        if place not in turn.named:
            continue
        feature, population = FEATURES[place], weights.prior.mean[place]
        old = _leaning(feature, weight_before - population)
        past = write_claim(old, before)
        new = write_claim(_leaning(feature, weights.mean[place] - population), since)
        proofs.append((past, new))
        says = new.text.removeprefix("Prefers ").rstrip(".")
        wanted = feature.more if old.shift > 0 else feature.less
        evidence = f"{len(past.supporting)} of {len(past.supporting) + len(past.contradicting)}"
        text = f"Since about pair {number} prefers {says}; before that, {wanted}: {evidence}."
        claims.append(replace(new, text=text))
    features = tuple(FEATURES[place].name for place in turn.changed if place in turn.named)
    claims += [
        write_claim(leaning, timeline.choices)
        for leaning in find_leanings([timeline.choices], [weights.prior])[0]
        if INDEX[leaning.feature] not in turn.changed
    ]
    return Persona(tuple(claims)), Drift(
        pair_id=pair_id,
        pair_number=number,
        n_pairs=len(timeline.choices.pair_ids),
        log_evidence=turn.log_evidence,
        chance=turn.chance,
        features=features,
        before=proofs[0][0].supporting,
        since=proofs[0][1].supporting,
    )


def _leaning(feature: Feature, shift: float) -> Leaning:
    return Leaning(feature.name, float(np.copysign(max(abs(shift), LEAST_SHIFT), shift)))
