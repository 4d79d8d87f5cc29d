"""Reliability without each repeat of a plan in turn: what its interval is made of.

Notation: n samples, R repeats; ``contrasts[i, r]`` is what repeat r says of sample i, and
memorization their mean.
"""

from __future__ import annotations

import numpy as np

from curate.runtime.intervals import t_quantile

LEAST_REPEATS = 3
"""Of which one can be left out: two remain, which a spread needs."""


class LeftOut:
    """Sums over samples, shard by shard, from which the jackknife over repeats follows.

    Reliability is ``1 - error / variance`` of memorization, so that for each repeat that is left
    out the mean error and the variance over samples of the others' mean are kept.
    """

    def __init__(self) -> None:
        self.repeats = 0
        self._n = self._sum = self._squares = self._error = np.zeros(0)

    def add(self, contrasts: np.ndarray) -> None:
        """Add samples: (n, R) float64, NaN where a repeat does not define a contrast."""
        known = ~np.isnan(contrasts)
        values = np.where(known, contrasts, 0.0)
        # Of the repeats that are left, R - 1 of them or, where this one says nothing, R.
        n = known.sum(axis=1, keepdims=True) - known.astype(np.float64)
        several = n > 1
        n = np.where(several, n, 2.0)
        mean = (values.sum(axis=1, keepdims=True) - values) / n
        square = np.square(values).sum(axis=1, keepdims=True) - np.square(values)
        error = np.maximum(square - n * mean**2, 0.0) / (n - 1) / n
        sums = (several, mean, mean**2, error)
        totals = [np.where(several, part, 0.0).sum(axis=0) for part in sums]
        if not self.repeats:
            self.repeats = contrasts.shape[1]
            self._n, self._sum, self._squares, self._error = totals
            return
        self._n = self._n + totals[0]
        self._sum = self._sum + totals[1]
        self._squares = self._squares + totals[2]
        self._error = self._error + totals[3]

    def reliabilities(self, shared: float) -> np.ndarray:
        """Return the reliability that all repeats are foretold to have by all but one, (R,).

        Args:
            shared: Mean square of the error that views make of all encoders alike, which more
                repeats do not lessen.
        """
        r = self.repeats
        with np.errstate(divide="ignore", invalid="ignore"):
            mean, error = self._sum / self._n, self._error / self._n
            variance = (self._squares - self._n * mean**2) / (self._n - 1)
            # One repeat more lessens the encoders' error, and the variance by as much.
            whole = variance - error / r
            return np.asarray(1 - (error * (r - 1) / r + shared) / whole)

    def interval(
        self, reliability: float, shared: float, confidence: float
    ) -> tuple[float, float] | None:
        """Return the interval of a reliability, ``t(R - 1)`` times its jackknife standard error.

        The jackknife over repeats (Efron & Stein 1981) sees what other encoders would change and
        keeps the images. It errs to the wide side, most where a ranking is noise: in simulations 96
        to 99 % of 95 % intervals hold the truth (``tests/scores/test_reliability.py``).

        Args:
            reliability: As it was found with all repeats.
            shared: As in ``reliabilities``.
            confidence: In (0, 1).

        Returns:
            Its ends; None for fewer than ``LEAST_REPEATS`` repeats, or where scores do not vary.
        """
        r = self.repeats
        if r < LEAST_REPEATS:
            return None
        jackknifed = self.reliabilities(shared)
        if not np.isfinite(jackknifed).all():
            return None
        error = np.sqrt((r - 1) / r * np.square(jackknifed - jackknifed.mean()).sum())
        reach = t_quantile(r - 1, confidence) * float(error)
        return reliability - reach, min(reliability + reach, 1.0)
