"""Exact repeats: how often a digest was seen, in 16 bytes a digest."""

from __future__ import annotations

from collections import Counter

import numpy as np


class Repeats:
    """Counts digests of 32 hex digits.

    Those seen before lie in one sorted array, since a set of strings would take ten times the
    memory; the latest wait in a set until they are merged.
    """

    MERGE = 50_000

    def __init__(self) -> None:
        self._sorted = np.empty(0, dtype="S16")
        self._latest: set[bytes] = set()
        self._again: Counter[bytes] = Counter()

    def number(self, digest: str) -> int:
        """Return how often this digest was given before, and count it."""
        key = bytes.fromhex(digest)
        if key not in self._latest and not self._is_old(key):
            self._latest.add(key)
            if len(self._latest) >= self.MERGE:
                latest = np.array(sorted(self._latest), dtype="S16")
                places = np.searchsorted(self._sorted, latest)
                self._sorted = np.insert(self._sorted, places, latest)
                self._latest.clear()
            return 0
        self._again[key] += 1
        return self._again[key]

    def _is_old(self, key: bytes) -> bool:
        wanted = np.array(key, dtype="S16")
        place = int(np.searchsorted(self._sorted, wanted))
        return place < len(self._sorted) and bool(self._sorted[place] == wanted)
