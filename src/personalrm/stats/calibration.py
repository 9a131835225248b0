"""Judge quality gates over probabilities and lengths: calibration, length strata."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personalrm.errors import BadInput, NoScoredPairs
from personalrm.stats.accuracy import correctness
from personalrm.stats.arrays import FloatArray


@dataclass(frozen=True)
class CalibrationBin:
    """Pairs decided with like confidence."""

    low: float
    high: float
    n_pairs: int
    confidence: float
    """Mean confidence in the bin; NaN when it is empty."""
    accuracy: float
    """Accuracy in the bin; NaN when it is empty."""


@dataclass(frozen=True)
class Calibration:
    """How well probabilities say how often a judge is right."""

    brier: float
    """Mean squared distance of the chosen completion's probability from 1; 0.25 for always 0.5."""
    ece: float
    """Expected calibration error: mean |accuracy - confidence| over bins, weighted by their pairs."""
    n_pairs: int
    """Scored pairs, the ones these numbers rest on."""
    n_unscored: int
    bins: tuple[CalibrationBin, ...]


@dataclass(frozen=True)
class Stratum:
    """Accuracy on a part of the pairs."""

    accuracy: float
    """Ties and unscored pairs count 0.5; NaN when there are no pairs."""
    n_pairs: int
    n_unscored: int


@dataclass(frozen=True)
class LengthStrata:
    """Accuracy by whether the chosen completion is the longer one.

    A judge that only counts characters has 1.0 in `longer` and 0.0 in `shorter`.
    """

    longer: Stratum
    shorter: Stratum
    equal: Stratum


def calibration(probabilities: FloatArray, *, n_bins: int = 10) -> Calibration:
    """Brier score and expected calibration error of the probabilities of the chosen completions.

    Which of the two completions is called the positive one is arbitrary, so bins are over
    the confidence max(p, 1 - p), of equal width in [0.5, 1].

    Args:
        probabilities: Shape `(pairs,)`, probability of the chosen completion; NaN where
            unscored, which is left out and counted.
        n_bins: Number of bins.

    Raises:
        NoScoredPairs: If there are no pairs or every one is NaN.
        BadInput: If a value lies outside [0, 1] or `n_bins` is below 1.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    if ((p < 0.0) | (p > 1.0)).any():
        raise BadInput("probabilities must lie in [0, 1], or be NaN where unscored; pass probabilities, not margins")
    if n_bins < 1:
        raise BadInput(f"n_bins must be at least 1, got {n_bins!r}; 10 is usual")
    scored = p[~np.isnan(p)]
    if scored.size == 0:
        raise NoScoredPairs(f"none of {p.size} pairs was scored, so there is no calibration to report")
    confidence = np.maximum(scored, 1.0 - scored)
    edges = 0.5 + 0.5 * np.arange(n_bins + 1) / n_bins
    # Searched, not multiplied out: a confidence equal to a printed edge must open the bin that says so.
    place = np.minimum(np.searchsorted(edges, confidence, side="right") - 1, n_bins - 1)  # (scored,), 1 in the last
    counts = np.bincount(place, minlength=n_bins)
    with np.errstate(invalid="ignore"):  # an empty bin is 0 / 0, which is the NaN we promise
        mean_confidence = np.bincount(place, weights=confidence, minlength=n_bins) / counts
        mean_correct = np.bincount(place, weights=correctness(scored - 0.5), minlength=n_bins) / counts
    bins = tuple(
        CalibrationBin(
            float(edges[k]), float(edges[k + 1]), int(counts[k]), float(mean_confidence[k]), float(mean_correct[k])
        )
        for k in range(n_bins)
    )
    return Calibration(
        brier=float(((1.0 - scored) ** 2).mean()),
        ece=sum(b.n_pairs * abs(b.accuracy - b.confidence) for b in bins if b.n_pairs) / scored.size,
        n_pairs=int(scored.size),
        n_unscored=int(p.size - scored.size),
        bins=bins,
    )


def length_strata(margins: FloatArray, chosen_lengths: FloatArray, rejected_lengths: FloatArray) -> LengthStrata:
    """Accuracy where the chosen completion is longer, shorter, and equally long.

    Args:
        margins: Shape `(pairs,)`, as in `pairwise_accuracy`.
        chosen_lengths: Shape `(pairs,)`, characters (or any one unit).
        rejected_lengths: Shape `(pairs,)`, in the same unit.

    Raises:
        NoScoredPairs: If there are no pairs or every margin is NaN.
        BadInput: If the shapes differ.
    """
    margins = np.asarray(margins, dtype=np.float64)
    longer_by = np.asarray(chosen_lengths, dtype=np.float64) - np.asarray(rejected_lengths, dtype=np.float64)
    if longer_by.shape != margins.shape:
        raise BadInput(f"every margin needs two lengths, got shapes {margins.shape!r} and {longer_by.shape!r}")
    if np.isnan(margins).all():
        raise NoScoredPairs(f"none of {margins.size} pairs was scored, so there is no accuracy to report")
    return LengthStrata(
        _stratum(margins[longer_by > 0]), _stratum(margins[longer_by < 0]), _stratum(margins[longer_by == 0])
    )


def _stratum(margins: FloatArray) -> Stratum:
    """Accuracy of these pairs, NaN of nothing."""
    accuracy = float(correctness(margins).mean()) if margins.size else float("nan")
    return Stratum(accuracy, int(margins.size), int(np.isnan(margins).sum()))
