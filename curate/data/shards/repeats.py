"""Exact repeats: how often a digest was seen, in a table on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from curate.runtime.files import on_disk

FIRST = 2**12
"""Places of the table at the start; it doubles whenever half of them are taken."""


class Repeats:
    """Counts digests of 32 hex digits by their first 16.

    Two of ten million images share these by chance in one of 370,000 datasets, and then one of them
    has a suffix that it needs not. A digest lies at the first free place from the one that it names
    itself (linear probing): digests are spread evenly, so that it is found in one or two looks.
    """

    def __init__(self, folder: Path) -> None:
        """Begin to count; the table lies in ``folder``, without a name."""
        self._folder, self._taken, self._size = folder, 0, FIRST
        self._make()

    def _make(self) -> None:
        words = on_disk(self._size, np.uint64, self._folder)
        counts = on_disk(self._size, np.uint32, self._folder)
        # Single places are read through a view ten times as fast as from an array.
        self._words, self._counts = words.data, counts.data

    def number(self, digest: str) -> int:
        """Return how often this digest was given before, and count it.

        Raises:
            ResourceError: If there is no room for a larger table.
        """
        word = int(digest[:16], 16) or 1  # 0 stands for a free place
        place = self._place(word)
        before: int = self._counts[place]
        self._words[place], self._counts[place] = word, before + 1
        if not before:
            self._taken += 1
            if 2 * self._taken > self._size:
                self._double()
        return before

    def _place(self, word: int) -> int:
        last, words = self._size - 1, self._words
        place = word & last
        while words[place] not in (0, word):
            place = (place + 1) & last
        return place

    def _double(self) -> None:
        words, counts = self._words, self._counts
        self._size *= 2
        self._make()
        for word, count in zip(words, counts, strict=True):
            if word:
                place = self._place(word)
                self._words[place], self._counts[place] = word, count
