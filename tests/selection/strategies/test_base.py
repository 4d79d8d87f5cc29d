"""Shares by their definitions."""

import numpy as np
import pytest

from curate.selection.strategies.base import apportioned, shared

pytestmark = pytest.mark.numeric


def one_by_one(sizes, n):
    """Give one after the other to the group that has least of those with room."""
    shares = [0] * len(sizes)
    for _ in range(n):
        k = min((s, k) for k, s in enumerate(shares) if s < sizes[k])[1]
        shares[k] += 1
    return shares


def test_equal_shares_are_those_that_are_given_one_by_one():
    rng = np.random.default_rng(0)
    for _ in range(200):
        sizes = rng.integers(0, 12, rng.integers(1, 8))
        for n in (0, int(sizes.sum()), int(rng.integers(0, sizes.sum() + 1))):
            assert shared(sizes, n).tolist() == one_by_one(sizes.tolist(), n)


def test_proportional_shares_are_exact_and_off_by_less_than_one():
    rng = np.random.default_rng(1)
    for _ in range(200):
        sizes = rng.integers(1, 50, rng.integers(1, 8))
        n = int(rng.integers(0, sizes.sum() + 1))
        shares = apportioned(sizes.astype(float), sizes, n)
        assert shares.sum() == n
        assert (np.abs(shares - n * sizes / sizes.sum()) < 1).all()


def test_what_a_group_has_no_room_for_goes_to_the_others():
    assert apportioned(np.array([8.0, 1, 1]), np.array([2, 9, 9]), 10).tolist() == [2, 4, 4]
    assert apportioned(np.array([1.0, 0, 0]), np.array([2, 3, 6]), 5).tolist() == [2, 1, 2]
    assert apportioned(np.array([3.0, 2, 1]), np.array([3, 2, 1]), 6).tolist() == [3, 2, 1]
