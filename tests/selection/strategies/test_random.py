"""A random choice takes every sample as often as any other."""

import numpy as np
import pytest

from curate.selection.strategies.random import random

pytestmark = pytest.mark.numeric


def test_over_seeds_every_sample_is_drawn_equally_often(some):
    times = np.sum([random(some, 100, seed) for seed in range(300)], axis=0)
    assert times.sum() == 30000
    # Binomial with mean 100 and standard deviation 8.2, over 300 samples.
    assert times.min() > 65 and times.max() < 135
