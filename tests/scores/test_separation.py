"""Moments of blocks add up to those of the whole."""

import numpy as np
import pytest

from curate.scores import separation
from curate.scores.estimator import Errors

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_moments_do_not_depend_on_blocks(monkeypatch, block):
    monkeypatch.setattr(separation, "BLOCK", block)
    random = np.random.default_rng(block)
    m = 1000 + random.normal(size=300)  # far from 0, where sums of squares would lose digits
    m[random.random(300) < 0.1] = np.nan
    group = random.choice(["C", "S", "-"], 300)
    m[group == "-"] = np.nan
    found = separation.by_group(m, group)
    assert sorted(found) == ["C", "S"]
    for name, found_here in found.items():
        here = m[(group == name) & ~np.isnan(m)]
        assert found_here.n == len(here)
        assert found_here.mean == pytest.approx(here.mean(), rel=1e-12)
        assert found_here.variance == pytest.approx(here.var(ddof=1), rel=1e-9)
        assert found_here.normalised_mean == pytest.approx(here.mean() / np.ptp(here), rel=1e-9)
    whole = sum(found.values(), separation.NOTHING)
    assert whole.variance == pytest.approx(np.nanvar(m, ddof=1), rel=1e-9)


def test_each_look_of_until_asks_for_more_so_that_all_are_not_more_often_wrong():
    # m of 200 samples: t = 2.4, p = 0.009, which is shown once and not to who looks again.
    random = np.random.default_rng(0)
    m = random.normal(size=200)
    m = (m - m.mean()) / m.std(ddof=1) + 2.4 / np.sqrt(200)
    group = np.full(200, "0")
    found = [separation.summarise(m, Errors(), group, looks=looks) for looks in (0, 1, 4)]
    assert [f.separation for f in found] == ["clear", "none", "none"]
    assert [f.verdict.grade for f in found] == ["group", "nothing", "nothing"]
    assert [f.reliability.confidence for f in found] == pytest.approx([0.95, 0.975, 0.996875])
    assert sum(2.0**-k for k in range(1, 50)) <= 1
