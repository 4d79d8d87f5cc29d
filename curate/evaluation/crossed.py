"""Crossed random effects: the difference between two arms, over seeds and over test images.

Notation: S seeds, I test images; ``gap[s, i]`` is 1 where only the first arm is right, -1 where
only the second is, 0 else. Seeds and images are crossed, and both are samples of many: ``gap[s, i]
= mean + seed[s] + image[i] + rest[s, i]`` (two-way random effects; Searle, Casella & McCulloch
1992, chapter 4; Owen 2007 resamples the same layout). With mean squares A of seeds, B of images and
E of the rest, ``(A + B - E) / (S I)`` estimates the variance of the mean gap without bias.

Its two parts have very different degrees of freedom, so that an interval reaches as far as
Banerjee's (1960; conservative for a sum of independent variances): ``half^2 = t(S - 1)^2 A / (S I)
+ t(I - 1)^2 max(B - E, 0) / (S I)`` with Student's quantiles. A counts as ``LEAST`` of E at least:
it is E or more in expectation, and gaps are whole numbers of images, so that a few seeds may agree
to the last image by luck. ``docs/benchmarks/coverage.py`` counts how often the truth is inside. Of
another measure than accuracy ``gap[s, i]`` is the difference of image i's parts of it
(``measures``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from curate.runtime.intervals import CONFIDENCE
from curate.runtime.results import Result

LEAST = 0.1
"""The least mean square of seeds, as a share of that of the rest. Of five seeds that have no effect
of their own, one in fifty is below."""


@dataclass(frozen=True)
class Paired(Result):
    """The mean difference between two arms, with what it is worth.

    Attributes:
        n: Seeds.
        n_test: Test images.
        mean: Accuracy minus the other's, -1 to 1, or such a difference of another measure.
        images: The same in test images, ``mean * n_test``; None for another measure.
        low: Where its 95 % interval begins, which counts seeds and images; None for one seed.
        high: Where it ends.
        se_seeds: Standard error from the finite number of seeds; None for one.
        se_images: Standard error from the choice of test images; None for one seed, where it cannot
            be told from chance in training.
        p: The level at which the interval would end at 0; None where there is no interval, or where
            it is a point.
    """

    n: int
    n_test: int
    mean: float
    images: float | None
    low: float | None
    high: float | None
    se_seeds: float | None
    se_images: float | None
    p: float | None


class Gaps:
    """Differences of two arms, gathered seed by seed; what is kept is as long as one test set."""

    def __init__(self) -> None:
        self._by_seed: list[float] = []
        self._by_image = np.zeros(0)
        self._squares = 0.0

    def add(self, first: np.ndarray, second: np.ndarray) -> float:
        """Take in how each arm did on test images with one seed; returns the mean gap.

        Args:
            first: (I,) bool, which images one arm had right, or float64, each image's part of a
                measure (``measures``).
            second: The same of the other.
        """
        gap = first.astype(np.float64) - second
        self._by_image = gap if not self._by_seed else self._by_image + gap
        self._squares += float(gap @ gap)
        self._by_seed.append(float(gap.mean()))
        return self._by_seed[-1]

    def paired(self) -> Paired:
        """Return the mean gap of one or more seeds, with its interval."""
        seeds, images = len(self._by_seed), len(self._by_image)
        mean = float(np.mean(self._by_seed))
        if seeds < 2 or images < 2:
            return Paired(seeds, images, mean, mean * images, None, None, None, None, None)
        of_seeds, of_images, residual = self.mean_squares()
        return interval(mean, seeds, images, of_seeds, of_images, residual)

    def mean_squares(self) -> tuple[float, float, float]:
        """Return those of seeds, of images, and of the rest; of two seeds and images at least."""
        seeds, images = len(self._by_seed), len(self._by_image)
        by_seed, by_image = np.array(self._by_seed), self._by_image / seeds
        mean = by_seed.mean()
        of_seeds = images * float(np.square(by_seed - mean).sum())
        of_images = seeds * float(np.square(by_image - mean).sum())
        residual = max(self._squares - seeds * images * mean**2 - of_seeds - of_images, 0.0)
        a, b = seeds - 1, images - 1
        return of_seeds / a, of_images / b, float(residual) / (a * b)


def interval(
    mean: float, seeds: int, images: int, of_seeds: float, of_images: float, residual: float
) -> Paired:
    """Return a mean gap with its interval.

    Args:
        mean: Of all gaps.
        seeds: S, two at least.
        images: I, two at least.
        of_seeds: Mean square of seeds, A.
        of_images: Mean square of images, B.
        residual: Mean square of what neither explains, E.
    """
    squares = (of_seeds, of_images, residual)
    se_seeds, se_images = standard_errors(seeds, images, *squares)

    def reach(level: float) -> float:
        return float(half_width(seeds, images, *squares, level=level))

    half, p = reach(1 - CONFIDENCE), None
    if half > 0:
        p = 1.0
        if mean:
            # Levels as logarithms: a difference that no seed doubts has a p of 1e-100.
            p = float(np.exp(_root(lambda log: reach(float(np.exp(log))) - abs(mean))))
    return Paired(
        n=seeds,
        n_test=images,
        mean=mean,
        images=mean * images,
        low=mean - half,
        high=mean + half,
        se_seeds=float(se_seeds),
        se_images=float(se_images),
        p=p,
    )


def half_width(
    seeds: int,
    images: int,
    of_seeds: ArrayLike,
    of_images: ArrayLike,
    residual: ArrayLike,
    *,
    level: float = 1 - CONFIDENCE,
) -> np.ndarray:
    """Return how far intervals reach from the mean gap; mean squares may be arrays of one shape.

    Args:
        seeds: As in ``interval``, and so are the mean squares.
        images: As there.
        of_seeds: As there.
        of_images: As there.
        residual: As there.
        level: The share of intervals that are to miss the truth.
    """
    by_seeds, by_images = standard_errors(seeds, images, of_seeds, of_images, residual)
    t_seeds, t_images = (float(stats.t.isf(level / 2, n - 1)) for n in (seeds, images))
    # At levels near 0 scipy's are infinite, and 0 of them is 0 all the same.
    with np.errstate(invalid="ignore"):
        reaches = [
            np.where(np.equal(by, 0), 0.0, t * by)
            for t, by in ((t_seeds, by_seeds), (t_images, by_images))
        ]
    return np.hypot(*reaches)


def standard_errors(
    seeds: int, images: int, of_seeds: ArrayLike, of_images: ArrayLike, residual: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Return those that seeds and that images give the mean gap, from mean squares."""
    least = np.multiply(LEAST, residual)
    by_seeds = np.maximum(of_seeds, least) / (seeds * images)
    by_images = np.maximum(np.subtract(of_images, residual), 0.0) / (seeds * images)
    return np.sqrt(by_seeds), np.sqrt(by_images)


def _root(excess: Callable[[float], float]) -> float:
    """Return where a function of the logarithm of a level falls to 0, -600 at least."""
    low, high = -600.0, 0.0
    if excess(low) <= 0:
        return low
    return float(optimize.brentq(excess, low, high, xtol=1e-10))
