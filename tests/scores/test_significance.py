"""Samples that are memorized beyond chance: the share of false ones is what was asked."""

import numpy as np
import pytest
from scipy import stats

from curate.scores import significance

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("freedom", [None, 6.0])
def test_the_share_of_false_discoveries_is_held(freedom):
    rng = np.random.default_rng(0)
    shares, power = [], []
    for _ in range(40):
        true = np.arange(2000) < 200
        se = rng.uniform(0.5, 1.5, 2000)
        noise = rng.normal(size=2000) if freedom is None else rng.standard_t(freedom, 2000)
        m = se * (noise + np.where(true, 6.0, 0.0))
        _, q = significance.tests(m, se, freedom=freedom)
        found = q <= 0.1
        shares.append((found & ~true).sum() / max(1, found.sum()))
        power.append((found & true).mean() / true.mean())
    assert np.mean(shares) == pytest.approx(0.09, abs=0.02)
    assert np.mean(power) > 0.5


def test_p_and_q_are_those_of_the_textbook():
    m, se = np.array([3.0, 0.0, -1.0, 1.0]), np.array([1.0, 1.0, 1.0, 0.5])
    p, q = significance.tests(m, se, freedom=4.0)
    assert p == pytest.approx(stats.t.sf([3, 0, -1, 2], 4))
    assert q == pytest.approx([4 * p[0], 4 * p[1] / 3, p[2], 4 * p[3] / 2])
    assert significance.tests(np.array([1.0, 0.0]), np.zeros(2), freedom=None)[0].tolist() == [0, 1]
