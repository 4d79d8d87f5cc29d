"""digits: scikit-learn's 1,797 handwritten digits of 8 x 8 pixels, which need no download.

The first half is for training and the second for tests, as in scikit-learn's own example.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from curate.data.decoding import encode_png
from curate.data.sample import Entry
from curate.data.sources.base import Choice, Select, Whole, no_columns
from curate.data.splits import find

SPLITS = {"train": range(898), "test": range(898, 1797), "all": range(1797)}
"""Which digits each split has."""
LEVELS = 16
"""A pixel of the original counts the black ones of a 4 x 4 block."""


@dataclass(frozen=True)
class Digits(Whole):
    """One split of the digits."""

    split: str
    name: str = "digits"
    splits: tuple[str, ...] = tuple(SPLITS)
    classes: tuple[str, ...] = tuple("0123456789")
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def paths(self) -> Iterator[str]:
        """Return ``digits/0000.png`` and so on."""
        return (_path(i) for i in SPLITS[self.split])

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the digits as 8-bit grey PNG."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        pixels = np.rint(digits.images * (255 / LEVELS)).astype(np.uint8)
        for i in SPLITS[self.split]:
            if select is None or select(_path(i)):
                yield Entry(_path(i), encode_png(pixels[i]), int(digits.target[i]))


def _path(i: int) -> str:
    return f"digits/{i:04d}.png"


def open_digits(where: str, choice: Choice, data: Path | None) -> Digits:
    """Open the digits, which lie in scikit-learn wherever ``--data`` points."""
    no_columns("digits", choice)
    return Digits(find(choice.split, tuple(SPLITS), "digits"))
