"""Facility location beside greedy that computes every gain anew, of all pairs."""

import numpy as np
import pytest
from scipy import sparse

from curate.selection.strategies import facility
from curate.selection.strategies.facility import facility_location, greedy
from tests.selection.strategies.conftest import candidates

pytestmark = pytest.mark.numeric


def likeness(points):
    points = points.astype(np.float64)
    return np.maximum(points @ points.T, 0)


def brute(alike, n):
    chosen, best = [], np.zeros(len(alike))
    while len(chosen) < n:
        gains = np.maximum(alike - best[:, None], 0).sum(axis=0)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        best = np.maximum(best, alike[:, chosen[-1]])
    return chosen


def value(alike, chosen):
    return alike[:, chosen].max(axis=1).sum()


def test_lazy_greedy_is_greedy():
    rng = np.random.default_rng(0)
    alike = rng.integers(0, 8, (40, 60)) * (rng.random((40, 60)) < 0.3)
    matrix = sparse.csr_matrix(alike.astype(np.float32)).tocsc()
    assert greedy(matrix, 60).tolist() == brute(alike, 60)


@pytest.mark.parametrize("n", [1, 5, 60, 300])
def test_the_value_is_that_of_greedy_on_all_pairs(some, n):
    keep = facility_location(some, n, 0)
    assert keep.sum() == n
    alike = likeness(some.points)
    assert value(alike, keep) >= 0.99 * value(alike, brute(alike, n))


@pytest.mark.parametrize("n", [20, 200])
def test_a_graph_of_neighbours_and_a_part_of_the_samples_are_nearly_as_good(monkeypatch, n):
    many = candidates(2000, 16)
    monkeypatch.setattr(facility, "COMPLETE", 1)
    monkeypatch.setattr(facility, "EDGES", 1 << 17)
    alike = likeness(many.points)
    keep = facility_location(many, n, 0)
    assert value(alike, keep) >= 0.95 * value(alike, brute(alike, n))
