"""Counter-based randomness: every draw is a pure function of (seed, purpose, sample, counter).

Nothing here has state, so a draw does not depend on batch size, order, worker or rank. The mixer is
SplitMix64's finalizer (Steele, Lea & Flood 2014), applied to key and counter in turn. The torch
version in ``views/draws.py`` computes the same bits on the device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

GAMMA = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB


def stream(seed: int, *purpose: str | int) -> int:
    """Return the 64-bit key of the stream of draws for ``(seed, *purpose)``."""
    text = "\x1f".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def seed_for(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for a generator that wants one number, e.g. ``torch.manual_seed``."""
    return stream(seed, *purpose) >> 1


def mix(keys: np.ndarray) -> np.ndarray:
    """Apply SplitMix64's finalizer to a uint64 array, elementwise."""
    z = keys.astype(np.uint64, copy=True)
    z ^= z >> np.uint64(30)
    z *= np.uint64(MIX_1)
    z ^= z >> np.uint64(27)
    z *= np.uint64(MIX_2)
    z ^= z >> np.uint64(31)
    return z


def hash64(key: int, keys: np.ndarray) -> np.ndarray:
    """Hash uint64 ``keys`` (any shape) under the 64-bit ``key``."""
    return mix(mix(keys.astype(np.uint64) + np.uint64(GAMMA)) ^ np.uint64(key))


def uid_keys(uids: Sequence[str] | np.ndarray, *, repeats: bool = False) -> np.ndarray:
    """Return one uint64 per uid, shape (N,), to key draws by.

    Args:
        uids: uids as ``records.sample.content_uid`` makes them, strings or bytes, with or without
            a repeat suffix.
        repeats: Whether exact repeats (``-1``, ``-2``...) get keys of their own. Scores leave it
            False, so that equal images see equal views.
    """
    packed = np.asarray(uids, dtype=np.bytes_)
    width = packed.dtype.itemsize
    letters = packed.view(np.uint8).reshape(len(packed), width) if len(packed) else None
    keys = np.zeros(len(packed), dtype=np.uint64)
    if letters is None:
        return keys
    assert width >= 16, "a uid is a hash in hex"
    for column in letters[:, :16].T:
        keys = keys << np.uint64(4) | np.where(column < ord("a"), column - 48, column - 87)
    if repeats and width > 33:
        again = np.flatnonzero(letters[:, 32])
        suffixes = [int(uid[33:]) for uid in packed[again].tolist()]
        keys[again] += np.array(suffixes, dtype=np.uint64) * np.uint64(GAMMA)
    return keys
