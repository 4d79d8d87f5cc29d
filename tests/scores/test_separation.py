"""Moments of blocks add up to those of the whole."""

import numpy as np
import pytest

from curate.scores import separation

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
