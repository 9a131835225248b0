"""Personas as points, and whether a column of the people can be told from them (appendix E, Figure 10).

Vectors are the embedded engine's weights where every prompt carries them, else words and
features of the persona's text: no encoder is needed. Two numbers say how far the groups of
a column lie apart: the silhouette, and how often a classifier names the group of somebody it
has not seen, each against the same with labels dealt out at random.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personalrm.bench.personas.text_vectors import text_vectors
from personalrm.errors import BadInput, MissingExtra
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.stats.arrays import FloatArray, IntArray
from personalrm.stylometry.feature_words import INDEX, NAMES
from personalrm.stylometry.sentences import read_leanings
from personalrm.wording import install_hint

N_PERMUTATIONS = 200
LEAST_OF_GROUP = 3
"""Smaller groups cannot be learned and seen at once; their people keep their points and lose their color."""
MOST_EXACT = 150
"""Up to so many people t-SNE is exact: no slower, and free of threads that would spin beside other jobs."""
LEAST_USERS = 5
OTHER = "other or not given"


@dataclass(frozen=True)
class Separability:
    """How far the groups of a column lie apart."""

    column: str
    n_users: int
    """Users of groups that are large enough."""
    n_groups: int
    silhouette: float
    """Mean silhouette in [-1, 1]; 0 means the groups overlap."""
    silhouette_p: float
    """One-sided, against random labels."""
    accuracy: float
    """Balanced accuracy of a ridge classifier on people left out one by one."""
    chance: float
    """Mean of the same with random labels."""
    accuracy_p: float


@dataclass(frozen=True)
class PersonaMap:
    """Personas as points of a plane."""

    kind: str
    """What the vectors are."""
    user_ids: tuple[str, ...]
    points: FloatArray
    """Shape `(users, 2)`, t-SNE."""
    labels: Mapping[str, tuple[str, ...]]
    """Column -> label of each user."""
    separability: tuple[Separability, ...]
    left_out: tuple[str, ...] = ()
    """Columns whose groups are too few or too small to be told apart."""

    def as_json(self) -> dict[str, Any]:
        """As JSON values; points are numbered, user ids left out."""
        return {
            "kind": self.kind,
            "points": [[round(float(x), 4) for x in point] for point in self.points],
            "labels": {column: list(labels) for column, labels in self.labels.items()},
            "separability": [vars(separability) for separability in self.separability],
            "left_out": list(self.left_out),
        }


def map_personas(
    prompts: Sequence[PersonalPrompt], columns: Mapping[str, Mapping[str, str]], *, seed: int = 0
) -> PersonaMap:
    """The map of these people, and how far the groups of each column lie apart.

    Args:
        prompts: One a user.
        columns: Column -> user id -> label; who has none is one of `OTHER`.
        seed: Of t-SNE and permutations.

    Raises:
        BadInput: If there are fewer than `LEAST_USERS` users or one stands twice.
        MissingExtra: If scikit-learn is not installed.
    """
    ids = [prompt.user_id for prompt in prompts]
    if len(set(ids)) < max(len(ids), LEAST_USERS):
        raise BadInput(
            f"a map needs {LEAST_USERS} different users, got {len(set(ids))} of {len(ids)}; pass one prompt each"
        )
    kind, vectors = persona_vectors(prompts)
    labels: dict[str, tuple[str, ...]] = {}
    for column, label_of in columns.items():
        given = [label_of.get(user) or OTHER for user in ids]
        counts = Counter(given)
        labels[column] = tuple(label if counts[label] >= LEAST_OF_GROUP else OTHER for label in given)
    measured = {column: _separability(column, vectors, given, seed) for column, given in labels.items()}
    return PersonaMap(
        kind,
        tuple(ids),
        _plane(vectors, seed),
        labels,
        tuple(separability for separability in measured.values() if separability is not None),
        tuple(column for column, separability in measured.items() if separability is None),
    )


def persona_vectors(prompts: Sequence[PersonalPrompt]) -> tuple[str, FloatArray]:
    """What the vectors are, and the vectors, standardized, shape `(users, dimensions)`."""
    if all(prompt.weights for prompt in prompts):
        rows = [{weight.feature: weight.mean - weight.population for weight in prompt.weights} for prompt in prompts]
        shifts = np.array([[row.get(name, 0.0) for name in NAMES] for row in rows])
        return "weights of the embedded engine, minus the population's", _standardized(shifts)
    read = np.zeros((len(prompts), len(NAMES)))
    for row, prompt in enumerate(prompts):
        for leaning in read_leanings(prompt.persona):
            read[row, INDEX[leaning.feature]] = leaning.shift
    words = text_vectors([prompt.persona.text for prompt in prompts])
    return "features and words of the persona's sentences", np.hstack(
        [_standardized(read), words * np.sqrt(len(NAMES))]
    )


def _standardized(vectors: FloatArray) -> FloatArray:
    spread = vectors.std(axis=0)
    return np.asarray((vectors - vectors.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0))


def _plane(vectors: FloatArray, seed: int) -> FloatArray:
    try:
        from sklearn import manifold
    except ImportError:
        raise MissingExtra(f"the map of personas needs scikit-learn; {install_hint('plots')}") from None
    perplexity = min(30.0, max(2.0, (len(vectors) - 1) / 3.0))
    # Equal vectors would lie on one spot and hide each other; the start from PCA makes runs alike.
    moved = vectors + np.random.default_rng(seed).normal(scale=1e-4, size=vectors.shape)
    method = "exact" if len(vectors) <= MOST_EXACT else "barnes_hut"
    model = manifold.TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=seed, method=method)
    return np.asarray(model.fit_transform(moved), dtype=np.float64)


def _separability(column: str, vectors: FloatArray, labels: Sequence[str], seed: int) -> Separability | None:
    """None where fewer than two groups are large enough."""
    kept = np.array([label != OTHER for label in labels])
    names, groups = np.unique([label for label in labels if label != OTHER], return_inverse=True)
    if len(names) < 2:
        return None
    x = vectors[kept]
    rng = np.random.default_rng(seed)
    dealt = [rng.permutation(groups) for _ in range(N_PERMUTATIONS)]
    # Distances between all rows, (users, users), by products, so that memory does not grow with the dimensions.
    squares = (x**2).sum(axis=1)
    distances = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2.0 * (x @ x.T), 0.0))
    np.fill_diagonal(distances, 0.0)
    own, others = _silhouette(distances, groups), [_silhouette(distances, random) for random in dealt]
    # H of the ridge classifier with an intercept, (users, users); the penalty is one row a dimension.
    with_one = np.hstack([np.ones((len(x), 1)), x])
    penalty = np.diag([1e-6, *np.full(x.shape[1], float(x.shape[1]))])
    hat = with_one @ np.linalg.solve(with_one.T @ with_one + penalty, with_one.T)
    right, chances = _accuracy(hat, groups), [_accuracy(hat, random) for random in dealt]
    return Separability(
        column, len(groups), len(names), own, _p(own, others), right, float(np.mean(chances)), _p(right, chances)
    )


def _silhouette(distances: FloatArray, groups: IntArray) -> float:
    """Mean of (b - a) / max(a, b), a the mean distance to the own group and b to the nearest other (Rousseeuw 1987)."""
    member = np.eye(int(groups.max()) + 1)[groups]  # (users, groups)
    sizes = member.sum(axis=0)
    totals = distances @ member
    rows = np.arange(len(groups))
    a = totals[rows, groups] / np.maximum(sizes[groups] - 1.0, 1.0)
    means = totals / sizes
    means[rows, groups] = np.inf
    b = means.min(axis=1)
    widest = np.maximum(a, b)
    return float(np.where(widest > 0, (b - a) / np.where(widest > 0, widest, 1.0), 0.0).mean())


def _accuracy(hat: FloatArray, groups: IntArray) -> float:
    """Balanced accuracy on people left out one by one, in closed form: groups weigh alike."""
    member = np.eye(int(groups.max()) + 1)[groups]
    wanted = member / member.sum(axis=0)  # rare groups pull as much as common ones
    leverage = np.diagonal(hat)[:, None]
    unseen = (hat @ wanted - leverage * wanted) / np.maximum(1.0 - leverage, 1e-9)
    is_right = unseen.argmax(axis=1) == groups
    return float(np.mean([is_right[groups == group].mean() for group in range(member.shape[1])]))


def _p(own: float, others: Sequence[float]) -> float:
    return (1 + sum(other >= own - 1e-12 for other in others)) / (1 + len(others))
