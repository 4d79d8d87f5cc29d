"""Learned: encoders beat random weights where the interval of the difference says so."""

import numpy as np
import pytest
from scipy import stats

from curate.stages.learned import judged

pytestmark = pytest.mark.numeric


def test_the_interval_counts_encoders_and_test_images():
    said = judged([0.8, 0.9], [0.5, 0.7], 100)
    assert (said.trained, said.random, said.encoders) == pytest.approx((0.85, 0.6, 2))
    # Variances of the means: 0.0025 and 0.01; of the shares: (0.85 * 0.15 + 0.6 * 0.4) / 100.
    reach = stats.norm.ppf(0.975) * np.sqrt(0.0025 + 0.01 + 0.003675)
    assert (said.low, said.high) == pytest.approx((0.25 - reach, 0.25 + reach))
    assert said.verdict == "better"


@pytest.mark.parametrize(("trained", "random", "verdict"), [
    ([0.9, 0.9], [0.4, 0.4], "better"),
    ([0.4, 0.4], [0.9, 0.9], "worse"),
    ([0.6, 0.6], [0.55, 0.55], "open"),
    ([0.6], [0.1], "better"),
])  # fmt: skip
def test_the_verdict_follows_from_the_interval(trained, random, verdict):
    assert judged(trained, random, 60).verdict == verdict


def test_the_verdict_is_seldom_wrong_where_nothing_was_learned():
    draws = np.random.default_rng(0)
    called = [
        judged(
            list(draws.binomial(200, 0.5, 4) / 200), list(draws.binomial(200, 0.5, 4) / 200), 200
        ).verdict
        != "open"
        for _ in range(500)
    ]
    assert np.mean(called) <= 0.07
