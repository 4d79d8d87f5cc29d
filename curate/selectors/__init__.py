"""Selectors: scores to a choice of n samples. One strategy a file; no randomness but the seed's."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.errors import DataError, UsageError, unknown
from curate.selectors import bottom, drop_top, random, top
from curate.selectors.base import Selector

SELECTORS: dict[str, Selector] = {
    "top": top.select,
    "drop-top": drop_top.select,
    "bottom": bottom.select,
    "random": random.select,
}
"""Strategies by name: (scores (N,), uids (N,), how many to keep, seed) -> keep (N,) bool."""


def select(
    strategy: str, scores: np.ndarray, uids: np.ndarray | pa.Array, n_keep: int, seed: int
) -> np.ndarray:
    """Return which samples ``strategy`` keeps, (N,) bool with exactly ``n_keep`` True.

    The choice depends on scores and uids alone, not on their order; ties go by uid, as ranks do.

    Args:
        strategy: A name in ``SELECTORS``.
        scores: (N,) float64, no NaN, higher = more memorized.
        uids: (N,) distinct strings.
        n_keep: How many to keep, 1 to N; ``drop-top`` drops the other N - n_keep.
        seed: Seed of the strategies that draw.

    Raises:
        UsageError: For an unknown strategy, or an ``n_keep`` that is not in 1..N.
        DataError: If a score is missing.
    """
    if strategy not in SELECTORS:
        raise unknown("strategy", strategy, SELECTORS)
    scores = np.asarray(scores, dtype=np.float64)
    if not isinstance(uids, pa.Array):
        uids = pa.array(uids, pa.string())
    assert scores.shape == (len(uids),)
    if np.isnan(scores).any():
        raise DataError(f"{int(np.isnan(scores).sum()):,} samples have no score to select by.")
    if not 1 <= n_keep <= len(scores):
        raise UsageError(
            f"cannot keep {n_keep:,} samples: there are {len(scores):,} to choose from "
            f"(1 to {len(scores):,})."
        )
    return SELECTORS[strategy](scores, uids, n_keep, seed)
