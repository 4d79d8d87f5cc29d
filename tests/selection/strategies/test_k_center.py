"""k-centre greedy beside the farthest point, searched among all."""

import numpy as np
import pytest

from curate.selection.strategies import k_center
from curate.selection.strategies.k_center import farthest
from tests.selection.strategies.conftest import candidates

pytestmark = pytest.mark.numeric


def distances(points):
    points = points.astype(np.float64)
    return np.sqrt(np.maximum(2 - 2 * points @ points.T, 0))


def brute(distance, n, first):
    """Take the farthest point from all that are chosen, n times."""
    chosen = [first]
    while len(chosen) < n:
        chosen.append(int(distance[:, chosen].min(axis=1).argmax()))
    return chosen


def radius(distance, chosen):
    return distance[:, chosen].min(axis=1).max()


@pytest.mark.parametrize("n", [1, 2, 40, 299, 300])
def test_each_centre_is_the_farthest_point(some, n):
    assert farthest(some.points, n, 7).tolist() == brute(distances(some.points), n, 7)


def test_batches_smaller_than_the_data_change_nothing(some, monkeypatch):
    monkeypatch.setattr(k_center, "BATCH", 16)
    monkeypatch.setattr(k_center, "BLOCK", 50)
    assert farthest(some.points, 120, 0).tolist() == brute(distances(some.points), 120, 0)


def test_where_near_enough_is_enough_the_radius_hardly_grows(monkeypatch):
    points = candidates(2000, 16).points
    monkeypatch.setattr(k_center, "EXACT", 100)
    monkeypatch.setattr(k_center, "BATCH", 64)
    distance = distances(points)
    mine, best = farthest(points, 100, 0), brute(distance, 100, 0)
    assert len(set(mine.tolist())) == 100
    assert radius(distance, mine) <= 1.05 * radius(distance, best)


def test_copies_are_chosen_last_and_each_once(some):
    points = np.concatenate([some.points[:20]] * 2)
    chosen = farthest(points, 40, 3).tolist()
    assert sorted(chosen) == list(range(40))
    assert len({i % 20 for i in chosen[:20]}) == 20
