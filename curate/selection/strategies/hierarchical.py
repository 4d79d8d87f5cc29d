"""Hierarchical k-means with balanced sampling (Vo et al. 2024, arXiv 2405.15613).

Clusters of clusters of samples: what is common has many samples but not many clusters of clusters.
What is to be kept is shared equally among the clusters at the top, in each of them among its parts,
and so on down, so that every concept gets the same.
"""

from __future__ import annotations

import numpy as np

from curate.inspection.clusters import Clusters, assigned, k_means
from curate.selection.strategies.base import Candidates, Strategy, mask, shared

FINE = 4
"""Clusters of samples, in roots of their number."""
RATIO = 16
"""Clusters that one of the next level has on average."""
RESAMPLED, NEAREST = 2, 8
"""How often centres are found again from so many points nearest to each, which evens them out."""


def hierarchical(candidates: Candidates, n: int, seed: int) -> np.ndarray:
    """Keep n that are spread evenly over the clusters of every level, at random in the finest."""
    levels = hierarchy(candidates.space(), seed)
    rows = [
        candidates.drawn(members, int(share), seed)
        for members, share in zip(*balanced(levels, n), strict=True)
        if share
    ]
    return mask(np.concatenate(rows), len(candidates))


def hierarchy(points: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the cluster of each point, then of each cluster, and so on up to a few of them.

    Returns:
        (N,) int64, (K1,) int64 and so on; without empty clusters.
    """
    levels = []
    k = min(len(points) // 2, round(FINE * len(points) ** 0.5))
    while k > 1:
        clusters = _evened(points, k, seed)
        used, which = np.unique(clusters.which, return_inverse=True)
        levels.append(which)
        points, k = np.ascontiguousarray(clusters.centres[used]), len(used) // RATIO
    return levels or [np.zeros(len(points), dtype=np.int64)]


def _evened(points: np.ndarray, k: int, seed: int) -> Clusters:
    """Return k-means whose centres are spread over the space, not over the crowd (Algorithm 1)."""
    clusters = k_means(points, k, seed)
    for _ in range(RESAMPLED):
        nearest = [
            rows[np.argsort(-clusters.similarity[rows], kind="stable")[:NEAREST]]
            for rows in clusters.members()
        ]
        closest = np.ascontiguousarray(points[np.sort(np.concatenate(nearest))])
        if len(closest) <= k:
            break
        clusters = assigned(points, k_means(closest, k, seed).centres)
    return clusters


def balanced(levels: list[np.ndarray], n: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Share n among the finest clusters, from the top down; returns their members and shares.

    Args:
        levels: From ``hierarchy``.
        n: 1 to N.
    """
    sizes = [np.bincount(levels[0])]
    for which in levels[1:]:
        sizes.append(np.bincount(which, weights=sizes[-1]).astype(np.int64))
    shares = shared(sizes[-1], n)
    for which, below in zip(levels[:0:-1], sizes[-2::-1], strict=True):
        parts = np.zeros(len(below), dtype=np.int64)
        for cluster, share in enumerate(shares):
            children = np.flatnonzero(which == cluster)
            parts[children] = shared(below[children], int(share))
        shares = parts
    order = np.argsort(levels[0], kind="stable")
    return np.split(order, np.cumsum(sizes[0])[:-1]), shares


STRATEGY = Strategy(
    hierarchical,
    "spread evenly over clusters of clusters",
    frozenset({"points"}),
    draws=True,
)
