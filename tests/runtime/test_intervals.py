"""Intervals are those of textbooks and of scipy."""

import numpy as np
import pytest
from scipy import stats

from curate.runtime.intervals import correlation_interval, half_width, normal_quantile, t_quantile

pytestmark = pytest.mark.numeric


def test_quantiles_are_those_of_tables():
    assert normal_quantile() == pytest.approx(1.959964, abs=1e-6)
    assert t_quantile(1) == pytest.approx(12.7062, abs=1e-4)
    assert t_quantile(np.inf) == pytest.approx(normal_quantile())


def test_the_interval_of_a_mean_is_scipys():
    values = np.random.default_rng(0).normal(size=7)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    half = half_width(float(values.std(ddof=1)), 7)
    assert (values.mean() - half, values.mean() + half) == pytest.approx((low, high))


def test_the_interval_of_a_correlation_is_scipys_and_finite_at_the_ends():
    x, y = np.random.default_rng(1).normal(size=(2, 40))
    found = stats.pearsonr(x, y)
    wanted = found.confidence_interval(0.95)
    assert correlation_interval("pearson", found.statistic, 40) == pytest.approx(tuple(wanted))
    for kind in ("kendall", "spearman", "pearson"):
        low, high = correlation_interval(kind, 1.0, 5)
        assert -1 < low < high <= 1
