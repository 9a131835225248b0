"""Why one completion beats another for a user, in a sentence."""

from __future__ import annotations

import numpy as np

from personalrm.stylometry.features import FEATURES, FloatArray

N_FOR = 3
N_AGAINST = 1
LEAST_SHARE = 0.1
"""A feature below this share of the strongest one is not worth a word."""


def give_reason(weight: FloatArray, difference: FloatArray) -> str:
    """The features that decide a pair, strongest first, and the strongest that speaks against.

    Args:
        weight: Shape `(features,)`, of unscaled features.
        difference: Shape `(features,)`, x(first) - x(second).
    """
    contributions = weight * difference
    margin = float(contributions.sum())
    if margin == 0.0:
        return "The two completions are alike in everything this engine looks at."
    winner, sign = ("first", 1.0) if margin > 0 else ("second", -1.0)
    toward = contributions * sign
    size = np.abs(toward)
    order = np.argsort(-size, kind="stable")
    worth = order[size[order] >= LEAST_SHARE * size.max()].tolist()
    in_favour = [_how(place, sign * difference[place]) for place in worth if toward[place] > 0][:N_FOR]
    against = [_how(place, sign * difference[place]) for place in worth if toward[place] < 0][:N_AGAINST]
    reason = f"The {winner} completion suits this user better, for its {_joined(in_favour)}"
    return f"{reason}; against it: {against[0]}." if against else f"{reason}."


def _how(place: int, difference: float) -> str:
    """How a completion differs from the other in one feature, such as `shorter sentences`."""
    words = FEATURES[place].more if difference > 0 else FEATURES[place].less
    return words.replace(" answers", " answer")


def _joined(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
