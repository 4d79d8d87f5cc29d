"""The interval of a difference counts seeds and test images, and is as wide as it says."""

import numpy as np
import pytest
from scipy import special, stats

from curate.evaluation import crossed
from curate.evaluation.crossed import Gaps, interval

pytestmark = pytest.mark.numeric


def test_images_that_differ_less_than_by_chance_leave_the_seeds_to_tell():
    found = interval(0.01, 3, 4, of_seeds=0.2, of_images=0.05, residual=0.1)
    assert found.se_images == 0
    # Student's t of the seeds alone.
    assert found.p == pytest.approx(2 * stats.t.sf(0.01 / found.se_seeds, 2), rel=1e-6)


def gathered(first, second):
    gaps = Gaps()
    for mine, other in zip(first, second, strict=True):
        gaps.add(mine, other)
    return gaps


def test_mean_squares_are_those_of_the_analysis_of_variance():
    random = np.random.default_rng(0)
    first, second = random.random((2, 4, 60)) < 0.8
    gap = first.astype(float) - second
    gaps, mean = gathered(first, second), gap.mean()
    of_seed, of_image = gap.mean(axis=1) - mean, gap.mean(axis=0) - mean
    rest = gap - mean - of_seed[:, None] - of_image[None]
    wanted = (
        60 * (of_seed**2).sum() / 3,
        4 * (of_image**2).sum() / 59,
        (rest**2).sum() / (3 * 59),
    )
    assert gaps.mean_squares() == pytest.approx(wanted)
    assert gaps.paired().mean == pytest.approx(mean)
    assert gaps.paired().images == pytest.approx(60 * mean)


def test_without_an_effect_of_images_it_is_the_paired_t_interval_over_seeds():
    by_seed = np.array([0.02, 0.05, 0.01, 0.03])
    of_seeds = 500 * by_seed.var(ddof=1)
    found = interval(by_seed.mean(), 4, 500, of_seeds, 0.1, 0.2)
    wanted = stats.ttest_1samp(by_seed, 0)
    ends = wanted.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert found.p == pytest.approx(wanted.pvalue)


def test_without_an_effect_of_seeds_it_is_nearly_the_interval_over_images():
    right = np.random.default_rng(1).random((2, 800)) < [[0.9], [0.8]]
    found = gathered([right[0]] * 6, [right[1]] * 6).paired()
    gap = right[0].astype(float) - right[1]
    ends = stats.ttest_1samp(gap, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert (found.n, found.n_test) == (6, 800)
    assert found.se_seeds == pytest.approx(0, abs=1e-9)
    assert found.se_images == pytest.approx(stats.sem(gap))


def test_seeds_that_agree_by_luck_do_not_hide_that_the_images_are_few():
    # Two seeds with a gap of three images each, but of different images.
    first = np.ones((2, 899), bool)
    second = first.copy()
    second[0, :3] = second[1, 3:6] = False
    found = gathered(first, second).paired()
    assert found.images == pytest.approx(3)
    assert found.low < 0 < found.high


def test_p_is_the_level_at_which_the_interval_ends_at_zero():
    found = interval(0.02, 3, 200, 0.05, 0.4, 0.3)
    assert found.low < 0 and found.p > 0.05
    scale = 3 * 200
    reach = np.sqrt(
        stats.t.isf(found.p / 2, 2) ** 2 * 0.05 / scale
        + stats.t.isf(found.p / 2, 199) ** 2 * 0.1 / scale
    )
    assert reach == pytest.approx(0.02)
    assert interval(0.0, 3, 200, 0.05, 0.4, 0.3).p == 1
    assert 0 < interval(0.5, 10, 10_000, 1e-3, 1e-3, 1e-3).p < 1e-10


def test_one_seed_has_no_interval_and_equal_arms_have_a_point():
    right = np.arange(50) < 40
    one = gathered([right], [~right]).paired()
    assert (one.n, one.low, one.p, one.se_images) == (1, None, None, None)
    assert one.images == pytest.approx(30)
    same = gathered([right] * 3, [right] * 3).paired()
    assert (same.low, same.high, same.p) == (0, 0, None)


@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("spread", [0.0, 0.1])
def test_intervals_hold_the_truth_of_images_of_differing_difficulty(seeds, spread):
    """Probit images: 93 % of 800 intervals at least, and 97 % at most of five seeds."""
    random, images, trials, held = np.random.default_rng(7), 300, 800, 0
    truth = np.diff(special.ndtr(np.array([1.8, 2.0]) / np.sqrt(1 + 1 + 0.25 + spread**2)))[0]
    for _ in range(trials):
        easy = random.normal(size=images)
        arms = []
        for level in (2.0, 1.8):
            of_arm = level + easy + 0.5 * random.normal(size=images)
            of_seed = spread * random.normal(size=(seeds, 1))
            arms.append(of_arm + of_seed + random.normal(size=(seeds, images)) > 0)
        found = gathered(*arms).paired()
        held += found.low <= truth <= found.high
    noise = 3 * np.sqrt(0.95 * 0.05 / trials)
    assert held / trials > 0.93 - noise
    assert held / trials < (0.97 + noise if seeds >= 5 else 1.001)


def test_the_least_mean_square_of_seeds_is_rarely_the_one_that_counts():
    assert stats.chi2.cdf(4 * crossed.LEAST, 4) < 0.02
