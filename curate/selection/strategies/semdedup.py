"""SemDeDup: of samples that mean nearly the same, one stays (Abbas et al. 2023, arXiv 2303.09540).

In each cluster of k-means, samples are ordered from the farthest from the centre inwards, and one
goes that is too like one before it. Here as many go as asked: those that are most like one before
them, which is the paper's threshold set so that it leaves exactly n.
"""

from __future__ import annotations

import numpy as np

from curate.inspection.clusters import k_means
from curate.selection.strategies.base import Candidates, Strategy, highest

EACH = 1000
"""Samples of a cluster on average."""
BLOCK = 1024


def semdedup(candidates: Candidates, n: int, seed: int) -> np.ndarray:
    """Keep the n that are least like a sample that comes before them in their cluster."""
    points = candidates.space()
    clusters = k_means(points, max(1, round(len(points) / EACH)), seed)
    likeness = np.full(len(points), -np.inf, dtype=np.float32)
    for rows in clusters.members():
        order = rows[np.argsort(clusters.similarity[rows], kind="stable")]
        likeness[order] = before(points[order])
    return highest(-likeness, None, n)


def before(points: np.ndarray) -> np.ndarray:
    """Return the highest cosine of each point with one before it, (m,); -inf of the first."""
    closest = np.full(len(points), -np.inf, dtype=np.float32)
    for start in range(0, len(points), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(points)))
        alike = points[rows] @ points[: rows[-1] + 1].T
        alike[np.arange(rows[-1] + 1)[None, :] >= rows[:, None]] = -np.inf
        closest[rows] = alike.max(axis=1)
    return closest


STRATEGY = Strategy(
    semdedup, "least like another one (SemDeDup)", frozenset({"points"}), draws=True
)
