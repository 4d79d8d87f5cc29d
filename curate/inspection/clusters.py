"""Clusters: k-means among points of length 1 (spherical; Dhillon & Modha 2001), by FAISS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curate.inspection.neighbours import faiss_library
from curate.runtime import randomness

ITERATIONS = 20
TRAINED_ON = 64
"""Points for each centre that k-means is fitted to, drawn; all of them are assigned."""
BLOCK = 1 << 14


@dataclass(frozen=True)
class Clusters:
    """N points in K clusters.

    Attributes:
        centres: (K, D) float32, of length 1.
        which: (N,) int64, the cluster of each point.
        similarity: (N,) float32, cosine of each point and its centre.
    """

    centres: np.ndarray
    which: np.ndarray
    similarity: np.ndarray

    def sizes(self) -> np.ndarray:
        """Return how many points each cluster has, (K,) int64."""
        return np.bincount(self.which, minlength=len(self.centres))

    def members(self) -> list[np.ndarray]:
        """Return the points of each cluster, K arrays of positions, ascending."""
        order = np.argsort(self.which, kind="stable")
        return np.split(order, np.cumsum(self.sizes())[:-1])


def k_means(points: np.ndarray, k: int, seed: int) -> Clusters:
    """Cluster points of length 1.

    Args:
        points: (N, D) float32, C-contiguous.
        k: Clusters, 1 to N.
        seed: Of the first centres, and of the points that are drawn where there are many.

    Raises:
        ResourceError: If FAISS is not installed.
    """
    assert 1 <= k <= len(points)
    faiss = faiss_library()
    model = faiss.Kmeans(
        points.shape[1],
        k,
        niter=ITERATIONS,
        spherical=True,
        seed=randomness.seed_for(seed, "k-means") & 0x7FFFFFFF,
        max_points_per_centroid=TRAINED_ON if len(points) > TRAINED_ON * k else len(points),
        min_points_per_centroid=1,
    )
    model.train(points)
    return assigned(points, np.ascontiguousarray(model.centroids.reshape(k, -1)))


def assigned(points: np.ndarray, centres: np.ndarray) -> Clusters:
    """Return points in the clusters of the centres that they are most like; ties go to the first.

    Args:
        points: (N, D) float32 of length 1.
        centres: (K, D) float32 of length 1.
    """
    which = np.empty(len(points), dtype=np.int64)
    similarity = np.empty(len(points), dtype=np.float32)
    step = max(1, BLOCK * 256 // len(centres))
    for start in range(0, len(points), step):
        part = slice(start, start + step)
        alike = points[part] @ centres.T
        which[part] = alike.argmax(axis=1)
        similarity[part] = np.take_along_axis(alike, which[part][:, None], axis=1)[:, 0]
    return Clusters(centres, which, similarity)
