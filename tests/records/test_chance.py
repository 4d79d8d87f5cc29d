"""p_top against the frequency over many draws of the score vector."""

import time

import numpy as np
import pytest

from curate.records import chance
from curate.records.chance import luck, p_top


def frequency(m, se, n, draws=4000):
    rng = np.random.default_rng(0)
    hits = np.zeros(len(m))
    for _ in range(draws):
        drawn = m + se * rng.normal(size=len(m))
        hits[np.argpartition(-drawn, n - 1)[:n]] += 1
    return hits / draws


@pytest.mark.parametrize("n", [40, 800, 1970])
def test_agrees_with_the_frequency_over_draws(n):
    rng = np.random.default_rng(1)
    m = rng.normal(size=2000)
    se = rng.uniform(0.3, 1.5, size=2000)
    p = p_top(m, se, n)
    assert p.sum() == pytest.approx(n, abs=1e-6)
    # 4 standard errors of a frequency over 4,000 draws, and what a known threshold leaves out.
    np.testing.assert_allclose(p, frequency(m, se, n), atol=4 * 0.5 / 4000**0.5 + 0.01)


@pytest.mark.parametrize("se", [0.0, np.nan])
def test_certain_scores_give_0_or_1(se):
    m = np.array([3.0, 1.0, 2.0, 1.0, 0.0])
    assert p_top(m, np.full(5, se), 3).tolist() == [1, 1, 1, 0, 0]
    assert p_top(np.zeros(5), np.full(5, se), 2).tolist() == [1, 1, 0, 0, 0]


def test_certain_and_uncertain_scores_mix():
    rng = np.random.default_rng(2)
    m = rng.normal(size=1000)
    se = np.where(np.arange(1000) % 2, 0.5, 0.0)
    p = p_top(m, se, 300)
    assert p.sum() == pytest.approx(300, abs=1e-6)
    assert (((p > 0) & (p < 1))[se == 0]).sum() <= 1
    drawn = frequency(m, se, 300)
    np.testing.assert_allclose(p[se > 0], drawn[se > 0], atol=4 * 0.5 / 4000**0.5 + 0.01)
    # The threshold is taken as known: certain scores within its own spread are off, and few are.
    assert (np.abs(p - drawn)[se == 0] > 0.05).mean() < 0.03


def test_all_or_nothing():
    m, se = np.array([1.0, 2.0]), np.array([1.0, 1.0])
    assert p_top(m, se, 0).tolist() == [0, 0]
    assert p_top(m, se, 2).tolist() == [1, 1]
    assert p_top(m[:0], se[:0], 0).tolist() == []


def test_equal_scores_share_equally():
    p = p_top(np.zeros(10), np.ones(10), 3)
    np.testing.assert_allclose(p, 0.3, atol=1e-9)
    assert luck(p) == pytest.approx(2.1)


def test_a_million_scores_take_seconds():
    rng = np.random.default_rng(3)
    m, se = rng.normal(size=10**6), rng.gamma(2.0, 0.2, size=10**6)
    start = time.perf_counter()
    p = p_top(m, se, 220_000)
    assert time.perf_counter() - start < 10
    assert p.sum() == pytest.approx(220_000, abs=1e-3)


def test_the_shelf_offers_the_same_function():
    assert chance.p_top is p_top
