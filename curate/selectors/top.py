"""top: keep the n most memorized, as in the coresets of arXiv 2401.12233."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.selectors.base import highest


def select(scores: np.ndarray, uids: pa.Array, n_keep: int, seed: int) -> np.ndarray:
    """Return keep (N,) bool: the ``n_keep`` highest scores."""
    return highest(scores, uids, n_keep)
