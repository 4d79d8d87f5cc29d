"""p_top against the frequency over many draws of the score vector."""

import time

import numpy as np
import pytest

from curate.scores import top_probability
from curate.scores.top_probability import expected_overlap, luck, p_selected, p_top, shrunk

pytestmark = pytest.mark.numeric


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


def simulated(rng, n, signal, tail):
    """Return true scores, normal or with a heavy tail, what is found of them, and its errors."""
    truth = rng.normal(size=n) if tail is None else rng.gamma(tail, 1.0, n) / tail**0.5
    se = signal * rng.uniform(0.5, 1.5, n)
    return truth, truth + se * rng.normal(size=n), se


@pytest.mark.parametrize("tail", [None, 2.0])
@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_probabilities_are_those_with_which_samples_belong_to_the_top(noise, tail):
    """A reliability diagram: of samples given p, a share of p is among the truly highest."""
    n, size = 1500, 40_000
    rng = np.random.default_rng(5)
    truth, m, se = simulated(rng, size, noise, tail)
    cut = n * size // 10_000
    p = p_selected(m, se, cut)
    belongs = np.zeros(size, bool)
    belongs[np.argsort(-truth)[:cut]] = True
    bins = np.clip((p * 10).astype(int), 0, 9)
    for b in range(10):
        mine = bins == b
        if mine.sum() > 200:
            # A normal prior is a little off where the truth has a tail.
            off = 0.03 if tail is None else 0.13
            assert belongs[mine].mean() == pytest.approx(p[mine].mean(), abs=off), b
    chosen = np.argsort(-m)[:cut]
    wanted = belongs[chosen].mean()
    assert expected_overlap(m, se, cut) == pytest.approx(wanted, abs=0.02 if tail is None else 0.06)
    # Without shrinking, luck passes for merit.
    if noise >= 1:
        assert p_top(m, se, cut)[chosen].mean() > wanted + 0.05


def test_scores_that_are_all_error_say_nothing():
    rng = np.random.default_rng(6)
    m = rng.normal(size=500)
    p = p_selected(m, np.full(500, 1.2), 100)
    assert p == pytest.approx(np.full(500, 0.2))
    assert p_selected(m, np.full(500, 0.5), 100, reliability=-0.1) == pytest.approx(p)
    assert expected_overlap(m, np.full(500, 1.2), 100) == pytest.approx(0.2)


def test_certain_scores_stay_as_they_are():
    m = np.array([3.0, 1.0, 2.0])
    for se in (np.zeros(3), np.full(3, np.nan)):
        values, errors = shrunk(m, se)
        assert values.tolist() == m.tolist() and errors.tolist() == [0, 0, 0]
        assert p_selected(m, se, 1).tolist() == [1, 0, 0]
    assert p_selected(m[:1], np.ones(1), 1).tolist() == [1]


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


def test_keeping_none_or_all_leaves_nothing_to_chance():
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


@pytest.mark.parametrize("certain", [0.0, 0.3])
@pytest.mark.parametrize("n", [1, 40, 1000, 4990, 4999])
def test_a_threshold_found_from_a_part_first_is_the_same(monkeypatch, n, certain):
    rng = np.random.default_rng(4)
    m = np.concatenate([rng.normal(size=4000), rng.normal(30, 5, 1000)])
    se = rng.gamma(2.0, 0.2, size=5000) * (rng.uniform(size=5000) >= certain)
    wanted = p_top(m, se, n)
    monkeypatch.setattr(top_probability, "CHUNK", 300)
    np.testing.assert_allclose(p_top(m, se, n), wanted, atol=1e-8)


def test_the_shelf_offers_the_same_function():
    assert top_probability.p_top is p_top
