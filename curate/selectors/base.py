"""What the selectors share: their type, and the cut of an array at its n-th highest value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from curate.records.ordering import order_of_texts

Selector = Callable[[np.ndarray, pa.Array, int, int], np.ndarray]
"""(scores (N,), uids (N,), how many to keep, seed) -> keep (N,) bool."""


def highest(values: np.ndarray, uids: pa.Array | None, n: int) -> np.ndarray:
    """Return which n of ``values`` (N,) are highest, (N,) bool; of equal ones the smallest uids.

    Takes linear time: only what ties with the n-th highest value is sorted by uid.

    Args:
        values: (N,) numbers, no NaN.
        uids: (N,) strings; None where rows lie in the order of their uids.
        n: 0 to N.
    """
    if n == 0:
        return np.zeros(len(values), dtype=bool)
    cut = np.partition(values, len(values) - n)[len(values) - n]
    chosen = values > cut
    ties = np.flatnonzero(values == cut)
    if uids is not None:
        ties = ties[order_of_texts(uids.take(pa.array(ties)))]
    chosen[ties[: n - int(chosen.sum())]] = True
    return chosen
