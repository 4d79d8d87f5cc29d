"""Variances of contrasts, moderated, against simulated truth."""

import numpy as np
import pytest
from scipy import special, stats

from curate.scores import estimator
from curate.scores.standard_errors import Prior, Spread, inverse_trigamma, spread

pytestmark = pytest.mark.numeric


def drawn(rng, n, freedom, *, prior_freedom, scale):
    """Return true variances of n samples, and those that were found with so many degrees."""
    true = np.full(n, scale)
    if np.isfinite(prior_freedom):
        true = prior_freedom * scale / rng.chisquare(prior_freedom, n)
    found = true * rng.chisquare(freedom, n) / freedom
    return true, Spread(found, np.full(n, 0.5), np.full(n, float(freedom)))


@pytest.mark.parametrize("x", [1e-4, 0.3, 1.0, 7.5, 4e3, 1e7])
def test_trigamma_is_inverted(x):
    assert inverse_trigamma(float(special.polygamma(1, x))) == pytest.approx(x, rel=1e-3)


@pytest.mark.parametrize(("prior_freedom", "freedom"), [(4, 2), (10, 3), (6, 18)])
def test_a_prior_is_found_from_the_variances(prior_freedom, freedom):
    rng = np.random.default_rng(0)
    _, found = drawn(rng, 50_000, freedom, prior_freedom=prior_freedom, scale=0.03)
    prior = Prior()
    for rows in np.array_split(np.arange(50_000), 7):
        prior.add(Spread(found.unit[rows], found.factor[rows], found.freedom[rows]))
    assert prior.freedom == pytest.approx(prior_freedom, rel=0.1)
    assert prior.scale == pytest.approx(0.03, rel=0.05)
    assert prior.total_freedom == pytest.approx(prior_freedom + freedom, rel=0.1)
    moved = prior.moderated(found)
    wanted = (prior.freedom * prior.scale + freedom * found.unit) / (prior.freedom + freedom)
    assert np.allclose(moved.unit, wanted)
    assert np.allclose(moved.variance, wanted / 2)


def test_equal_variances_become_one():
    rng = np.random.default_rng(1)
    _, found = drawn(rng, 200, 2, prior_freedom=np.inf, scale=2.0)
    # 200 samples can look as if they differed a little; what is sure is that they move together.
    prior = Prior()
    prior.add(found)
    moved = prior.moderated(found)
    assert np.std(moved.unit) < 0.2 * np.std(found.unit)
    assert moved.unit.mean() == pytest.approx(2.0, rel=0.2)


def test_without_variances_nothing_is_made_up():
    prior = Prior()
    nothing = Spread(np.full(5, np.nan), np.ones(5), np.zeros(5))
    prior.add(nothing)
    assert prior.freedom == 0.0
    assert np.isnan(prior.moderated(nothing).variance).all()
    assert prior.quantile == pytest.approx(1.96, abs=1e-3)


@pytest.mark.parametrize("repeats", [2, 3, 6])
@pytest.mark.parametrize("prior_freedom", [5, np.inf])
def test_intervals_hold_what_they_say(repeats, prior_freedom):
    """Three to six contrasts a sample, of unequal noise: 93 to 97 % of intervals hold the truth."""
    rng = np.random.default_rng(2)
    n, k = 20_000, 8
    noise = np.sqrt(drawn(rng, n, 1, prior_freedom=prior_freedom, scale=0.002)[0])
    truth = rng.normal(0.02, 0.02, n)
    inclusion = np.concatenate(
        [rng.integers(0, 2, (n, 1)) != np.arange(2) for _ in range(repeats)], axis=1
    )
    repeat = np.repeat(np.arange(repeats), 2)
    level = 0.8 - truth[:, None] * inclusion + noise[:, None] * rng.normal(0, 1, (n, 2 * repeats))
    distances = level[:, :, None] + rng.normal(0, 0.05, (n, 1, k))
    distances += rng.normal(0, 0.05, (n, 2 * repeats, k))
    left_out = (distances.sum(axis=2, keepdims=True) - distances) / (k - 1)
    errors = estimator.Errors()
    found = None
    for _ in range(2):
        found = estimator.estimate(
            distances.mean(axis=2),
            left_out,
            inclusion,
            np.zeros(2 * repeats),
            repeat=repeat,
            calibrate=True,
            pair=False,
            prior=errors.prior if found else None,
        )
        if not errors.n:
            errors.add(found)
    held = np.abs(found.memorization - truth) < errors.prior.quantile * found.se
    assert 0.93 < held.mean() < 0.97
    # Without the prior, and with 1.96 for few degrees of freedom, they do not.
    if repeats < 6:
        alone = np.sqrt(found.between.variance)
        assert (np.abs(found.memorization - truth) < 1.96 * alone).mean() < 0.92


def test_the_quantile_is_students_with_the_freedom_of_the_prior():
    rng = np.random.default_rng(3)
    _, found = drawn(rng, 50_000, 2, prior_freedom=4, scale=1.0)
    prior = Prior()
    prior.add(found)
    assert prior.quantile == pytest.approx(stats.t.ppf(0.975, 6), rel=0.02)


def test_one_repeat_pools_both_sides():
    values = np.array([[1.0, 2.0, 4.0, 9.0, 7.0]])[:, :, None]
    inclusion = np.array([[True, True, True, False, False]])
    found = spread(values, inclusion, np.zeros(5, int))
    a, b = np.array([1.0, 2.0, 4.0]), np.array([9.0, 7.0])
    pooled = (((a - a.mean()) ** 2).sum() + ((b - b.mean()) ** 2).sum()) / 3
    assert found.unit[0] == pytest.approx(pooled)
    assert found.factor[0] == pytest.approx(1 / 3 + 1 / 2)
    assert found.freedom[0] == 3
