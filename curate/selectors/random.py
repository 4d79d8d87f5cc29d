"""random: keep n at random, the control that every other strategy is compared with."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.records.ordering import WORD, words
from curate.records.sample import longest
from curate.runtime import randomness
from curate.selectors.base import highest


def select(scores: np.ndarray, uids: pa.Array, n_keep: int, seed: int) -> np.ndarray:
    """Return keep (N,) bool: the ``n_keep`` smallest hashes of (seed, uid).

    Selections of one seed are nested: a smaller one is part of a larger one.
    """
    hashes = hash_strings(randomness.stream(seed, "select", "random"), uids)
    return highest(~hashes, uids, n_keep)


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
