"""The estimator: from alignments and a plan to memorization scores with standard errors.

Notation: E encoders, N samples, K views; ``align[i, e]`` is the alignment loss of encoder e on
sample i (Eq. 1 of arXiv 2401.12233), ``inclusion[i, e]`` whether e was trained on i.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.runtime.files import on_disk
from curate.scores.plan import ADDED
from curate.scores.reliability import LeftOut
from curate.scores.standard_errors import (
    Prior,
    Spread,
    by_repeat,
    contrast,
    jackknife,
    side_mean,
    spread,
)


class OffsetFit:
    """Least squares fit of ``align[i, e] = a[i] + b[e] - c * inclusion[i, e]``, shard by shard.

    The samples' levels a are swept out by centring each sample over the encoders, so that only sums
    of length E are kept.
    """

    def __init__(self, n_encoders: int) -> None:
        self.n = 0
        self.y = np.zeros(n_encoders)
        self.z = np.zeros(n_encoders)
        self.yz = 0.0
        self.zz = 0.0

    def add(self, align: np.ndarray, inclusion: np.ndarray) -> None:
        """Add samples: ``align`` (n, E) float64, ``inclusion`` (n, E) bool."""
        z = inclusion.astype(np.float64)
        y = align - align.mean(axis=1, keepdims=True)
        z = z - z.mean(axis=1, keepdims=True)
        self.n += len(align)
        self.y += y.sum(axis=0)
        self.z += z.sum(axis=0)
        self.yz += float((y * z).sum())
        self.zz += float((z * z).sum())

    def offsets(self) -> np.ndarray:
        """Return b, (E,), summing to 0; all zero where no sample was added."""
        if not self.n:
            return np.zeros_like(self.y)
        y, z = self.y / self.n, self.z / self.n
        within = self.zz - self.n * float(z @ z)
        # Where every encoder's inclusion is constant over the samples (S_S and S_E only), c is not
        # identified and not needed.
        c = -(self.yz - self.n * float(y @ z)) / within if within > 1e-9 * max(self.n, 1) else 0.0
        b: np.ndarray = y + c * z
        b -= b.mean()
        return b


def calibrates(group: np.ndarray) -> np.ndarray:
    """Return which samples the offsets are estimated on, (N,) bool.

    Those that both encoders of a pair saw or neither did, where there are any: their difference
    contains no memorization. Else all of the plan's that some encoder may have seen.
    """
    neutral = np.isin(group, ["S", "E"])
    return neutral if np.isin(group, ["S"]).any() else group != ADDED


@dataclass(frozen=True)
class Estimate:
    """Scores of n samples; every field is (n,) float64, NaN where undefined.

    Attributes:
        memorization: Calibrated or raw, as asked; higher = more memorized.
        raw: Mean alignment over encoders not trained on the sample minus that over those that were.
        delta: ``align(g) - align(f)`` of a pair, offsets treated as in ``memorization``.
        align_in: Mean alignment over the encoders trained on the sample.
        align_out: Mean alignment over those that were not.
        n_in: How many were trained on it.
        n_out: How many were not.
        se_views: Standard error from the finite number of views.
        se_encoders: Standard error from the finite number of encoders, moderated by a prior.
        se: Both, what they share counted once.
        between: How the encoders scatter, each sample by itself.
        shared: What views do to all encoders of a side alike, a variance; below 0 by chance.
        contrasts: (n, R) what each repeat of the plan says alone, offsets removed.
    """

    memorization: np.ndarray
    raw: np.ndarray
    delta: np.ndarray
    align_in: np.ndarray
    align_out: np.ndarray
    n_in: np.ndarray
    n_out: np.ndarray
    se_views: np.ndarray
    se_encoders: np.ndarray
    se: np.ndarray
    between: Spread
    shared: np.ndarray
    contrasts: np.ndarray


def estimate(
    align: np.ndarray,
    leave_one_out: np.ndarray,
    inclusion: np.ndarray,
    offsets: np.ndarray,
    *,
    repeat: np.ndarray,
    calibrate: bool,
    pair: bool,
    prior: Prior | None = None,
) -> Estimate:
    """Return memorization scores and their standard errors.

    Args:
        align: (n, E) float64.
        leave_one_out: (n, E, K) alignments with view k left out (jackknife replicates); K of 0 or 1
            leaves ``se_views`` undefined.
        inclusion: (n, E) bool.
        offsets: (E,) from ``OffsetFit``.
        repeat: (E,) which repeat of the plan each encoder belongs to.
        calibrate: Whether ``memorization`` has the offsets removed.
        pair: Whether the encoders are f and g in turn, so that ``delta`` is defined.
        prior: What all samples together say of the scatter of encoders; None leaves each to itself.
    """
    level = align - offsets
    n_in = inclusion.sum(axis=1)
    n_out = inclusion.shape[1] - n_in
    raw = contrast(align, inclusion)
    calibrated = contrast(level, inclusion)
    used = level if calibrate else align
    delta = np.full(len(align), np.nan)
    if pair:
        delta = used[:, 1::2].mean(axis=1) - used[:, 0::2].mean(axis=1)
    se_views = jackknife(leave_one_out, inclusion)
    between = spread(level[:, :, None], inclusion, repeat)
    moderated = between if prior is None else prior.moderated(between)
    # What a view does to one encoder alone is part of the spread over encoders already and counts
    # once. Without the encoders' part the views' part is all that is known; it is a lower bound,
    # and ``reliability.encoders: null`` says so.
    shared = np.nan_to_num(se_views) ** 2 - _view_by_encoder(leave_one_out, inclusion, repeat)
    se = np.sqrt(np.nan_to_num(moderated.variance) + np.maximum(shared, 0.0))
    se[np.isnan(se_views) & np.isnan(moderated.variance)] = np.nan
    return Estimate(
        memorization=calibrated if calibrate else raw,
        raw=raw,
        delta=delta,
        align_in=side_mean(align, inclusion),
        align_out=side_mean(align, ~inclusion),
        n_in=n_in,
        n_out=n_out,
        se_views=se_views,
        se_encoders=np.sqrt(moderated.variance),
        se=se,
        between=between,
        shared=shared,
        contrasts=by_repeat(level, inclusion, repeat),
    )


def _view_by_encoder(
    leave_one_out: np.ndarray, inclusion: np.ndarray, repeat: np.ndarray
) -> np.ndarray:
    """Return the part of the views' variance that the spread over encoders contains, (n,).

    From the residuals of a two-way layout, encoders (or repeats) by views, of the jackknife's
    pseudo-values; 0 where there is no spread to see.
    """
    k = leave_one_out.shape[2]
    if k < 2:
        return np.zeros(len(leave_one_out))
    replicates = leave_one_out.astype(np.float64)
    effect = (k - 1) * (replicates.mean(axis=2, keepdims=True) - replicates)
    share: np.ndarray = np.nan_to_num(spread(effect, inclusion, repeat).variance / (k * (k - 1)))
    return share


def halves(
    align: np.ndarray,
    leave_one_out: np.ndarray,
    inclusion: np.ndarray,
    offsets: np.ndarray,
    *,
    repeat: np.ndarray,
    cells: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Return what half of the repeats and half of the views say each, (n, H, V) twice.

    Halves are the even and the odd ones, so that more repeats leave earlier ones where they are.
    What a view says is its jackknife pseudo-value: of anchored views its own distance.

    Args:
        align: (n, E) float64, and as in ``estimate`` what follows.
        leave_one_out: (n, E, K).
        inclusion: (n, E) bool.
        offsets: (E,), taken off the contrasts.
        repeat: (E,).
        cells: (H, V), how many halves there are of each: 2, or 1 for all.

    Returns:
        The contrasts, NaN where undefined, and the mean alignments over encoders.
    """
    k = leave_one_out.shape[2]
    contrasts, level = (np.empty((len(align), *cells)) for _ in range(2))
    for v in range(cells[1]):
        shown = align
        if cells[1] == 2:
            left_out = leave_one_out[:, :, v::2].astype(np.float64).mean(axis=2)
            shown = k * align - (k - 1) * left_out
        for h in range(cells[0]):
            mine = repeat % 2 == h if cells[0] == 2 else np.ones(len(repeat), dtype=bool)
            contrasts[:, h, v] = contrast(shown[:, mine] - offsets[mine], inclusion[:, mine])
            level[:, h, v] = shown[:, mine].mean(axis=1)
    return contrasts, level


class Errors:
    """Mean squares of the errors of the samples that have a score, shard by shard.

    Of variances that no prior has moved, and differences of them that may be below 0: means of such
    are right where those of moved or cut ones lean to one side.

    Attributes:
        n: Samples added.
        prior: What they say together of the scatter of encoders.
        left_out: What they say without each repeat of the plan in turn.
    """

    def __init__(self) -> None:
        self.n = 0
        self.prior = Prior()
        self.left_out = LeftOut()
        self._views = self._encoders = self._shared = 0.0

    def add(self, part: Estimate) -> None:
        """Add samples."""
        scored = ~np.isnan(part.memorization)
        self.n += int(scored.sum())
        self.prior.add(part.between)
        self.left_out.add(part.contrasts[scored])
        self._views += float((part.se_views[scored] ** 2).sum())
        self._encoders += float(part.between.variance[scored].sum())
        self._shared += float(part.shared[scored].sum())

    @property
    def views(self) -> float:
        """Mean square of ``se_views``; NaN where it is undefined for a sample."""
        return self._views / self.n if self.n else float("nan")

    @property
    def both(self) -> float:
        """Mean square of ``se``; NaN where one encoder a side leaves a sample's undefined."""
        return self._encoders / self.n + self.shared if self.n else float("nan")

    @property
    def shared(self) -> float:
        """Mean square of what views do to all encoders of a side alike; 0 without a sample."""
        return max(self._shared, 0.0) / self.n if self.n else 0.0


BLOCK = 2**13
"""Samples that are ranked at a time."""


def rank(memorization: np.ndarray, scratch: Path | None = None) -> np.ndarray:
    """Return ranks (N,) int64 of samples sorted by uid: 1 the most memorized, 0 where undefined.

    Ties go by uid. What is as long as the samples lies on disk, in the folder ``scratch``, or in
    memory where there is none.
    """

    def room(size: int, dtype: type) -> np.ndarray:
        return np.zeros(size, dtype) if scratch is None else on_disk(size, dtype, scratch)

    n = len(memorization)
    highest, out = room(n, np.float64), room(n, np.int64)
    np.negative(memorization, out=highest)
    highest.sort()  # in place; what is undefined comes last
    scored = int(np.searchsorted(highest, np.inf, side="right"))
    tied = room(scored, np.int32)  # at the first of equals, how many were ranked
    for start in range(0, n, BLOCK):
        block = -memorization[start : start + BLOCK]
        known = np.flatnonzero(~np.isnan(block))
        first = np.searchsorted(highest[:scored], block[known])
        order = np.argsort(first, kind="stable")
        places, begin, count = np.unique(first[order], return_index=True, return_counts=True)
        within = np.empty(len(order), dtype=np.int64)
        within[order] = np.arange(len(order)) - np.repeat(begin, count)
        out[start + known] = 1 + first + tied[first] + within
        tied[places] += count.astype(np.int32)
    return out
