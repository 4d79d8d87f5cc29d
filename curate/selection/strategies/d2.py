"""D2 pruning: difficult and diverse (Maharana, Yadav & Bansal 2023, arXiv 2310.07931).

On a graph of nearest neighbours each sample takes in a part of its neighbours' scores (forward
pass); then the highest is chosen again and again, and its neighbours lose what it stands for
(reverse pass).
"""

from __future__ import annotations

import heapq

import numpy as np

from curate.inspection.neighbours import among
from curate.selection.strategies.base import Candidates, Strategy, mask

NEIGHBOURS = 10
FORWARD = REVERSE = 1.0
"""gamma_f and gamma_r: a neighbour at distance d counts exp(-gamma d^2)."""
SEARCHED = 50_000
"""Up to so many samples neighbours are found exactly."""


def d2(candidates: Candidates, n: int, seed: int) -> np.ndarray:
    """Keep the n that are chosen first; scores count from their least, which is 0."""
    scores = candidates.scores - candidates.scores.min()
    if len(scores) < 2:
        return np.ones(len(scores), dtype=bool)
    neighbours = among(candidates.space(), NEIGHBOURS, exact=SEARCHED)
    squares = np.square(neighbours.distance)
    return mask(passed(scores, neighbours.near, squares, n), len(scores))


def passed(scores: np.ndarray, near: np.ndarray, squares: np.ndarray, n: int) -> np.ndarray:
    """Return the n that are chosen, (n,) int64, in their order; ties by position.

    Args:
        scores: (N,) float64, from 0.
        near: (N, k) positions of the neighbours.
        squares: (N, k) squared distances to them.
        n: 1 to N.
    """
    now = scores + (np.exp(-FORWARD * squares) * scores[near]).sum(axis=1)
    loses = np.exp(-REVERSE * squares)
    heap = list(zip((-now).tolist(), range(len(now)), strict=True))
    heapq.heapify(heap)
    chosen: list[int] = []
    left = np.ones(len(now), dtype=bool)
    while len(chosen) < n:
        value, i = heapq.heappop(heap)
        if not left[i] or -value != now[i]:
            continue  # an older entry
        chosen.append(i)
        left[i] = False
        # What has lost all that it had takes nothing from others, or they would gain.
        others = near[i]
        now[others] -= loses[i] * max(now[i], 0.0)
        for j in others[left[others]].tolist():
            heapq.heappush(heap, (-now[j], j))
    return np.array(chosen)


STRATEGY = Strategy(d2, "difficult and unlike each other (D2)", frozenset({"scores", "points"}))
