"""At random, but as another selection in what is known without training: class and outlierness.

What such a control does as well as the selection, the selection did not know by its scores.
"""

from __future__ import annotations

import numpy as np

from curate.inspection.neighbours import among
from curate.selection.strategies.base import Candidates, Strategy, apportioned, mask

NEIGHBOURS = 10
BINS = 10
"""Outlierness counts in tenths of the samples."""
SEARCHED = 50_000
"""Up to so many samples neighbours are found exactly."""


def matched(candidates: Candidates, n: int, seed: int) -> np.ndarray:
    """Keep n at random with as many of each class and tenth of outlierness as the other has.

    Of another size, in proportion. The draw is from all samples, also from those of the other.
    """
    assert candidates.like is not None, "a strategy that needs a selection to match says so"
    total = len(candidates)
    outlierness = np.zeros(total)
    if total > 1:
        outlierness = among(candidates.space(), NEIGHBOURS, exact=SEARCHED).outlier_score()
    _, which, sizes = np.unique(
        np.stack([candidates.labels, tenths(outlierness)]),
        axis=1,
        return_inverse=True,
        return_counts=True,
    )
    which = which.ravel()
    weights = np.bincount(which[candidates.like], minlength=len(sizes)).astype(np.float64)
    kept = [
        candidates.drawn(np.flatnonzero(which == cell), int(share), seed)
        for cell, share in enumerate(apportioned(weights, sizes, n))
        if share
    ]
    return mask(np.concatenate(kept), total)


def tenths(values: np.ndarray) -> np.ndarray:
    """Return in which tenth of the values each is, (N,) int64; ties by position."""
    place = np.empty(len(values), dtype=np.int64)
    place[np.argsort(values, kind="stable")] = np.arange(len(values))
    return place * BINS // len(values)


STRATEGY = Strategy(
    matched,
    "drawn at random like the selection that is matched",
    frozenset({"points", "labels", "like"}),
    draws=True,
)
