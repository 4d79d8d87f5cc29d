"""drop-top: drop the most memorized and keep the rest, as in the removal runs of the paper.

It keeps what ``bottom`` keeps; the name says which number the user thinks of.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.selectors.base import highest


def select(scores: np.ndarray, uids: pa.Array, n_keep: int, seed: int) -> np.ndarray:
    """Return keep (N,) bool: all but the ``N - n_keep`` highest scores."""
    return ~highest(scores, uids, len(scores) - n_keep)
