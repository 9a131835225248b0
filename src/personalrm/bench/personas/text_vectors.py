"""Short texts as vectors of their words, and groups of texts that share words; numpy only, no encoder.

A sentence encoder would do better; this needs no download and is the same everywhere.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np

from personalrm.stats.arrays import FloatArray

DIMENSIONS = 512
ROUNDS = 30
STOP_WORDS = frozenset(
    """about after also and answer answers been before being between both choose chooses clearly could does each
    even favor favors favour favours from have into just kind like likes love loves made make makes many more most much
    must need only other over people person prefer preferred preference prefers rather seem seems should since some
    somewhat such than that their them then there these they this those through users user value values very want
    wanted wants well were what when where which while will with would your""".split()
)


def text_vectors(texts: Sequence[str]) -> FloatArray:
    """Hashed words weighted by rarity (tf-idf), unit length, shape `(texts, DIMENSIONS)`; zero where no word counts."""
    counts = np.zeros((len(texts), DIMENSIONS))
    for row, text in enumerate(texts):
        for word in re.findall(r"[^\W\d_]{3,}", text.lower()):
            if word not in STOP_WORDS:
                counts[row, zlib.crc32(word[:6].encode("utf-8", "surrogatepass")) % DIMENSIONS] += 1.0
    weighted = np.log1p(counts) * np.log((1.0 + len(texts)) / (1.0 + (counts > 0).sum(axis=0)) + 1.0)
    length = np.linalg.norm(weighted, axis=1, keepdims=True)
    return np.asarray(weighted / np.where(length > 0, length, 1.0))


def cluster_texts(texts: Sequence[str], n_clusters: int, *, seed: int = 0) -> list[list[str]]:
    """The texts in at most so many groups (spherical k-means), larger groups first, the most typical text first."""
    vectors = text_vectors(texts)
    n = min(n_clusters, len({*texts}))
    # first centers: each next one is the text least like those before
    chosen = [int(np.random.default_rng(seed).integers(len(vectors)))]
    while len(chosen) < n:
        similarity = (vectors @ vectors[chosen].T).max(axis=1)
        similarity[chosen] = np.inf
        chosen.append(int(similarity.argmin()))
    centers = vectors[chosen].copy()
    places = np.zeros(len(texts), dtype=np.int64)
    for turn in range(ROUNDS):
        now = (vectors @ centers.T).argmax(axis=1)
        if turn and (now == places).all():
            break
        places = now
        for k in range(n):
            total = vectors[places == k].sum(axis=0)
            centers[k] = total / norm if (norm := float(np.linalg.norm(total))) > 0 else centers[k]
    groups = [np.flatnonzero(places == k).tolist() for k in range(n)]
    likeness = (vectors * centers[places]).sum(axis=1).tolist()
    near = [sorted(rows, key=lambda row: -likeness[row]) for rows in groups]
    return sorted(([texts[row] for row in rows] for rows in near if rows), key=len, reverse=True)
