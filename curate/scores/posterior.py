"""The posterior: what is to be expected of a sample's memorization, given all that is known of it.

Empirical Bayes with covariates (Fay & Herriot 1979): a sample's own estimate has a weight of about
``tau^2 / (tau^2 + se^2)``, a prediction from covariates the rest, where ``tau^2`` is the variance
of the truth around the prediction. What is estimated and what foretells it must not share noise:

- Over samples: ridge regressions foretell a fold of the samples from all others, and samples that
  look alike are in one fold.
- Over encoders and views: estimates and covariates are split into cells, halves of the repeats by
  halves of the views, and the estimates of a cell are foretold by the covariates of the opposite
  one. The prediction is the mean over cells. What noise it does share with the whole estimate, by
  the way of the mean, shows in how both differ between cells, and the weights allow for it.

The variances of truth and noise around a prediction may rise with it, as straight lines: they do so
where few samples are memorized much, and intervals in the upper tail would else be too narrow.

Memory is bounded by blocks of samples: regressions keep normal equations alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from scipy import stats

from curate.runtime.files import on_disk
from curate.scores.summary import Expectation

BLOCK = 2**13
"""Samples that are worked on at a time."""
CLIP = 4.0
"""Covariates are cut at so many standard deviations: their squares would else follow a few."""
PENALTIES = 10.0 ** np.arange(-5.0, 2.5, 0.5)
"""Ridge penalties that are tried, for each sample."""
LEAST_NOISE, LEAST_TRUTH = 0.3, 0.1
"""Variances fall to no less than this share of their mean, wherever a line leads."""
MOST_SLOPE = 2.0
MOST_SHARED = 0.45
"""Share of an estimate's noise that may be taken to be in its prediction as well."""
FEWEST = 40
"""Samples with an estimate below which nothing is learned from covariates."""

Covariates = Callable[[slice, tuple[int, int]], np.ndarray]
"""(rows, cell) -> (n, P) covariates of samples as they were measured in a cell."""


@dataclass(frozen=True)
class Estimates:
    """What was measured of N samples.

    Attributes:
        whole: (N,) memorization, NaN where undefined.
        se: (N,) its standard errors, moderated; NaN where undefined.
        variance: (N,) squares of the errors, each sample by itself; below 0 by chance.
        cells: (N, H, V) the same from halves of repeats and of views alone, NaN where undefined;
            1 where there are no halves.
    """

    whole: np.ndarray
    se: np.ndarray
    variance: np.ndarray
    cells: np.ndarray


@dataclass(frozen=True)
class Posterior:
    """What is to be expected of N samples; NaN where they have no estimate.

    Attributes:
        expected: (N,) posterior means of memorization, in its unit; higher = more memorized.
        expected_se: (N,) their standard errors.
        weight: (N,) weight of a sample's own estimate, in [0, 1].
        facts: How they were made.
    """

    expected: np.ndarray
    expected_se: np.ndarray
    weight: np.ndarray
    facts: Expectation


def posterior(
    estimates: Estimates,
    covariates: Covariates,
    folds: np.ndarray,
    *,
    names: tuple[str, ...] = (),
    note: str = "",
    scratch: Path | None = None,
) -> Posterior:
    """Return what is to be expected of samples, given their estimates and covariates.

    Args:
        estimates: What was measured.
        covariates: What foretells it; without a column each sample is moved to the mean.
        folds: (N,) int, samples of one number are foretold by those of all others.
        names: Of the covariates, and ``note``, what else there is to say of them.
        note: As above.
        scratch: Folder in which arrays as long as the samples lie; None holds them in memory.
    """
    n = len(estimates.whole)

    def room(*more: int) -> np.ndarray:
        shape = (n, *more)
        return np.zeros(shape) if scratch is None else on_disk(shape, np.float64, scratch)

    halves, views = estimates.cells.shape[1:]
    predicted, penalties = room(halves, views), {}
    for h, v in np.ndindex(halves, views):
        # The opposite cell shares neither repeats nor views, where there are halves of them.
        penalties[h, v] = cross_fit(
            estimates.cells[:, halves - 1 - h, views - 1 - v],
            partial(_of_cell, covariates, (h, v)),
            folds,
            out=predicted[:, h, v],
        )
    return _combined(
        estimates, predicted, room, names, note, float(np.median([*penalties.values()]))
    )


def _of_cell(covariates: Covariates, cell: tuple[int, int], rows: slice) -> np.ndarray:
    """Return the covariates of some rows in one cell."""
    return covariates(rows, cell)


def cross_fit(
    target: np.ndarray,
    covariates: Callable[[slice], np.ndarray],
    folds: np.ndarray,
    *,
    out: np.ndarray,
) -> float:
    """Foretell each sample by a ridge regression on the samples of the other folds.

    Covariates are standardised, cut at ``CLIP``, and squared as well; the penalty is the one that
    foretells held-out folds best.

    Args:
        target: (N,) what is foretold, NaN where unknown.
        covariates: Gives (n, P) of some rows.
        folds: (N,) int.
        out: (N,) is filled with predictions, of all samples.

    Returns:
        The penalty, for each sample.
    """
    numbers = np.unique(folds)
    scale = _Scale(len(target), covariates)
    known_N = ~np.isnan(target)
    if known_N.sum() < FEWEST or not scale.varies.any() or len(numbers) < 2:
        out[:] = np.mean(target[known_N]) if known_N.any() else np.nan
        return float(PENALTIES[-1])
    sums = {
        fold: np.zeros((2 * scale.columns + 2, 2 * scale.columns + 2)) for fold in numbers.tolist()
    }
    for rows in blocks(len(target)):
        known = known_N[rows]
        design = np.column_stack([scale.of(rows)[known], target[rows][known]])
        here = folds[rows][known]
        for fold in np.unique(here).tolist():
            mine = design[here == fold]
            sums[fold] += mine.T @ mine
    total = np.sum([*sums.values()], axis=0)
    solved = {fold: _ridges(total - of_fold) for fold, of_fold in sums.items()}
    errors = np.sum([_squares(of_fold, solved[fold]) for fold, of_fold in sums.items()], axis=0)
    best = int(errors.argmin())
    for rows in blocks(len(target)):
        design = scale.of(rows)
        for fold in np.unique(folds[rows]).tolist():
            mine = np.flatnonzero(folds[rows] == fold)
            out[rows.start + mine] = design[mine] @ solved[fold][best]
    return float(PENALTIES[best])


class _Scale:
    """Covariates as regressions read them: 1, standardised and cut, and squares of that."""

    def __init__(self, n: int, covariates: Callable[[slice], np.ndarray]) -> None:
        self._covariates = covariates
        count, total, squares, shift = 0.0, 0.0, 0.0, None
        for rows in blocks(n):
            x = np.asarray(covariates(rows), dtype=np.float64)
            shift = np.nan_to_num(x[0]) if shift is None else shift
            known = np.isfinite(x)
            x = np.where(known, x - shift, 0.0)
            count, total = count + known.sum(axis=0), total + x.sum(axis=0)
            squares = squares + (x**2).sum(axis=0)
        count = np.maximum(count, 1)
        self.mean = np.zeros(0) if shift is None else shift + total / count
        deviation = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0))
        self.varies = np.atleast_1d(deviation > 1e-9 * np.maximum(np.abs(self.mean), 1e-9))
        self.deviation = np.where(self.varies, deviation, 1.0)
        self.columns = len(self.mean)

    def of(self, rows: slice) -> np.ndarray:
        """Return the design of some rows, (n, 1 + 2 P)."""
        x = np.asarray(self._covariates(rows), dtype=np.float64)
        z = np.where(self.varies, (x - self.mean) / self.deviation, 0.0)
        z = np.clip(np.nan_to_num(z), -CLIP, CLIP)
        return np.column_stack([np.ones(len(z)), z, z**2])


def _ridges(sums: np.ndarray) -> list[np.ndarray]:
    """Return the coefficients for each of ``PENALTIES`` from sums of products with the target."""
    n = sums[0, 0]
    mean = sums[0, 1:-1] / n
    gram = sums[1:-1, 1:-1] - n * np.outer(mean, mean)
    level = sums[0, -1] / n
    values, vectors = np.linalg.eigh(gram)
    along = vectors.T @ (sums[1:-1, -1] - n * mean * level)
    coefficients = []
    for penalty in PENALTIES:
        slopes = vectors @ (along / (np.maximum(values, 0.0) + penalty * n))
        coefficients.append(np.append(level - mean @ slopes, slopes))
    return coefficients


def _squares(sums: np.ndarray, solved: list[np.ndarray]) -> np.ndarray:
    """Return the sum of squared errors of each solution on the samples of some sums."""
    gram, with_target = sums[:-1, :-1], sums[:-1, -1]
    return np.array([b @ gram @ b - 2 * b @ with_target + sums[-1, -1] for b in solved])


def _combined(
    estimates: Estimates,
    predicted: np.ndarray,
    room: Callable[..., np.ndarray],
    names: tuple[str, ...],
    note: str,
    penalty: float,
) -> Posterior:
    """Weigh estimates and predictions."""
    sums = _Moments()
    for rows in blocks(len(estimates.whole)):
        sums.add(_known(estimates, predicted, rows))
    # The mean of predictions from halves varies less than it should: a slope puts that right.
    slope, level = 0.0, sums.mean("m")
    if sums.variance("p") > 1e-12 * sums.variance("m"):
        slope = (sums.covariance("m", "p") - sums.shared()) / sums.variance("p")
        slope = float(np.clip(slope, 0.0, MOST_SLOPE))
    centre, spread = sums.mean("p"), float(np.sqrt(max(sums.variance("p"), 1e-300)))

    def foretold(rows: slice) -> tuple[np.ndarray, np.ndarray]:
        p = predicted[rows].mean(axis=(1, 2)) - centre
        return level + slope * p, np.clip(p / spread, -CLIP, CLIP)

    by_itself, moderated, residual = (_Line() for _ in range(3))
    for rows in blocks(len(estimates.whole)):
        known = _scored(estimates, rows)
        z = foretold(rows)[1][known]
        by_itself.add(z, estimates.variance[rows][known])
        moderated.add(z, estimates.se[rows][known] ** 2)

    def noise(rows: slice, z: np.ndarray) -> np.ndarray:
        """Moderation moves every sample to one variance; a line puts back what goes with z."""
        ratio = by_itself.at(z, LEAST_NOISE) / np.maximum(moderated.at(z, LEAST_NOISE), 1e-300)
        variance: np.ndarray = np.maximum(estimates.se[rows] ** 2 * ratio, 1e-300)
        return variance

    squared = max(by_itself.mean, 1e-300)
    share = float(np.clip(slope * sums.shared() / squared, -MOST_SHARED, MOST_SHARED))
    for rows in blocks(len(estimates.whole)):
        known = _scored(estimates, rows)
        mean, z = (values[known] for values in foretold(rows))
        variance = noise(rows, foretold(rows)[1])[known]
        residual.add(z, (estimates.whole[rows][known] - mean) ** 2 - (1 - 2 * share) * variance)
    truth = residual.positive()
    expected, error, weight = room(), room(), room()
    left = 0.0
    for rows in blocks(len(estimates.whole)):
        mean, z = foretold(rows)
        variance, tau = noise(rows, z), truth.at(z, LEAST_TRUTH)
        w = np.clip((tau - share * variance) / (tau + (1 - 2 * share) * variance), 0.0, 1.0)
        square = w**2 * variance + (1 - w) ** 2 * tau + 2 * w * (1 - w) * share * variance
        value = w * estimates.whole[rows] + (1 - w) * mean
        unknown = ~_scored(estimates, rows)
        for out, values in (
            (expected, value),
            (error, np.sqrt(np.maximum(square, 0))),
            (weight, w),
        ):
            out[rows] = np.where(unknown, np.nan, values)
        left += float(square[~unknown].sum())
    true = sums.variance("m") - by_itself.mean
    n = max(sums.n, 1)
    facts = Expectation(
        covariates=names,
        reliability=float(1 - left / n / true) if true > left / n and sums.n > 1 else None,
        own_weight=float(np.nanmean(weight)) if sums.n else None,
        residual_sd=float(np.sqrt(truth.mean)) if sums.n else None,
        slope=slope,
        shared_noise=share,
        penalty=penalty,
        cells=(estimates.cells.shape[1], estimates.cells.shape[2]),
        note=note,
    )
    return Posterior(expected, error, weight, facts)


def prior(expected: np.ndarray, memorization: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return what covariates alone foretell of samples: posterior means without own estimates.

    ``expected = weight * memorization + (1 - weight) * prior`` (Fay & Herriot 1979), solved for the
    last.

    Args:
        expected: (N,) posterior means; NaN where unknown.
        memorization: (N,) own estimates, in the same unit.
        weight: (N,) of these, in [0, 1].

    Returns:
        (N,) in the unit of memorization, higher = more; NaN where unknown, or where the own
        estimate is all that counts.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        foretold = (expected - weight * memorization) / (1 - weight)
    return np.where(weight < 1, foretold, np.nan)


def blocks(n: int) -> Iterator[slice]:
    """Yield the rows of n samples a block at a time."""
    for start in range(0, n, BLOCK):
        yield slice(start, min(start + BLOCK, n))


def _scored(estimates: Estimates, rows: slice) -> np.ndarray:
    """Return which samples have an estimate and an error, (n,) bool."""
    known: np.ndarray = np.isfinite(estimates.whole[rows]) & np.isfinite(estimates.se[rows])
    return known


def _known(estimates: Estimates, predicted: np.ndarray, rows: slice) -> dict[str, np.ndarray]:
    """Return estimates and predictions of the samples that have both, and how cells differ.

    ``m`` and ``p`` are the whole estimate and prediction; ``m0`` and ``p0`` their differences
    between halves of the repeats, ``m1`` and ``p1`` between halves of the views, ``m2`` and ``p2``
    those of both.
    """
    known = _scored(estimates, rows)
    out = {"m": estimates.whole[rows][known], "p": predicted[rows][known].mean(axis=(1, 2))}
    for name, cells in (("m", estimates.cells[rows][known]), ("p", predicted[rows][known])):
        if cells.shape[1] == 2:
            out[f"{name}0"] = (cells[:, 0] - cells[:, 1]).mean(axis=1)
        if cells.shape[2] == 2:
            out[f"{name}1"] = (cells[:, :, 0] - cells[:, :, 1]).mean(axis=1)
        if cells.shape[1:] == (2, 2):
            out[f"{name}2"] = (
                cells[:, 0, 0] - cells[:, 1, 0] - cells[:, 0, 1] + cells[:, 1, 1]
            ) / 2
    return out


class _Moments:
    """Means and products of columns, block by block."""

    def __init__(self) -> None:
        self.n = 0
        self._columns: list[str] = []
        self._total = self._products = np.zeros(0)
        self._shift = np.zeros(0)
        self._paired = 0

    def add(self, values: Mapping[str, np.ndarray]) -> None:
        """Add samples; differences between cells that are not known count as 0."""
        if not len(values["m"]):
            return
        x = np.column_stack([*values.values()])
        if not self._columns:
            self._columns = list(values)
            self._shift = np.where(np.isfinite(x[0]), x[0], 0.0)
            self._total = np.zeros(x.shape[1])
            self._products = np.zeros((x.shape[1], x.shape[1]))
        self._paired += int(np.isfinite(x).all(axis=1).sum())
        x = np.where(np.isfinite(x), x - self._shift, 0.0)
        self.n += len(x)
        self._total += x.sum(axis=0)
        self._products += x.T @ x

    def mean(self, name: str) -> float:
        """Return the mean of a column; 0 without samples."""
        if not self.n:
            return 0.0
        i = self._columns.index(name)
        return float(self._shift[i] + self._total[i] / self.n)

    def covariance(self, a: str, b: str) -> float:
        """Return the covariance of two columns; 0 where there are none."""
        if a not in self._columns or b not in self._columns or self.n < 2:
            return 0.0
        i, j = self._columns.index(a), self._columns.index(b)
        return float(self._products[i, j] - self._total[i] * self._total[j] / self.n) / (self.n - 1)

    def variance(self, name: str) -> float:
        """Return the variance of a column."""
        return self.covariance(name, name)

    def shared(self) -> float:
        """Return the covariance of the noise of whole estimates and whole predictions.

        From cells in halves of repeats and views: the mean of two halves has a quarter of the
        variance of their difference; what differs between both kinds of halves is in either.
        """
        if not self._paired:
            return 0.0
        parts = [self.covariance(f"m{k}", f"p{k}") for k in range(3)]
        return (parts[0] + parts[1] - parts[2]) / 4 * self.n / self._paired


class _Line:
    """A straight line through (z, v), block by block; its slope is shrunk by its own error."""

    def __init__(self) -> None:
        self._sums = np.zeros(8)

    def add(self, z: np.ndarray, v: np.ndarray) -> None:
        """Add points."""
        terms = (np.ones_like(z), z, z**2, v, z * v, v**2)
        self._sums[:6] += [term.sum() for term in terms]

    @property
    def n(self) -> float:
        """How many points there are, at least 1."""
        return max(float(self._sums[0]), 1.0)

    @property
    def mean(self) -> float:
        """Mean of v."""
        return float(self._sums[3] / self.n)

    @property
    def error(self) -> float:
        """Standard error of the mean of v."""
        return float(np.sqrt(max(self._sums[5] / self.n - self.mean**2, 0.0) / self.n))

    @property
    def slope(self) -> float:
        """Change of v with z, times how sure it is: 0 where chance explains it."""
        middle = self._sums[1] / self.n
        wide = self._sums[2] / self.n - middle**2
        if wide < 1e-9:
            return 0.0
        slope = (self._sums[4] / self.n - middle * self.mean) / wide
        chance = self.error**2 / wide
        return float(slope * max(0.0, 1 - chance / slope**2)) if slope else 0.0

    def at(self, z: np.ndarray, least: float) -> np.ndarray:
        """Return the line at z, at least a share of the mean."""
        middle = float(self._sums[1] / self.n)
        return np.maximum(self.mean + self.slope * (z - middle), least * self.mean)

    def positive(self) -> _Line:
        """Return the line with a mean that is not below 0, as a variance is.

        The mean of the normal distribution of what it may be, cut at 0: the found one where that is
        clear, and a part of its error where it came out at 0 or below.
        """
        mean, error = self.mean, self.error
        if error > 0:
            t = mean / error
            up = mean + error * float(np.exp(stats.norm.logpdf(t) - stats.norm.logcdf(t)))
        else:
            up = max(mean, 0.0)
        line = _Line()
        line._sums[:] = self._sums
        line._sums[3] += (up - mean) * self.n
        line._sums[4] += (up - mean) * self._sums[1]
        line._sums[5] += (up**2 - mean**2) * self.n
        return line
