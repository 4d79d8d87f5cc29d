"""random: keep n at random, the control that every other strategy is compared with."""

from __future__ import annotations

import numpy as np

from curate import keyed
from curate.selectors.base import highest


def select(scores: np.ndarray, uids: np.ndarray, n_keep: int, seed: int) -> np.ndarray:
    """Return keep (N,) bool: the ``n_keep`` smallest hashes of (seed, uid).

    Selections of one seed are nested: a smaller one is part of a larger one.
    """
    hashes = hash_strings(keyed.stream(seed, "select", "random"), uids)
    return highest(~hashes, uids, n_keep)


def hash_strings(key: int, texts: np.ndarray) -> np.ndarray:
    """Hash strings of any length under a 64-bit key, (N,) uint64.

    Tables from elsewhere have uids that are not ours, so that nothing is assumed of their form.
    """
    try:
        packed = np.asarray(texts, dtype=np.bytes_)
    except UnicodeEncodeError:
        packed = np.char.encode(np.asarray(texts, dtype=np.str_), "utf-8")
    lanes = max(1, -(-packed.dtype.itemsize // 8))
    words = packed.astype(f"S{8 * lanes}").view("<u8").reshape(len(packed), lanes)
    state = np.full(len(packed), key, dtype=np.uint64)
    for lane in words.T:
        # The padding of a short string is skipped: its hash must not depend on the longest one.
        state = np.where(lane == 0, state, keyed.mix(state ^ keyed.hash64(key, lane)))
    return state
