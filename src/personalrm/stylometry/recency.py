"""What a user wants now, where their taste has changed: weights and sentences that follow the later choices.

For a feature that changed, the earlier choices belong to another weight: they neither
raise nor lower what is believed of the present one. For every other feature all choices
count. This is the exact posterior of the second account of `drift.py` with the features
that did not change held in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from personalrm.preferences.drift import Drift
from personalrm.preferences.personas import Claim, Persona
from personalrm.stats.arrays import FloatArray
from personalrm.stylometry.claims import Leaning, find_leanings, write_claim
from personalrm.stylometry.drift import Turn, find_turn
from personalrm.stylometry.features import FEATURES, INDEX, Feature
from personalrm.stylometry.observations import Choices
from personalrm.stylometry.population import Prior
from personalrm.stylometry.timelines import Timeline
from personalrm.stylometry.weights import Weights, fit_weights

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
