"""Intervals: how far from an estimate the truth may lie, at one level everywhere."""

from __future__ import annotations

import math

from scipy import stats

CONFIDENCE = 0.95
"""Share of intervals that hold the truth."""


def normal_quantile() -> float:
    """Return how many standard errors a two-sided interval reaches where their size is known."""
    return float(stats.norm.ppf((1 + CONFIDENCE) / 2))


def t_quantile(freedom: float, confidence: float = CONFIDENCE) -> float:
    """Return how many standard errors a two-sided interval reaches (Student 1908).

    Args:
        freedom: Degrees of freedom that the standard error was estimated with, above 0.
        confidence: Share of intervals that hold the truth.
    """
    return float(stats.t.ppf((1 + confidence) / 2, freedom))


def half_width(sd: float, n: int) -> float:
    """Return how far the t-interval of a mean of n > 1 values with deviation ``sd`` reaches."""
    return t_quantile(n - 1) * sd / math.sqrt(n)


def correlation_interval(kind: str, value: float, n: int) -> tuple[float, float]:
    """Return the interval of a correlation of n > 4 pairs, by Fisher's z.

    Args:
        kind: ``kendall`` (tau-b; variance after Fieller et al. 1957), ``spearman`` (after Bonett &
            Wright 2000) or ``pearson`` (Fisher 1921).
        value: The correlation, -1 to 1.
        n: Number of pairs.
    """
    variance = {
        "kendall": 0.437 / (n - 4),
        "spearman": (1 + value**2 / 2) / (n - 3),
        "pearson": 1 / (n - 3),
    }[kind]
    reach = normal_quantile() * math.sqrt(variance)
    middle = math.atanh(max(-1 + 1e-15, min(1 - 1e-15, value)))
    return math.tanh(middle - reach), math.tanh(middle + reach)
