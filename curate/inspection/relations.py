"""What memorization goes with: rank correlations with intervals, and labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import stats

from curate.inspection.summary import LabelMean, Relation
from curate.runtime.intervals import correlation_interval

RELATIONS = {
    "outlier_score": "mean distance to the nearest neighbours",
    "local_outlier_factor": "local outlier factor: how much less dense than around its neighbours",
    "label_frequency": "how many samples have its label",
    "label_agreement": "share of the neighbours with its label",
    "size": "pixels of the image, width times height",
    "brightness": "mean luma",
    "contrast": "standard deviation of luma",
    "sharpness": "variance of the Laplacian of luma",
    "file_size": "bytes of the file",
    "aspect": "width over height",
}
"""What memorization is correlated with."""


def correlations(
    memorization: np.ndarray, columns: Mapping[str, np.ndarray]
) -> dict[str, Relation]:
    """Correlate memorization with other columns.

    Args:
        memorization: (N,) float64, NaN without a score.
        columns: (N,) each by a name in ``RELATIONS``, NaN where unknown.

    Returns:
        A correlation by name, its interval from Fisher's z with the variance of Bonett & Wright
        2000. A column that is constant, or known of fewer than five samples, is left out.
    """
    by_name = {}
    for name, column in columns.items():
        values = np.asarray(column, dtype=np.float64)
        both = np.isfinite(memorization) & np.isfinite(values)
        x, y, n = memorization[both], values[both], int(both.sum())
        if n < 5 or not np.ptp(x) > 0 or not np.ptp(y) > 0:
            continue
        r = float(stats.spearmanr(x, y).statistic)
        low, high = correlation_interval("spearman", r, n)
        by_name[name] = Relation(r, low, high, n, RELATIONS[name])
    return by_name


def frequency(labels: np.ndarray) -> np.ndarray:
    """Return how many samples have each one's label, (N,), NaN without one (-1)."""
    _, which, count = np.unique(labels, return_inverse=True, return_counts=True)
    return np.where(labels < 0, np.nan, count[which])


def by_label(
    memorization: np.ndarray, labels: np.ndarray
) -> tuple[dict[str, LabelMean], float | None]:
    """Return memorization of each label, and how much of its variance lies between labels.

    Args:
        memorization: (N,) float64, NaN without a score.
        labels: (N,) int64, -1 for none.

    Returns:
        A mean with its standard error by label; and the share of the variance, epsilon squared
        (Kelley 1935), which is around 0 or a little below where labels tell nothing, None where
        it cannot be said.
    """
    defined = np.isfinite(memorization) & (labels >= 0)
    m, label = memorization[defined], labels[defined]
    names, which, count = np.unique(label, return_inverse=True, return_counts=True)
    if not len(names):
        return {}, None
    mean = np.bincount(which, m) / count
    within = np.bincount(which, (m - mean[which]) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        se = np.sqrt(within / (count - 1) / count)
    table = {
        str(name): LabelMean(int(n), float(a), float(b) if n > 1 else None)
        for name, n, a, b in zip(names, count, mean, se, strict=True)
    }
    total = float(((m - m.mean()) ** 2).sum())
    free = len(m) - len(names)
    if len(names) < 2 or free < 1 or not total > 0:
        return table, None
    return table, 1 - (float(within.sum()) / free) / (total / (len(m) - 1))
