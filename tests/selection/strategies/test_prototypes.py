"""Prototypes beside the distances to the centres of their clusters."""

import numpy as np
import pytest

from curate.inspection.clusters import k_means
from curate.selection.strategies.base import Candidates
from curate.selection.strategies.prototypes import easy, hard

pytestmark = pytest.mark.numeric


def test_hard_ones_are_far_from_their_centre_and_easy_ones_near(some):
    clusters = k_means(some.points, 6, 3)
    distance = np.linalg.norm(some.points - clusters.centres[clusters.which], axis=1)
    order = np.argsort(distance)
    assert set(np.flatnonzero(hard(some, 60, 3))) == set(order[-60:])
    assert set(np.flatnonzero(easy(some, 60, 3))) == set(order[:60])


def test_without_classes_there_are_clusters_all_the_same(some):
    bare = Candidates(some.uids, some.scores, np.full(300, -1), some.points)
    keep = hard(bare, 60, 3)
    assert keep.sum() == 60 and (keep != hard(some, 60, 3)).any()
