"""deja-vu: labels inferred from the edge of an image (Meehan et al. 2023, arXiv 2304.13850)."""

from __future__ import annotations

import numpy as np

from curate.scores.measures.base import Contrast, Look

K = 10
"""Neighbours that vote."""
TEMPERATURE = 0.07
"""Of a vote, as in the k-NN probe (Wu et al. 2018)."""
BLOCK = 1024
HELD_BYTES = 1 << 27
"""Similarities held at a time stay below this, however large the pool."""


class DejaVu(Contrast):
    """How much better a corner of x tells its label to encoders that were trained on x.

    Each corner of x, half of its side, is enlarged to a whole image and encoded; its ``K`` nearest
    among labelled public samples vote on the label (cosine of centred representations, votes
    weighted as in the k-NN probe). The score is the share of the four corners that are right,
    averaged over the encoders trained on x, minus the same over those that were not: what a
    correlation between edges and labels gives, both have.

    Public are the test samples where they have labels; else, for each encoder, the labelled samples
    outside its training set. Exact copies of x never vote. Meehan et al. take a fixed corner crop
    that avoids the object's bounding box, a held-out public set of 500,000 images and 100
    neighbours; without boxes, corners of small images often show the object itself.

    Unit: share of right answers. Range: -1 to 1; higher = more memorized. Undefined where all
    encoders or none were trained on x, or x has no label.
    """

    needs_labels = True
    text = "Deja Vu (Meehan et al. 2023): share of right corners, -1 to 1, higher = memorized"

    def says(self, look: Look) -> np.ndarray:
        """Return the share of corners that one encoder labels right."""
        samples = self.samples
        pool, keys, labels = look.public, samples.public_keys, samples.public_labels
        if not len(pool):
            free = np.flatnonzero(~look.inside & (samples.labels >= 0))
            pool, keys, labels = look.features[free], samples.keys[free], samples.labels[free]
        if not len(pool):
            return np.full(len(samples), np.nan)
        right = np.mean(
            [
                votes(look.corner(c), samples.keys, pool, keys, labels, samples.classes)
                == samples.labels
                for c in range(4)
            ],
            axis=0,
        )
        return np.where(samples.labels >= 0, right, np.nan)


def votes(
    query: np.ndarray,
    query_keys: np.ndarray,
    pool: np.ndarray,
    pool_keys: np.ndarray,
    labels: np.ndarray,
    classes: int,
) -> np.ndarray:
    """Return the class that the nearest of a pool vote for, (n,) int64; ties go to the lower.

    It is -1 where the pool has nothing but copies.

    Args:
        query: (n, D) float32.
        query_keys: (n,) uint64; what equals it in the pool has no vote.
        pool: (m, D) float32.
        pool_keys: (m,) uint64.
        labels: (m,) int64 in [0, classes).
        classes: How many there are.
    """
    centre = pool.mean(axis=0, dtype=np.float64)
    points = _unit(pool - centre)
    k, out = min(K, len(pool)), np.empty(len(query), dtype=np.int64)
    step = max(1, min(BLOCK, HELD_BYTES // (points.itemsize * len(pool))))
    for start in range(0, len(query), step):
        part = slice(start, start + step)
        similar = _unit(query[part] - centre) @ points.T
        similar[query_keys[part, None] == pool_keys] = -np.inf
        near = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        weight = np.exp((np.take_along_axis(similar, near, axis=1) - 1) / TEMPERATURE)
        tally = np.zeros((len(near), classes))
        np.add.at(tally, (np.arange(len(near))[:, None], labels[near]), weight)
        out[part] = np.where(tally.any(axis=1), tally.argmax(axis=1), -1)
    return out


def _unit(x: np.ndarray) -> np.ndarray:
    """Return rows scaled to length 1, float64; a row of zeros stays."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(length > 0, length, 1.0), dtype=np.float64)
