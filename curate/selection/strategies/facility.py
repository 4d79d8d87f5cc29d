"""Facility location: the chosen are as like to all samples as can be.

Its value is the sum over samples of the cosine (0 at least) with the chosen one that is most alike;
it is submodular, so that greedy reaches 1 - 1/e of the best (Nemhauser, Wolsey & Fisher 1978), and
lazily so (Minoux 1978): what a sample would add only falls, and is computed again when it is the
highest. On a graph of nearest neighbours (Wei, Iyer & Bilmes 2014), for all pairs are too many.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from curate.inspection.neighbours import Index
from curate.selection.strategies.base import Candidates, Strategy, mask

COMPLETE = 1 << 24
"""Pairs up to which the graph has them all."""
EDGES = 1 << 26
"""Most pairs of the graph; where that is too few, a part of the samples is to be served."""
FEWEST = 32
SPARE = 4
"""How many of a sample's neighbours would be chosen on average."""
SEARCHED = 50_000
"""Up to so many samples neighbours are found exactly."""
BLOCK = 1024


def facility_location(candidates: Candidates, n: int, seed: int) -> np.ndarray:
    """Keep n that serve all samples best, by lazy greedy."""
    points, total = candidates.space(), len(candidates)
    k = total if total * total <= COMPLETE else min(total, max(FEWEST, -(-SPARE * total // n)))
    served = np.arange(total)
    if total * k > EDGES:
        served = np.sort(candidates.drawn(served, max(1, EDGES // k), seed))
    return mask(greedy(_graph(points, served, k), n), total)


def greedy(likeness: Any, n: int) -> np.ndarray:
    """Return the n columns (n,) int64 that lazy greedy chooses; ties by position.

    Args:
        likeness: (M, N) sparse matrix by columns, from 0: how well each of N serves each of M.
        n: 1 to N.
    """
    starts, rows, values = likeness.indptr, likeness.indices, likeness.data
    best = np.zeros(likeness.shape[0], dtype=np.float32)
    gains = np.asarray(likeness.sum(axis=0, dtype=np.float64)).ravel()
    heap = list(zip((-gains).tolist(), range(len(gains)), strict=True))
    heapq.heapify(heap)
    chosen: list[int] = []
    while len(chosen) < n:
        bound, j = heap[0]
        part = slice(starts[j], starts[j + 1])
        more = values[part] - best[rows[part]]
        gain = -float(more[more > 0].sum(dtype=np.float64))
        if gain > bound:
            heapq.heapreplace(heap, (gain, j))
            continue
        heapq.heappop(heap)
        chosen.append(j)
        best[rows[part]] += np.maximum(more, 0)
    return np.array(chosen)


def _graph(points: np.ndarray, served: np.ndarray, k: int) -> Any:
    """Return how well each point serves each of ``served`` (M,), of its k nearest alone."""
    from scipy import sparse

    near = np.empty((len(served), k), dtype=np.int32)
    alike = np.empty((len(served), k), dtype=np.float32)
    if k == len(points):
        near[:] = np.arange(k, dtype=np.int32)
        for start in range(0, len(served), BLOCK):
            part = slice(start, start + BLOCK)
            alike[part] = points[served[part]] @ points.T
    else:
        index = Index.of(points, k, exact=SEARCHED)
        for start in range(0, len(served), BLOCK):
            part = slice(start, start + BLOCK)
            alike[part], near[part] = index.search(points[served[part]], k)
    np.maximum(alike, 0, out=alike)
    ends = np.arange(len(served) + 1, dtype=np.int64) * k
    shape = (len(served), len(points))
    return sparse.csr_matrix((alike.ravel(), near.ravel(), ends), shape=shape).tocsc()


STRATEGY = Strategy(
    facility_location,
    "that facility location serves all samples by",
    frozenset({"points"}),
    draws=True,
)
