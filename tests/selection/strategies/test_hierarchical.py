"""Balanced sampling: shares of clusters of clusters, counted."""

import numpy as np
import pytest

from curate.inspection.neighbours import unit
from curate.selection.strategies.base import Candidates, shared
from curate.selection.strategies.hierarchical import balanced, hierarchical, hierarchy
from tests.selection.strategies.conftest import candidates

pytestmark = pytest.mark.numeric


def counted(levels, n):
    """Share n from the top down, cluster by cluster; returns by the path from the top."""
    paths = [()] * len(levels[0])
    for i in range(len(levels[0])):
        place, path = i, []
        for which in levels:
            place = int(which[place])
            path.append(place)
        paths[i] = tuple(reversed(path))
    wanted = {(): n}
    for depth in range(1, len(levels) + 1):
        below = {}
        for prefix, share in wanted.items():
            children = sorted({p[:depth] for p in paths if p[: depth - 1] == prefix})
            sizes = np.array([sum(p[:depth] == c for p in paths) for c in children])
            below |= dict(zip(children, shared(sizes, share).tolist(), strict=True))
        wanted = below
    return paths, wanted


def test_every_cluster_of_every_level_gets_its_share():
    many = candidates(1200, 8)
    levels = hierarchy(many.points, 0)
    assert len(levels) == 2
    paths, wanted = counted(levels, 200)
    keep = hierarchical(many, 200, 0)
    found = dict.fromkeys(wanted, 0)
    for i in np.flatnonzero(keep):
        found[paths[i]] += 1
    assert found == wanted
    members, shares = balanced(levels, 200)
    assert shares.sum() == 200 and sum(map(len, members)) == 1200


def test_what_is_rare_gets_more_than_its_part():
    rng = np.random.default_rng(0)
    which = np.repeat(np.arange(5), (400, 360, 360, 50, 30))
    apart = 8 * np.eye(5, 8)[which] + rng.normal(size=(1200, 8))
    some = candidates(1200)
    blobs = Candidates(some.uids, some.scores, some.labels, unit(apart.astype(np.float32)))
    parts = np.bincount(which[hierarchical(blobs, 120, 0)]) / 120
    # The rare ones are 80 of 1,200.
    assert parts[3:].sum() > 1.5 * 80 / 1200


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_a_handful_of_samples_is_a_cluster(n):
    few = candidates(n, 3)
    assert [hierarchical(few, k, 0).sum() for k in range(1, n + 1)] == list(range(1, n + 1))
