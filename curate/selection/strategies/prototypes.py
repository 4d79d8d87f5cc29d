"""Prototypes: by how far a sample is from the centre of its cluster.

Sorscher et al. 2022 (arXiv 2206.14486), "self-supervised prototypes": k-means in the space of a
self-supervised encoder. Hard samples lie far from their centre; easy ones close to it.
"""

from __future__ import annotations

import numpy as np

from curate.inspection.clusters import k_means
from curate.selection.strategies.base import Candidates, Strategy, highest


def hard(candidates: Candidates, n: int, seed: int) -> np.ndarray:
    """Keep the n that are farthest from the centres of their clusters."""
    return highest(-_likeness(candidates, seed), None, n)


def easy(candidates: Candidates, n: int, seed: int) -> np.ndarray:
    """Keep the n that are nearest to the centres of their clusters."""
    return highest(_likeness(candidates, seed), None, n)


def _likeness(candidates: Candidates, seed: int) -> np.ndarray:
    """Return the cosine of each sample with its centre, (N,).

    As many clusters as classes, as in the paper (where their number hardly matters); the root of
    the number of samples where there are no classes.
    """
    total = len(candidates)
    known = np.unique(candidates.labels[candidates.labels >= 0])
    k = len(known) if len(known) > 1 else round(total**0.5)
    return k_means(candidates.space(), min(total, max(1, k)), seed).similarity


POINTS = frozenset({"points", "labels"})
HARD = Strategy(hard, "farthest from the centres of their clusters", POINTS, draws=True)
EASY = Strategy(easy, "nearest to the centres of their clusters", POINTS, draws=True)
