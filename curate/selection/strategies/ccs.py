"""CCS: coverage-centric coreset selection (Zheng et al. 2023, arXiv 2210.15809).

The hardest samples go, among which wrong labels are; what is to be kept is shared equally among
strata of equal width of the number that is selected by, so that all of its range is covered.
"""

from __future__ import annotations

import numpy as np

from curate.selection.strategies.base import Candidates, Strategy, highest, mask, shared

STRATA = 50
HARDEST = 0.1
"""Share of the samples that goes first (beta), or less where too few would be left."""


def ccs(candidates: Candidates, n: int, seed: int) -> np.ndarray:
    """Keep n spread over the range of the scores, at random in each stratum (Algorithm 1)."""
    scores, total = candidates.scores, len(candidates)
    gone = min(round(HARDEST * total), total - n)
    left = np.flatnonzero(~highest(scores, None, gone))
    low, high = scores[left].min(), scores[left].max()
    width = (high - low) / STRATA
    stratum = np.zeros(len(left), dtype=np.int64)
    if width > 0:
        stratum = np.minimum(((scores[left] - low) / width).astype(np.int64), STRATA - 1)
    shares = shared(np.bincount(stratum, minlength=STRATA), n)
    kept = [
        candidates.drawn(left[stratum == s], int(share), seed)
        for s, share in enumerate(shares)
        if share
    ]
    return mask(np.concatenate(kept), total)


STRATEGY = Strategy(
    ccs, "spread over the range of scores but for the hardest (CCS)", frozenset({"scores"}), True
)
