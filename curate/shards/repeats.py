"""Exact repeats: how often a digest was seen, in 12 bytes a digest."""

from __future__ import annotations

import bisect

import numpy as np


class Repeats:
    """Counts digests of 32 hex digits by their first 16.

    Two of ten million images share these by chance in one of 370,000 datasets, and then one of them
    has a suffix that it needs not. Those seen before lie in a sorted array, since a dictionary
    would take ten times the memory; the latest wait in one until they are merged.
    """

    MERGE = 4096
    SHARE = 64
    """Merged at a ``SHARE``-th of what there is, so that copying stays a small part of the work."""

    def __init__(self) -> None:
        self._words = np.empty(0, dtype=np.uint64)
        self._counts = np.empty(0, dtype=np.uint32)
        self._latest: dict[int, int] = {}

    def number(self, digest: str) -> int:
        """Return how often this digest was given before, and count it."""
        word = int(digest[:16], 16)
        # Not numpy's, which lets the decoding threads in at every search, and waits for its turn.
        place = bisect.bisect_left(self._words.data, word)
        if place < len(self._words) and self._words.data[place] == word:
            before = self._counts.data[place]
            self._counts.data[place] = before + 1
            return before
        before = self._latest.get(word, 0)
        self._latest[word] = before + 1
        if len(self._latest) >= max(self.MERGE, len(self._words) // self.SHARE):
            self._merge()
        return before

    def _merge(self) -> None:
        words = np.fromiter(self._latest.keys(), np.uint64, len(self._latest))
        counts = np.fromiter(self._latest.values(), np.uint32, len(self._latest))
        order = np.argsort(words)
        places = np.searchsorted(self._words, words[order])
        self._words = np.insert(self._words, places, words[order])
        self._counts = np.insert(self._counts, places, counts[order])
        self._latest.clear()
