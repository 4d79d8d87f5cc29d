"""Exact repeats: how often a digest was seen, in 12 bytes a digest."""

from __future__ import annotations

import bisect
from array import array

BUCKETS = 10
"""Bits of a digest that say where it lies: ten million digests make buckets of ten thousand, into
which one more is put in microseconds."""
WORD = 64


class Repeats:
    """Counts digests of 32 hex digits by their first 16.

    Two of ten million images share these by chance in one of 370,000 datasets, and then one of them
    has a suffix that it needs not. They lie sorted in many short arrays: a dictionary would take
    ten times the memory.
    """

    def __init__(self) -> None:
        self._words = [array("Q") for _ in range(2**BUCKETS)]
        self._counts = [array("I") for _ in range(2**BUCKETS)]

    def number(self, digest: str) -> int:
        """Return how often this digest was given before, and count it."""
        word = int(digest[:16], 16)
        words, counts = (held[word >> (WORD - BUCKETS)] for held in (self._words, self._counts))
        place = bisect.bisect_left(words, word)
        if place == len(words) or words[place] != word:
            words.insert(place, word)
            counts.insert(place, 0)
        counts[place] += 1
        return counts[place] - 1
