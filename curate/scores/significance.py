"""Which samples are memorized beyond chance, allowing for how many are looked at."""

from __future__ import annotations

import numpy as np
from scipy import stats

from curate.errors import UsageError


def check(fdr: float) -> None:
    """Check that a false discovery rate is one.

    Raises:
        UsageError: If it is not between 0 and 1.
    """
    if not 0 < fdr < 1:
        raise UsageError(f"fdr {fdr:g}: expected a share between 0 and 1, such as 0.05.")


def tests(m: np.ndarray, se: np.ndarray, *, freedom: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return p of ``m > 0`` for each sample, one-sided, and q, (N,) float64 in [0, 1].

    Args:
        m: (N,) memorization.
        se: (N,) standard errors; a score without error is judged by its sign.
        freedom: Degrees of freedom of ``se``; None for normal errors.

    Returns:
        p from Student's t, and the smallest false discovery rate at which each is found (Benjamini
        & Hochberg 1995), valid for samples whose errors are independent or positively dependent.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(se > 0, m / se, np.where(m > 0, np.inf, -np.inf))
    p = stats.norm.sf(t) if freedom is None else stats.t.sf(t, freedom)
    return p, stats.false_discovery_control(p) if len(p) else p
