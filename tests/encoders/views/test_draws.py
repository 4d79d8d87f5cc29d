import numpy as np
import pytest
import torch
from scipy import stats

from curate.encoders.views.draws import Draws, hash64, mix
from curate.runtime import randomness

pytestmark = pytest.mark.numeric

WORDS = np.random.default_rng(0).integers(0, 2**64, 5000, dtype=np.uint64)


def as_torch(keys):
    return torch.from_numpy(keys.view(np.int64))


def test_torch_and_numpy_give_the_same_bits():
    key = randomness.stream(3, "views")
    assert (mix(as_torch(WORDS)).numpy().view(np.uint64) == randomness.mix(WORDS)).all()
    ours = hash64(key, as_torch(WORDS)).numpy().view(np.uint64)
    assert (ours == randomness.hash64(key, WORDS)).all()


def test_uniform_draws_are_uniform_and_uncorrelated():
    u = Draws.of(1, as_torch(WORDS), view=2).uniform(0, 4).double().numpy()
    assert u.min() >= 0 and u.max() < 1
    for column in u.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    correlation = np.corrcoef(u.T) - np.eye(4)
    assert np.abs(correlation).max() < 0.06
    other = Draws.of(1, as_torch(WORDS), view=3).uniform(0, 1).numpy()[:, 0]
    assert abs(np.corrcoef(u[:, 0], other)[0, 1]) < 0.06


def test_normal_draws_are_normal():
    z = Draws.of(1, as_torch(WORDS), view=0).normal(0, 3).numpy()
    assert np.isfinite(z).all()
    assert stats.kstest(z.ravel(), "norm").pvalue > 1e-3


def test_a_draw_depends_on_its_sample_alone():
    draws = Draws.of(9, as_torch(WORDS), view=7)
    some = Draws.of(9, as_torch(WORDS[40:50]), view=7)
    assert torch.equal(draws.uniform(5, 3)[40:50], some.uniform(5, 3))
    assert torch.equal(draws.uniform(5, 3)[:, 1], draws.uniform(6, 1)[:, 0])


def test_views_drawn_together_are_those_drawn_alone():
    keys = as_torch(WORDS[:50])
    for first in (0, 9, 2**32 - 3):
        together = Draws.of_views(9, hash64(9, keys), first, 3)
        assert [d.view for d in together] == [first, first + 1, first + 2]
        for draws in together:
            alone = Draws.of(9, keys, draws.view)
            for slot, n in ((0, 34), (3, 2), (32, 9), (1 << 31, 5)):
                assert torch.equal(draws.uniform(slot, n), alone.uniform(slot, n))
