"""Exact repeats: how often a digest was seen, in a table on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from curate.data.sample import base_uid, uid_of
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

    def count(self, digest: str) -> int:
        """Return how often a digest was given so far."""
        return int(self._counts[self._place(int(digest[:16], 16) or 1)])

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


class Uids:
    """Gives samples their uids: each once, and the one that a sample had already if it can be."""

    def __init__(self, folder: Path) -> None:
        """Begin; what is remembered lies in ``folder``, without a name."""
        self._folder = folder
        self._repeats = Repeats(folder)
        self._taken: Repeats | None = None

    def take(self, base: str, had: str | None = None) -> str:
        """Return the uid of a sample: ``base``, and of exact repeats ``-1``, ``-2``... behind it.

        Args:
            base: The uid of its content, 32 hex digits.
            had: The uid that it had in other shards; one of other content is no uid of it.

        Raises:
            ResourceError: If there is no room to remember it.
        """
        if had is not None and base_uid(had) == base and self._free(base, had):
            return had
        while True:
            number = self._repeats.number(base)
            uid = f"{base}-{number}" if number else base
            if self._taken is None or not self._taken.count(_digest(uid)):
                return uid

    def _free(self, base: str, had: str) -> bool:
        """Take a uid that a sample had, unless another has it; returns whether it could be."""
        number = had[len(base) + 1 :] or "0"
        if not number.isdecimal() or int(number) < self._repeats.count(base):
            return False
        if self._taken is None:
            self._taken = Repeats(self._folder)
        return not self._taken.number(_digest(had))


def _digest(uid: str) -> str:
    return uid_of(hashlib.sha256(uid.encode()).hexdigest())
