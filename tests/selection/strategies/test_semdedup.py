"""SemDeDup beside the paper's rule, applied pair by pair."""

import numpy as np
import pytest

from curate.inspection.clusters import k_means
from curate.inspection.neighbours import unit
from curate.selection.strategies import semdedup as module
from curate.selection.strategies.base import Candidates
from curate.selection.strategies.semdedup import before, semdedup

pytestmark = pytest.mark.numeric


def by_threshold(points, clusters, threshold):
    """Drop from each cluster, farthest from its centre first, what is too like one before it."""
    kept = []
    for rows in clusters.members():
        order = sorted(rows, key=lambda i: (clusters.similarity[i], i))
        for place, i in enumerate(order):
            if all(points[i] @ points[j] <= threshold for j in order[:place]):
                kept.append(i)
    return set(kept)


@pytest.mark.parametrize("each", [1000, 40])
def test_it_is_the_papers_rule_with_a_threshold_that_leaves_as_many(some, monkeypatch, each):
    monkeypatch.setattr(module, "EACH", each)
    clusters = k_means(some.points, max(1, round(300 / each)), 5)
    kept = by_threshold(some.points, clusters, 0.8)
    assert 10 < len(kept) < 290
    assert set(np.flatnonzero(semdedup(some, len(kept), 5))) == kept


def test_of_copies_one_stays(some):
    rng = np.random.default_rng(0)
    points = unit(np.concatenate([rng.normal(size=(150, 8))] * 2).astype(np.float32))
    keep = semdedup(Candidates(some.uids, some.scores, some.labels, points), 150, 0)
    assert sorted(np.flatnonzero(keep) % 150) == list(range(150))


def test_blocks_change_nothing(some, monkeypatch):
    whole = before(some.points)
    monkeypatch.setattr(module, "BLOCK", 7)
    np.testing.assert_allclose(before(some.points), whole, atol=1e-6)
