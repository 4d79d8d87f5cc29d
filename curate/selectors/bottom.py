"""bottom: keep the n least memorized."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.selectors.base import highest


def select(scores: np.ndarray, uids: pa.Array, n_keep: int, seed: int) -> np.ndarray:
    """Return keep (N,) bool: the ``n_keep`` lowest scores, the last ones by rank."""
    return ~highest(scores, uids, len(scores) - n_keep)
