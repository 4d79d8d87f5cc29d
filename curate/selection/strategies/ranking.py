"""The ends of a ranking, by whatever number."""

from __future__ import annotations

import numpy as np

from curate.selection.strategies.base import Candidates, Strategy, highest


def top(candidates: Candidates, n: int, seed: int) -> np.ndarray:
    """Keep the n most memorized, as in the coresets of arXiv 2401.12233."""
    return highest(candidates.scores, None, n)


def bottom(candidates: Candidates, n: int, seed: int) -> np.ndarray:
    """Keep the n least memorized, the last ones by rank.

    As ``drop-top`` it is what the removal runs of the paper keep; that name says which number the
    user thinks of.
    """
    return ~highest(candidates.scores, None, len(candidates) - n)


SCORES = frozenset({"scores"})
TOP = Strategy(top, "most memorized", SCORES)
BOTTOM = Strategy(bottom, "least memorized", SCORES)
