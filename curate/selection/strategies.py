"""Strategies: scores to a choice of n samples. No randomness but the seed's; ties go by uid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from curate.data.ordering import WORD, order_of_texts, words
from curate.data.sample import longest
from curate.errors import DataError, UsageError, unknown
from curate.runtime import randomness

Strategy = Callable[[np.ndarray, pa.Array, int, int], np.ndarray]
"""(scores (N,), uids (N,), how many to keep, seed) -> keep (N,) bool."""


def top(scores: np.ndarray, uids: pa.Array, n_keep: int, seed: int) -> np.ndarray:
    """Keep the n most memorized, as in the coresets of arXiv 2401.12233."""
    return highest(scores, uids, n_keep)


def bottom(scores: np.ndarray, uids: pa.Array, n_keep: int, seed: int) -> np.ndarray:
    """Keep the n least memorized, the last ones by rank.

    As ``drop-top`` it is what the removal runs of the paper keep; that name says which number the
    user thinks of.
    """
    return ~highest(scores, uids, len(scores) - n_keep)


def random(scores: np.ndarray, uids: pa.Array, n_keep: int, seed: int) -> np.ndarray:
    """Keep the n smallest hashes of (seed, uid), the control of every other strategy.

    Selections of one seed are nested: a smaller one is part of a larger one.
    """
    hashes = hash_strings(randomness.stream(seed, "select", "random"), uids)
    return highest(~hashes, uids, n_keep)


STRATEGIES: dict[str, Strategy] = {
    "top": top,
    "drop-top": bottom,
    "bottom": bottom,
    "random": random,
}
"""Strategies by name."""


def choose(
    strategy: str, scores: np.ndarray, uids: np.ndarray | pa.Array, n_keep: int, seed: int
) -> np.ndarray:
    """Return which samples ``strategy`` keeps, (N,) bool with exactly ``n_keep`` True.

    The choice depends on scores and uids alone, not on their order; ties go by uid, as ranks do.

    Args:
        strategy: A name in ``STRATEGIES``.
        scores: (N,) float64, no NaN, higher = more memorized.
        uids: (N,) distinct strings.
        n_keep: How many to keep, 1 to N; ``drop-top`` drops the other N - n_keep.
        seed: Seed of the strategies that draw.

    Raises:
        UsageError: For an unknown strategy, or an ``n_keep`` that is not in 1..N.
        DataError: If a score is missing.
    """
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
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
    return STRATEGIES[strategy](scores, uids, n_keep, seed)


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
    chosen: np.ndarray = values > cut
    ties = np.flatnonzero(values == cut)
    if uids is not None:
        ties = ties[order_of_texts(uids.take(pa.array(ties)))]
    chosen[ties[: n - int(chosen.sum())]] = True
    return chosen


def hash_strings(key: int, texts: pa.Array) -> np.ndarray:
    """Hash strings of any length under a 64-bit key, (N,) uint64.

    Tables from elsewhere have uids that are not ours, so that nothing is assumed of their form.
    """
    state = np.full(len(texts), key, dtype=np.uint64)
    for lane in range(-(-longest(texts) // WORD)):
        word = words(texts, lane).byteswap()
        # The padding of a short string is skipped: its hash must not depend on the longest one.
        state = np.where(word == 0, state, randomness.mix(state ^ randomness.hash64(key, word)))
    return state
