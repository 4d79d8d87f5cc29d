"""What the selectors share: their type, and the cut of an array at its n-th highest value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Selector = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
"""(scores (N,), uids (N,), how many to keep, seed) -> keep (N,) bool."""


def highest(values: np.ndarray, uids: np.ndarray, n: int) -> np.ndarray:
    """Return which n of ``values`` (N,) are highest, (N,) bool; of equal ones the smallest uids.

    Takes linear time: only what ties with the n-th highest value is sorted by uid.
    """
    if n == 0:
        return np.zeros(len(values), dtype=bool)
    cut = np.partition(values, len(values) - n)[len(values) - n]
    chosen = values > cut
    ties = np.flatnonzero(values == cut)
    ties = ties[np.argsort(uids[ties], kind="stable")]
    chosen[ties[: n - int(chosen.sum())]] = True
    return chosen
