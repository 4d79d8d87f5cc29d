"""Moderate: neither the easiest nor the hardest (Xia et al. 2023, Moderate Coreset, ICLR).

Of each class those are kept whose distance from the mean of the class is closest to the median.
"""

from __future__ import annotations

import numpy as np

from curate.selection.strategies.base import Candidates, Strategy, apportioned, highest, mask


def moderate(candidates: Candidates, n: int, seed: int) -> np.ndarray:
    """Keep of each class, in proportion to it, those at the most usual distance from its mean.

    Samples without a label are a class of their own.
    """
    points = candidates.space()
    _, which, sizes = np.unique(candidates.labels, return_inverse=True, return_counts=True)
    kept = []
    for label, share in enumerate(apportioned(sizes.astype(np.float64), sizes, n)):
        rows = np.flatnonzero(which == label)
        members = points[rows]
        distance = np.linalg.norm(members - members.mean(axis=0), axis=1)
        unusual = np.abs(distance - np.median(distance))
        kept.append(rows[highest(-unusual, None, int(share))])
    return mask(np.concatenate(kept), len(candidates))


STRATEGY = Strategy(
    moderate,
    "at the most usual distance from the mean of their class",
    frozenset({"points", "labels"}),
)
