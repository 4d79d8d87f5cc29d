"""k-means finds what is there, assigns to the nearest centre, and does the same twice."""

import numpy as np
import pytest

from curate.inspection.clusters import assigned, k_means
from curate.inspection.neighbours import unit

pytestmark = pytest.mark.numeric


def blobs(n=600, k=5):
    rng = np.random.default_rng(0)
    which = rng.integers(0, k, n)
    return unit((10 * np.eye(k, 12)[which] + rng.normal(size=(n, 12))).astype(np.float32)), which


def test_blobs_that_lie_apart_are_the_clusters():
    points, which = blobs()
    clusters = k_means(points, 5, 0)
    pairs = set(zip(which.tolist(), clusters.which.tolist(), strict=True))
    assert len(pairs) == 5
    assert sorted(clusters.sizes()) == sorted(np.bincount(which))
    assert [set(which[rows]) for rows in clusters.members()] != []
    assert all(len(set(which[rows])) == 1 for rows in clusters.members())


def test_every_point_is_with_the_centre_that_it_is_most_like():
    points, _ = blobs()
    clusters = k_means(points, 7, 1)
    alike = points.astype(np.float64) @ clusters.centres.T
    np.testing.assert_allclose(np.linalg.norm(clusters.centres, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(clusters.similarity, alike.max(axis=1), atol=1e-5)
    again = k_means(points, 7, 1)
    assert (again.which == clusters.which).all() and (again.centres == clusters.centres).all()


def test_as_many_clusters_as_points_and_blocks_of_any_size(monkeypatch):
    points, _ = blobs(20, 3)
    assert len(set(k_means(points, 20, 0).which.tolist())) == 20
    whole = assigned(points, points[:4].copy())
    monkeypatch.setattr("curate.inspection.clusters.BLOCK", 1)
    assert (assigned(points, points[:4].copy()).which == whole.which).all()
