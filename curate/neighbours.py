"""Neighbours in representation space: outliers, near-duplicates, and what lies next to a sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from scipy import sparse
from scipy.sparse import csgraph

from curate.errors import DivergedError, ResourceError

INSPECT_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("outlier_score", pa.float64()),
        ("neighbour_uid", pa.string()),
        ("neighbour_distance", pa.float64()),
        ("duplicate_group", pa.int64()),
    ]
)
"""Columns of ``inspect.parquet``."""

SLACK = 1e-4
"""How far FAISS' float32 cosine may be off; what it finds is measured again."""
BLOCK = 1024
MAX_GPU_K = 2048
"""Most results a query can have on a GPU."""


def inspect(
    embeddings: np.ndarray, uids: np.ndarray, *, neighbours: int, threshold: float
) -> pa.Table:
    """Find every sample's nearest others, exactly.

    Embeddings are centred and scaled to length 1 first: uncentred ones all point one way, and their
    cosines say little. Distances are then L2, in [0, 2]; a sample at the centre itself is at
    distance 0 from others there and sqrt 2 from all else.

    Args:
        embeddings: (N, D) float32.
        uids: (N,) distinct strings.
        neighbours: Nearest others that the outlier score averages over; all of them where there
            are fewer.
        threshold: Centred cosine similarity from which two samples are near-duplicates.

    Returns:
        A table sorted by uid. ``outlier_score`` is the mean distance to the nearest others, in
        [0, 2], higher = more unusual; ``neighbour_uid`` and ``neighbour_distance`` name the
        nearest, of equally near ones found the smallest uid. ``duplicate_group`` numbers the
        connected groups of near-duplicates from 0, by their smallest uid, null for a sample
        without any. A single sample has no neighbour: all null.

    Raises:
        DivergedError: If an embedding is not finite.
        ResourceError: If FAISS is not installed.
    """
    assert len(embeddings) == len(uids)
    assert neighbours >= 1
    names = np.asarray(uids, dtype=object)
    order = np.argsort(names, kind="stable")
    names = names[order]
    if len(names) < 2:
        nothing = {name: [None] * len(names) for name in INSPECT_SCHEMA.names}
        return pa.table({**nothing, "uid": names.tolist()}, schema=INSPECT_SCHEMA)
    points = _unit(np.asarray(embeddings)[order])
    k = min(neighbours, len(points) - 1)
    index = _index(points, k + 1)
    near, distance, full = _nearest(index, points, k, threshold)
    group = _groups(points, index, near, distance, full, threshold)
    return pa.table(
        {
            "uid": names,
            "outlier_score": distance.mean(axis=1),
            "neighbour_uid": names[near[:, 0]],
            "neighbour_distance": distance[:, 0],
            "duplicate_group": pa.array(group, mask=group < 0),
        },
        schema=INSPECT_SCHEMA,
    )


def faiss_version() -> str:
    """Return the version of FAISS.

    Raises:
        ResourceError: If it is not installed.
    """
    return str(_faiss().__version__)


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ResourceError(
            "FAISS is not installed, which finds neighbours: pip install 'curate[cpu]', or "
            "'curate[gpu]' where there is an NVIDIA GPU."
        ) from error
    return faiss


def _unit(embeddings: np.ndarray) -> np.ndarray:
    """Return embeddings centred and scaled to length 1, (N, D) or (N, D + 1) float32.

    What lies at the centre has no direction; such rows share an axis of their own.
    """
    if not np.isfinite(embeddings).all():
        raise DivergedError(
            "an encoder gives representations that are not finite; train it again with a lower "
            "train.lr or with train.clip_norm."
        )
    centre = embeddings.mean(axis=0, dtype=np.float64)
    points = (embeddings - centre).astype(np.float32)
    length = np.linalg.norm(points, axis=1)
    scale = max(float(length.max()), float(np.linalg.norm(centre)))
    at_centre = length <= 1e-6 * scale
    points /= np.where(at_centre, 1.0, length)[:, None]
    if at_centre.any():
        points[at_centre] = 0.0
        points = np.column_stack([points, at_centre.astype(np.float32)])
    return np.ascontiguousarray(points, dtype=np.float32)


def _index(points: np.ndarray, results: int) -> Any:
    """Return an exact inner-product index, on the GPU where FAISS sees one that can."""
    faiss = _faiss()
    index = faiss.IndexFlatIP(points.shape[1])
    index.add(points)
    there = hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus()
    return faiss.index_cpu_to_all_gpus(index) if there and results <= MAX_GPU_K else index


def _nearest(
    index: Any, points: np.ndarray, k: int, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the k nearest others of every point and whether there may be more near-duplicates.

    Returns:
        Positions (N, k) int64 and distances (N, k) float64, nearest first, ties by position; and
        (N,) bool, True where even the last one found is about as near as ``threshold`` asks.
    """
    n = len(points)
    near = np.empty((n, k), dtype=np.int64)
    distance = np.empty((n, k))
    full = np.empty(n, dtype=bool)
    for start in range(0, n, BLOCK):
        rows = np.arange(start, min(start + BLOCK, n))
        similar, found = index.search(points[rows], k + 1)
        full[rows] = (similar[:, -1] >= threshold - SLACK) & (k + 1 < n)
        # The point itself goes; where k + 1 copies crowd it out, the last one does.
        itself = found == rows[:, None]
        itself[~itself.any(axis=1), -1] = True
        others = found[~itself].reshape(len(rows), k)
        # A float32 cosine near 1 has lost the distance; a difference has not.
        apart = _distances(points, rows.repeat(k), others.ravel()).reshape(len(rows), k)
        by = np.lexsort((others, apart), axis=1)
        near[rows] = np.take_along_axis(others, by, axis=1)
        distance[rows] = np.take_along_axis(apart, by, axis=1)
    return near, distance, full


def _distances(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the L2 distances of the pairs (a, b) of positions, float64."""
    out = np.empty(len(a))
    step = max(1, (1 << 24) // points.shape[1])
    for start in range(0, len(a), step):
        part = slice(start, start + step)
        gap = points[a[part]] - points[b[part]]
        out[part] = np.sqrt(np.einsum("nd,nd->n", gap, gap, dtype=np.float64))
    return out


def _groups(
    points: np.ndarray,
    index: Any,
    near: np.ndarray,
    distance: np.ndarray,
    full: np.ndarray,
    threshold: float,
) -> np.ndarray:
    """Return the number of each point's group of near-duplicates, (N,) int64, -1 for none."""
    row, column = np.nonzero(_alike(distance, threshold))
    label = _join(np.arange(len(points)), row, near[row, column])
    for a, b in _ranges(points, index, np.flatnonzero(full), threshold):
        label = _join(label, a, b)
    _, first, which, size = np.unique(
        label, return_index=True, return_inverse=True, return_counts=True
    )
    number = np.full(len(size), -1)
    several = np.flatnonzero(size > 1)
    number[several[np.argsort(first[several])]] = np.arange(len(several))
    return number[which]


def _alike(distance: np.ndarray, threshold: float) -> np.ndarray:
    """Return where unit vectors at these distances have a cosine of at least ``threshold``."""
    return 1.0 - distance**2 / 2 >= threshold


def _join(label: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return labels with the groups of every pair (a, b) of positions made one."""
    n = len(label)
    edges = sparse.coo_array((np.ones(len(a), dtype=bool), (label[a], label[b])), shape=(n, n))
    _, joined = csgraph.connected_components(edges, directed=False)
    return np.asarray(joined)[label]


def _ranges(
    points: np.ndarray, index: Any, rows: np.ndarray, threshold: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all pairs (a, b) alike with a in ``rows``, many at a time.

    Only for points with more near-duplicates than neighbours were asked for.
    """
    faiss = _faiss()
    if len(rows) and not isinstance(index, faiss.IndexFlatIP):
        # FAISS' GPU indices have no range search.
        index = faiss.IndexFlatIP(points.shape[1])
        index.add(points)
    held: list[tuple[np.ndarray, np.ndarray]] = []
    for start in range(0, len(rows), BLOCK):
        chosen = rows[start : start + BLOCK]
        limits, _, found = index.range_search(points[chosen], threshold - SLACK)
        a, b = chosen.repeat(np.diff(limits.astype(np.int64))), found
        near = _alike(_distances(points, a, b), threshold)
        held.append((a[near], b[near]))
        if sum(len(x) for x, _ in held) > len(points):
            yield np.concatenate([x for x, _ in held]), np.concatenate([x for _, x in held])
            held = []
    if held:
        yield np.concatenate([x for x, _ in held]), np.concatenate([x for _, x in held])
