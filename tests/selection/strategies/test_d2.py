"""D2 pruning beside its two passes, written out on all samples."""

import numpy as np
import pytest

from curate.selection.strategies.base import Candidates
from curate.selection.strategies.d2 import d2

pytestmark = pytest.mark.numeric


def brute(scores, points, n, k=10):
    points = points.astype(np.float64)
    squares = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    near = np.argsort(squares + 10 * np.eye(len(points)), axis=1, kind="stable")[:, :k]
    scores = scores - scores.min()
    now = np.array([
        scores[i] + sum(np.exp(-squares[i, j]) * scores[j] for j in near[i])
        for i in range(len(points))
    ])  # fmt: skip
    chosen = []
    for _ in range(n):
        left = [i for i in range(len(points)) if i not in chosen]
        i = max(left, key=lambda i: now[i])
        chosen.append(i)
        for j in near[i]:
            now[j] -= np.exp(-squares[i, j]) * max(now[i], 0)
    return set(chosen)


@pytest.mark.parametrize("n", [1, 50, 250, 300])
def test_it_chooses_what_the_passes_choose(some, n):
    assert set(np.flatnonzero(d2(some, n, 0))) == brute(some.scores, some.points, n)


def test_copies_of_what_is_chosen_come_late(some):
    points = np.concatenate([some.points[:30]] * 2)
    twice = Candidates(some.uids[:60], np.ones(60), some.labels[:60], points)
    keep = d2(twice, 30, 0)
    assert len({i % 30 for i in np.flatnonzero(keep)}) > 20
