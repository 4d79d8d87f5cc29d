"""Contrasts between encoders that were trained on a sample and those that were not, with errors.

Notation: n samples, E encoders, K views; ``values[i, e]`` belong to encoder e and sample i.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from curate.runtime.intervals import normal_quantile, t_quantile


def side_mean(values: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Return the mean of ``values`` (n, E, ...) over encoders in ``side`` (n, E); NaN for none."""
    mask = side.reshape(side.shape + (1,) * (values.ndim - 2))
    count = mask.sum(axis=1).astype(np.float64)
    total = np.where(mask, values, 0.0).sum(axis=1)
    mean = np.full(total.shape, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def contrast(values: np.ndarray, inclusion: np.ndarray) -> np.ndarray:
    """Return the mean over encoders without the sample minus the mean over those with it."""
    difference: np.ndarray = side_mean(values, ~inclusion) - side_mean(values, inclusion)
    return difference


def jackknife(leave_one_out: np.ndarray, inclusion: np.ndarray) -> np.ndarray:
    """Return the leave-one-view-out standard error of the contrast (Efron & Stein 1981), (n,).

    All encoders see the same views, so that the replicates are those of the contrast, not of each
    encoder on its own.

    Args:
        leave_one_out: (n, E, K) alignments without view k.
        inclusion: (n, E) bool.
    """
    n, _, k = leave_one_out.shape
    if k < 2:
        return np.full(n, np.nan)
    replicates = contrast(leave_one_out.astype(np.float64), inclusion)
    centred = replicates - replicates.mean(axis=1, keepdims=True)
    error: np.ndarray = np.sqrt((k - 1) / k * (centred**2).sum(axis=1))
    return error


@dataclass(frozen=True)
class Spread:
    """How encoders scatter around the contrasts of n samples.

    Attributes:
        unit: (n,) variance of one encoder, or of one repeat's contrast; NaN where unknown.
        factor: (n,) what that is multiplied by for the variance of the whole contrast.
        freedom: (n,) degrees of freedom that ``unit`` has, 0 where unknown.
    """

    unit: np.ndarray
    factor: np.ndarray
    freedom: np.ndarray

    @property
    def variance(self) -> np.ndarray:
        """Variance of the contrast, (n,)."""
        variance: np.ndarray = self.unit * self.factor
        return variance


def spread(values: np.ndarray, inclusion: np.ndarray, repeat: np.ndarray) -> Spread:
    """Return how much a contrast of ``values`` (n, E, V) varies with encoders, summed over V.

    Encoders of one repeat share initialisation, and a pair or fold of them the samples they were
    not trained on; what they share cancels in a contrast. Repeats are independent, so that with two
    or more of them the spread of their contrasts is what counts, and else that within the sides,
    pooled: a side with one encoder has none of its own.

    Args:
        values: (n, E, V) float64.
        inclusion: (n, E) bool.
        repeat: (E,) which repeat of the plan each encoder belongs to.
    """
    within = _within(values, inclusion)
    if len(np.unique(repeat)) < 2:
        return within
    contrasts = by_repeat(values, inclusion, repeat)
    known = ~np.isnan(contrasts).any(axis=2)
    n = known.sum(axis=1).astype(np.float64)
    centred = np.where(known[:, :, None], contrasts - side_mean(contrasts, known)[:, None], 0.0)
    total = (centred**2).sum(axis=(1, 2))
    several = n > 1
    return Spread(
        unit=np.divide(total, n - 1, out=within.unit, where=several),
        factor=np.divide(1.0, n, out=within.factor, where=several),
        freedom=np.where(several, n - 1, within.freedom),
    )


def by_repeat(values: np.ndarray, inclusion: np.ndarray, repeat: np.ndarray) -> np.ndarray:
    """Return the contrast of ``values`` (n, E, ...) that each repeat gives alone, (n, R, ...)."""
    mine = [repeat == r for r in np.unique(repeat)]
    return np.stack(
        [contrast(values[:, encoders], inclusion[:, encoders]) for encoders in mine], axis=1
    )


def _within(values: np.ndarray, inclusion: np.ndarray) -> Spread:
    """Return the spread within both sides, pooled; unknown where both have one, or one has none."""
    total, freedom, factor = np.zeros(len(values)), np.zeros(len(values)), np.zeros(len(values))
    for side in (inclusion, ~inclusion):
        count = side.sum(axis=1).astype(np.float64)
        centred = np.where(side[:, :, None], values - side_mean(values, side)[:, None], 0.0)
        total += (centred**2).sum(axis=(1, 2))
        freedom += count - 1
        factor += np.divide(1.0, count, out=np.full(len(values), np.nan), where=count > 0)
    known = (freedom > 0) & ~np.isnan(factor)
    return Spread(
        unit=np.divide(total, freedom, out=np.full(len(values), np.nan), where=known),
        factor=factor,
        freedom=np.where(known, freedom, 0.0),
    )


class Prior:
    """How the samples' variances are distributed, learned from all of them, shard by shard.

    A variance from a few encoders is hardly known: taken as it is, intervals of single samples are
    too narrow. Taking variances as scaled inverse chi-square, ``freedom * scale / chi2(freedom)``,
    tells how far each is to be moved to the others (moderated variances, Smyth 2004, section 6.2).
    """

    def __init__(self) -> None:
        self._n = 0
        self._sums = np.zeros(4)

    def add(self, observed: Spread) -> None:
        """Add samples."""
        known = (observed.freedom > 0) & (observed.unit > 0)
        half = observed.freedom[known] / 2
        log = np.log(observed.unit[known]) - special.digamma(half) + np.log(half)
        self._n += int(known.sum())
        self._sums += [log.sum(), (log**2).sum(), special.polygamma(1, half).sum(), 2 * half.sum()]

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the prior, 0 where nothing is known, inf where all are alike."""
        if self._n < 2:
            return 0.0
        mean, square, expected, _ = self._sums / self._n
        excess = (square - mean**2) * self._n / (self._n - 1) - expected
        return 2 * inverse_trigamma(excess) if excess > 0 else np.inf

    @property
    def scale(self) -> float:
        """Variance that samples are moved to."""
        if self._n < 2:
            return np.nan
        mean, half = self._sums[0] / self._n, self.freedom / 2
        return float(np.exp(mean + (special.digamma(half) - np.log(half) if half < 1e8 else 0.0)))

    @property
    def total_freedom(self) -> float:
        """Degrees of freedom that a moderated variance has, in the mean over samples."""
        return self.freedom + (float(self._sums[3]) / self._n if self._n else 0.0)

    @property
    def quantile(self) -> float:
        """How many standard errors a 95 % interval reaches to each side; 1.96 at least."""
        if not self._n:
            return normal_quantile()
        return t_quantile(self.total_freedom)

    def moderated(self, observed: Spread) -> Spread:
        """Return variances moved to the prior's, weighted by degrees of freedom."""
        d0, d = self.freedom, observed.freedom
        if np.isinf(d0):
            unit = np.where(d > 0, self.scale, np.nan)
        elif d0 > 0:
            unit = np.where(d > 0, (d0 * self.scale + d * observed.unit) / (d0 + d), np.nan)
        else:
            unit = observed.unit
        return Spread(unit, observed.factor, np.where(d > 0, d0 + d, 0.0))


def inverse_trigamma(y: float) -> float:
    """Return x with ``trigamma(x) = y`` > 0, by Newton's method (Smyth 2004, appendix)."""
    if y > 1e7:
        return float(1 / np.sqrt(y))
    if y < 1e-6:
        return 1 / y
    x = 0.5 + 1 / y
    for _ in range(50):
        value = special.polygamma(1, x)
        step = value * (1 - value / y) / special.polygamma(2, x)
        x += step
        if -step / x < 1e-10:
            break
    return float(x)
