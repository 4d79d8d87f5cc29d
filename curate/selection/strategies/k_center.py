"""k-centre greedy: the chosen lie so that no sample is far from all of them.

Gonzalez 1985; as a coreset of images Sener & Savarese 2018 (arXiv 1708.00489). The covering radius
is at most twice the least that is possible.
"""

from __future__ import annotations

import numpy as np

from curate.selection.strategies.base import Candidates, Strategy, mask

BATCH = 512
"""Points that are looked at together for the next centres."""
BLOCK = 8192
EXACT = 50_000
"""Up to so many points each centre is the farthest point."""
NEAR_ENOUGH = 0.98
"""Of more, one that is at least as far as this share of the farthest one's distance."""


def k_center(candidates: Candidates, n: int, seed: int) -> np.ndarray:
    """Keep n centres, each the point that is farthest from those before it."""
    (first,) = candidates.drawn(np.arange(len(candidates)), 1, seed)
    return mask(farthest(candidates.space(), n, int(first)), len(candidates))


def farthest(points: np.ndarray, n: int, first: int) -> np.ndarray:
    """Return n positions (n,) int64, each farthest from those before it; ties by position.

    The farthest points are looked at a batch at a time. Distances to the nearest centre only fall,
    so that as long as the next one of the batch is as far as every point outside of it was before,
    it is the farthest of all; then all points are held against the new centres at once.

    Args:
        points: (N, D) float32 of length 1.
        n: 1 to N.
        first: The first centre.
    """
    near = points @ points[first]  # cosine with the nearest centre
    chosen = [first]
    taken = mask(np.array([first]), len(points))
    slack = 1.0 if len(points) <= EXACT else NEAR_ENOUGH
    while len(chosen) < n:
        near[taken] = np.inf
        batch, outside = _farthest_batch(near)
        # Of unit vectors, distance^2 = 2 - 2 cosine.
        enough = 1 - slack**2 * (1 - outside)
        block = points[batch]
        alike, here = block @ block.T, near[batch]
        new: list[int] = []
        while len(chosen) + len(new) < n and len(new) < len(batch):
            j = int(here.argmin())
            if new and here[j] > enough:
                break
            new.append(j)
            np.maximum(here, alike[j], out=here)
            here[new] = np.inf
        fresh = batch[new]
        taken[fresh] = True
        chosen += fresh.tolist()
        if len(chosen) < n:
            _draw_near(near, points, points[fresh])
    return np.array(chosen)


def _farthest_batch(near: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the positions of the farthest points, ascending, and how near the next one is."""
    if len(near) <= BATCH:
        return np.flatnonzero(near < np.inf), np.inf
    parted = np.argpartition(near, BATCH)
    batch = np.sort(parted[:BATCH])
    return batch[near[batch] < np.inf], float(near[parted[BATCH]])


def _draw_near(near: np.ndarray, points: np.ndarray, centres: np.ndarray) -> None:
    """Hold all points against new centres."""
    for start in range(0, len(points), BLOCK):
        part = slice(start, start + BLOCK)
        np.maximum(near[part], (points[part] @ centres.T).max(axis=1), out=near[part])


STRATEGY = Strategy(
    k_center, "that k-centre greedy covers the space with", frozenset({"points"}), draws=True
)
