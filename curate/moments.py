"""Means and variances of the scores of each group, added up block by block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Moments:
    """Moments of n values; those of parts add up (Chan, Golub & LeVeque 1983).

    Attributes:
        n: How many.
        mean: Their mean; 0 for none.
        squares: Sum of their squared distances from it.
        low: The least.
        high: The largest.
    """

    n: int
    mean: float
    squares: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Return the moments of (n,) numbers, n > 0."""
        mean = float(values.mean())
        squares = float(np.square(values - mean).sum())
        return cls(len(values), mean, squares, float(values.min()), float(values.max()))

    def __add__(self, other: Moments) -> Moments:
        if not (self.n and other.n):
            return self if self.n else other
        n, gap = self.n + other.n, other.mean - self.mean
        return Moments(
            n=n,
            mean=self.mean + gap * other.n / n,
            squares=self.squares + other.squares + gap**2 * self.n * other.n / n,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
        )

    @property
    def variance(self) -> float | None:
        """Of the population that they are a sample of."""
        return self.squares / (self.n - 1) if self.n > 1 else None

    @property
    def normalised_mean(self) -> float | None:
        """The paper's headline, ``mean(m) / (max m - min m)``, in [-1, 1]."""
        return self.mean / (self.high - self.low) if self.n and self.high > self.low else None

    def facts(self) -> dict[str, Any]:
        """Return n, mean and sd."""
        sd = None if self.variance is None else float(np.sqrt(self.variance))
        return {"n": self.n, "mean": self.mean if self.n else None, "sd": sd}


NOTHING = Moments(0, 0.0, 0.0, np.inf, -np.inf)
BLOCK = 2**14
"""Samples that are looked at a time: masks and copies of all would take more than the scores."""


def by_group(values: np.ndarray, group: np.ndarray) -> dict[str, Moments]:
    """Return the moments of the values of each group that are not NaN, where there are any."""
    found: dict[str, Moments] = {}
    for start in range(0, len(values), BLOCK):
        here, names = values[start : start + BLOCK], group[start : start + BLOCK]
        known = ~np.isnan(here)
        for name in np.unique(names[known]).tolist():
            part = Moments.of(here[known & (names == name)])
            found[name] = found.get(name, NOTHING) + part
    return found
