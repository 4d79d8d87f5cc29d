"""What is said without each repeat is what the others would say, and its interval holds."""

import numpy as np
import pytest

from curate.scores.reliability import LeftOut

pytestmark = pytest.mark.numeric


def gathered(contrasts, parts=1):
    found = LeftOut()
    for part in np.array_split(contrasts, parts):
        found.add(part)
    return found


def reliability(contrasts, shared=0.0):
    """Return ``1 - error / variance`` of the mean over repeats, from its definition."""
    n = (~np.isnan(contrasts)).sum(axis=1)
    error = np.nanvar(contrasts, axis=1, ddof=1) / n
    return 1 - (error.mean() + shared) / np.nanmean(contrasts, axis=1).var(ddof=1)


@pytest.mark.parametrize("shared", [0.0, 0.1])
def test_each_repeat_is_left_out_in_turn(shared):
    random = np.random.default_rng(0)
    contrasts = random.normal(size=(200, 1)) + random.normal(size=(200, 4))
    found = gathered(contrasts, parts=3).reliabilities(shared)
    for r in range(4):
        rest = np.delete(contrasts, r, axis=1)
        error = rest.var(axis=1, ddof=1).mean() / 3
        # Spearman-Brown: three repeats foretell what four will say.
        whole = rest.mean(axis=1).var(ddof=1) - error / 4
        assert found[r] == pytest.approx(1 - (error * 3 / 4 + shared) / whole)


def test_a_repeat_that_says_nothing_of_a_sample_is_not_missed():
    random = np.random.default_rng(1)
    contrasts = random.normal(size=(300, 1)) + random.normal(size=(300, 5))
    contrasts[:, 4] = np.nan
    found = gathered(contrasts)
    assert found.reliabilities(0.0)[4] > found.reliabilities(0.0)[:4].min()
    assert np.isfinite(found.reliabilities(0.0)).all()


@pytest.mark.parametrize("repeats", [3, 8])
@pytest.mark.parametrize("truth", [0.0, 0.4, 0.8])
def test_intervals_hold_the_reliability_of_the_plan(repeats, truth):
    """Errors of samples that differ in size, and that neighbours share in part."""
    random, n, trials, held, shown = np.random.default_rng(2), 300, 200, 0, 0
    for _ in range(trials):
        m = random.normal(size=n)
        m = (m - m.mean()) / m.std(ddof=1) * (truth > 0)
        size = np.sqrt(4 / random.chisquare(6, size=(n, 1)))
        factors = random.normal(size=(n, 20)) @ random.normal(size=(20, repeats)) / np.sqrt(20)
        noise = size * np.sqrt(0.5) * (random.normal(size=(n, repeats)) + factors)
        variance = repeats * (1 - truth) / truth if truth else 1.0
        contrasts = m[:, None] + np.sqrt(variance) * noise
        low, high = gathered(contrasts).interval(reliability(contrasts), 0.0, 0.95)
        held += low <= truth <= high
        shown += low > 0
    assert held / trials > 0.94
    if not truth:
        assert shown / trials < 0.04


def test_two_repeats_have_no_interval_and_more_confidence_a_wider_one():
    contrasts = np.random.default_rng(3).normal(size=(50, 4))
    assert gathered(contrasts[:, :2]).interval(0.5, 0.0, 0.95) is None
    assert gathered(np.zeros((50, 4))).interval(0.5, 0.0, 0.95) is None
    found = gathered(contrasts)
    low, high = found.interval(0.1, 0.0, 0.95)
    wider = found.interval(0.1, 0.0, 0.99)
    assert wider[0] < low < 0.1 < high <= 1
