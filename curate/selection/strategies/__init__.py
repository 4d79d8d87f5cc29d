"""Strategies: ways to choose n of N samples, one idea a file.

No randomness but the seed's; ties go by uid, so that a choice does not depend on an order.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.data.ordering import order_of_texts
from curate.errors import DataError, UsageError, unknown
from curate.selection.strategies import (
    ccs,
    d2,
    facility,
    hierarchical,
    k_center,
    matched,
    moderate,
    prototypes,
    random,
    ranking,
    semdedup,
)
from curate.selection.strategies.base import Candidates, Strategy, hash_strings, highest

__all__ = ["STRATEGIES", "Candidates", "Strategy", "choose", "hash_strings", "highest"]

STRATEGIES: dict[str, Strategy] = {
    "top": ranking.TOP,
    "drop-top": ranking.BOTTOM,
    "bottom": ranking.BOTTOM,
    "random": random.STRATEGY,
    "random-matched": matched.STRATEGY,
    "k-center": k_center.STRATEGY,
    "facility-location": facility.STRATEGY,
    "prototypes": prototypes.HARD,
    "prototypes-easy": prototypes.EASY,
    "semdedup": semdedup.STRATEGY,
    "hierarchical": hierarchical.STRATEGY,
    "moderate": moderate.STRATEGY,
    "ccs": ccs.STRATEGY,
    "d2": d2.STRATEGY,
}
"""Strategies by name."""


def choose(
    strategy: str,
    scores: np.ndarray,
    uids: np.ndarray | pa.Array,
    n_keep: int,
    seed: int,
    *,
    labels: np.ndarray | None = None,
    points: np.ndarray | None = None,
    like: np.ndarray | None = None,
) -> np.ndarray:
    """Return which samples ``strategy`` keeps, (N,) bool with exactly ``n_keep`` True.

    The choice depends on what is given of each sample, not on the order of samples; ties go by uid,
    as ranks do.

    Args:
        strategy: A name in ``STRATEGIES``.
        scores: (N,) float64, no NaN, higher = more memorized.
        uids: (N,) distinct strings.
        n_keep: How many to keep, 1 to N; ``drop-top`` drops the other N - n_keep.
        seed: Seed of the strategies that draw.
        labels: (N,) int64, -1 for none; None where no sample has one.
        points: As in ``Candidates``, for strategies that choose in a space.
        like: As in ``Candidates``, for ``random-matched``.

    Raises:
        UsageError: For an unknown strategy, or an ``n_keep`` that is not in 1..N.
        DataError: If a score is missing.
    """
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    scores = np.asarray(scores, dtype=np.float64)
    if not isinstance(uids, pa.Array):
        uids = pa.array(uids, pa.string())
    n = len(uids)
    assert scores.shape == (n,)
    if np.isnan(scores).any():
        raise DataError(f"{int(np.isnan(scores).sum()):,} samples have no score to select by.")
    if not 1 <= n_keep <= n:
        raise UsageError(
            f"cannot keep {n_keep:,} samples: there are {n:,} to choose from (1 to {n:,})."
        )
    labels = np.full(n, -1) if labels is None else labels
    candidates, order = Candidates(uids, scores, labels, points, like), None
    if not pc.all(pc.less_equal(uids[:-1], uids[1:]), min_count=0).as_py():
        order = order_of_texts(uids)
        candidates = candidates.take(order)
    keep = STRATEGIES[strategy].keep(candidates, n_keep, seed)
    assert keep.sum() == n_keep, f"{strategy} keeps exactly as many as asked"
    if order is None:
        return keep
    placed = np.zeros(n, dtype=bool)
    placed[order] = keep
    return placed
