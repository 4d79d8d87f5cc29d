"""At random: the control of every other strategy."""

from __future__ import annotations

import numpy as np

from curate.selection.strategies.base import Candidates, Strategy, mask


def random(candidates: Candidates, n: int, seed: int) -> np.ndarray:
    """Keep the n smallest hashes of (seed, uid).

    Selections of one seed are nested: a smaller one is part of a larger one.
    """
    rows = np.arange(len(candidates))
    return mask(candidates.drawn(rows, n, seed), len(candidates))


STRATEGY = Strategy(random, "drawn at random", draws=True)
