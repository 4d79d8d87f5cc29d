"""Neighbours in a space of representations: what lies next to a sample, and how alone it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from curate.errors import DivergedError, ResourceError
from curate.inspection.summary import IndexUsed
from curate.runtime.versions import FAISS, versions

INSPECT_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("outlier_score", pa.float64()),
        ("neighbour_uid", pa.string()),
        ("neighbour_distance", pa.float64()),
        ("duplicate_group", pa.int64()),
    ]
)
"""The columns of ``inspect.parquet`` on neighbours; ``inspection`` adds those on images."""

EXACT = 1_000_000
"""Most points that are searched exactly; more are searched in part (inverted lists)."""
PROBED = 32
"""Inverted lists that a search looks into."""
QUERIES = 1000
"""Searches that are made exactly as well, to measure how much the others miss."""
COMPARED = 8
"""Points that are compared as they are for each that is asked for, where codes are searched."""
BLOCK = 1024
MAX_GPU_K = 2048
"""Most results a query can have on a GPU."""
FLOOR = 0.01
"""Reachability below this share of the median counts as that: copies would else divide by 0."""


@dataclass(frozen=True)
class Nearest:
    """The k nearest others of N points.

    Attributes:
        near: (N, k) int64 positions, nearest first, ties by position.
        distance: (N, k) float64, L2 between unit vectors, in [0, 2].
        search: How they were searched for.
    """

    near: np.ndarray
    distance: np.ndarray
    search: IndexUsed

    def outlier_score(self) -> np.ndarray:
        """Return the mean distance to the nearest others, (N,) in [0, 2], higher = more unusual.

        NaN where there are no others, here and below.
        """
        if not self.near.shape[1]:
            return np.full(len(self.near), np.nan)
        return np.asarray(self.distance.mean(axis=1))

    def local_outlier_factor(self) -> np.ndarray:
        """Return how much less dense it is around a point than around its neighbours, (N,) > 0.

        About 1 = as dense; higher = more alone. Breunig et al. 2000 (LOF), Definitions 5 to 7: the
        mean local reachability density of the neighbours over the point's own.
        """
        if not self.near.shape[1]:
            return np.full(len(self.near), np.nan)
        reach = np.maximum(self.distance, self.distance[self.near, -1]).mean(axis=1)
        reach = np.maximum(reach, FLOOR * float(np.median(reach)))
        if not reach.any():
            return np.ones(len(reach))
        reach = np.maximum(reach, FLOOR * float(reach[reach > 0].min()))
        return np.asarray(reach * (1 / reach)[self.near].mean(axis=1))


def nearest(embeddings: np.ndarray, k: int) -> Nearest:
    """Find every point's nearest others.

    Embeddings are centred and scaled to length 1 first: uncentred ones all point one way, and their
    cosines say little. A point at the centre itself is at distance 0 from others there and sqrt 2
    from all else.

    Args:
        embeddings: (N, D) float32.
        k: Nearest others; all of them where there are fewer.

    Raises:
        DivergedError: If an embedding is not finite.
        ResourceError: If FAISS is not installed.
    """
    n = len(embeddings)
    return among(unit(np.asarray(embeddings)) if n > 1 else np.empty((n, 1)), k)


def among(points: np.ndarray, k: int, *, exact: int | None = None) -> Nearest:
    """Find the nearest others of points that have length 1 already, as ``unit`` makes them.

    Args:
        points: (N, D) float32.
        k: Nearest others; all of them where there are fewer.
        exact: As in ``Index.of``.

    Raises:
        ResourceError: If FAISS is not installed.
    """
    assert k >= 1
    n = len(points)
    if n < 2:
        return Nearest(
            np.empty((n, 0), dtype=np.int64), np.empty((n, 0)), IndexUsed("flat", None, 0)
        )
    k = min(k, n - 1)
    index = Index.of(points, k + 1, exact=exact)
    near = np.empty((len(points), k), dtype=np.int64)
    distance = np.empty((len(points), k))
    for start in range(0, len(points), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(points)))
        near[rows], distance[rows] = _others(points, rows, index.search(points[rows], k + 1)[1])
    return Nearest(near, distance, index.quality(k))


def _others(
    points: np.ndarray, rows: np.ndarray, results: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return positions and distances, nearest first, of the results but the points themselves.

    Args:
        points: (N, D) float32.
        rows: (n,) positions that were searched for.
        results: (n, k + 1) positions.
    """
    # Where k + 1 copies crowd a point itself out, the last of them goes.
    itself = results == rows[:, None]
    itself[~itself.any(axis=1), -1] = True
    others = results[~itself].reshape(len(rows), -1)
    # A float32 cosine near 1 has lost the distance; a difference has not.
    apart = _distances(points, rows.repeat(others.shape[1]), others.ravel()).reshape(others.shape)
    by = np.lexsort((others, apart), axis=1)
    return np.take_along_axis(others, by, axis=1), np.take_along_axis(apart, by, axis=1)


@dataclass(frozen=True)
class Index:
    """An inner-product index of points of length 1.

    Attributes:
        points: (N, D) float32.
        kind: ``flat``, ``ivf`` or ``codes``.
        index: FAISS' own, or one that answers as it.
        lists: Inverted lists that points lie in; 0 where they lie in none.
    """

    points: np.ndarray
    kind: str
    index: Any
    lists: int = 0

    @classmethod
    def of(cls, points: np.ndarray, results: int, *, exact: int | None = None) -> Index:
        """Index points: exactly up to ``exact`` of them, on the GPU where there is one.

        There FAISS searches if it was built for that GPU, and else torch.

        Args:
            points: (N, D) float32, C-contiguous.
            results: Most results that a search will ask for.
            exact: How many points are searched exactly; more are searched in part. None: ``EXACT``.

        Raises:
            ResourceError: If FAISS is not installed, or cannot be imported.
        """
        faiss = faiss_library()
        if len(points) > (EXACT if exact is None else exact):
            # Guidelines of FAISS for a million points: 4 to 16 lists for each root of them.
            lists = int(4 * np.sqrt(len(points)))
            if exact is not None:
                # FAISS complains of less than 39 points to learn a list from.
                lists = max(1, min(lists, len(points) // 39))
            index = faiss.index_factory(
                points.shape[1], f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT
            )
            index.nprobe = min(PROBED, lists)
            index.train(points)
            index.add(points)
            return cls(points, "ivf", index, lists)
        which = searcher()
        if which == "torch":
            from curate.inspection.on_a_card import ExactSearch

            return cls(points, "flat", ExactSearch(points, "cuda"))
        index = faiss.IndexFlatIP(points.shape[1])
        index.add(points)
        if which == "faiss-gpu" and results <= MAX_GPU_K:
            index = faiss.index_cpu_to_all_gpus(index)
        return cls(points, "flat", index)

    @classmethod
    def coded(cls, points: np.ndarray, *, lists: bool) -> Index:
        """Index points by codes of four bits for every two dimensions, on the CPU.

        Those that are the most alike by their codes, which a processor compares 32 at a time (Andre
        et al. 2015, "Cache locality is not enough"), are compared as they are. It takes a sixth of
        the time of an exact search and misses one of a thousand.

        Args:
            points: (N, D) float32, C-contiguous, D even.
            lists: Whether only some inverted lists of them are searched.

        Raises:
            ResourceError: If FAISS is not installed, or cannot be imported.
        """
        faiss = faiss_library()
        n, d = points.shape
        number = max(1, min(int(4 * np.sqrt(n)), n // 39)) if lists else 0
        index = faiss.index_factory(
            d, f"{f'IVF{number},' * lists}PQ{d // 2}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT
        )
        index.train(points)
        index.add(points)
        return cls(points, "codes", index, number)

    def search(
        self, queries: np.ndarray, k: int, *, probed: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return similarities and positions of the k points most like each query, (n, k) each.

        Where inverted lists hold fewer than k, what is missing has the position 0 and the lowest
        similarity there is.

        Args:
            queries: (n, D) float32.
            k: How many.
            probed: Inverted lists to look into, where there are such; None for ``PROBED``.
        """
        faiss, how = faiss_library(), None
        if self.lists:
            how = faiss.SearchParametersIVF(nprobe=min(probed or PROBED, self.lists))
        if self.kind == "codes":
            compared = {"k_factor": COMPARED, "base_index_params": how}
            how = faiss.IndexRefineSearchParameters(**{k: v for k, v in compared.items() if v})
        similar, near = self.index.search(queries, k, **({"params": how} if how else {}))
        return similar, np.where(near < 0, 0, near)

    def quality(self, k: int) -> IndexUsed:
        """Measure how many of the true k nearest a search returns."""
        if self.kind == "flat":
            return IndexUsed("flat", None, 0)
        rows = np.linspace(0, len(self.points) - 1, min(QUERIES, len(self.points))).astype(int)
        faiss = faiss_library()
        _, true = faiss.knn(
            self.points[rows], self.points, k + 1, metric=faiss.METRIC_INNER_PRODUCT
        )
        returned = self.search(self.points[rows], k + 1)[1]
        recall = np.mean(
            [len(np.intersect1d(a, b)) / (k + 1) for a, b in zip(true, returned, strict=True)]
        )
        return IndexUsed(self.kind, float(recall), len(rows))


def faiss_version() -> str:
    """Return the version of FAISS.

    Raises:
        ResourceError: If it is not installed, or cannot be imported.
    """
    return str(faiss_library().__version__)


def gpus() -> int:
    """Return how many GPUs FAISS can search on: 0 where it was built without support for them.

    Raises:
        ResourceError: If it is not installed, or cannot be imported.
    """
    faiss = faiss_library()
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def searcher() -> str:
    """Return what searches exactly on this machine: ``faiss-gpu``, ``torch`` or ``faiss-cpu``.

    ``torch`` where it sees a GPU, and FAISS none or one that it has no code for.

    Raises:
        ResourceError: If FAISS is not installed, or cannot be imported.
    """
    import torch

    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if gpus() and not any(no_code(torch.cuda.get_device_capability(i)) for i in range(cards)):
        return "faiss-gpu"
    return "torch" if cards else "faiss-cpu"


def no_code(capability: tuple[int, int]) -> bool:
    """Return whether the FAISS that is installed ends the process on a GPU of some capability."""
    # These builds end with code for Ampere, and have none that a driver could translate.
    return capability >= (9, 0) and [n for n in FAISS if n in versions()] == ["faiss-gpu-cu12"]


def faiss_library() -> Any:
    """Return FAISS.

    Raises:
        ResourceError: If it is not installed, or cannot be imported.
    """
    try:
        import faiss
    except ImportError as error:
        install = "pip install 'curate[cpu]', or 'curate[gpu]' where there is an NVIDIA GPU."
        if error.name == "faiss":
            text = f"FAISS is not installed, which finds neighbours: {install}"
        else:
            first = f"pip uninstall -y {' '.join(FAISS)}"
            text = f"FAISS is installed but cannot be imported ({error}): {first}; {install}"
        raise ResourceError(text) from error
    return faiss


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Return embeddings centred and scaled to length 1, (N, D) or (N, D + 1) float32.

    What lies at the centre has no direction; such rows share an axis of their own.

    Args:
        embeddings: (N, D) float32.

    Raises:
        DivergedError: If an embedding is not finite.
    """
    if not np.isfinite(embeddings).all():
        raise DivergedError(
            "an encoder gives representations that are not finite; train it again with a lower "
            "train.lr or with train.clip_norm."
        )
    centre = embeddings.mean(axis=0, dtype=np.float64)
    points = np.empty(embeddings.shape, dtype=np.float32)
    step = max(1, (1 << 22) // max(1, embeddings.shape[1]))
    for start in range(0, len(points), step):  # in float64 all at once would take twice as much
        points[start : start + step] = embeddings[start : start + step] - centre
    length = np.linalg.norm(points, axis=1)
    scale = max(float(length.max()), float(np.linalg.norm(centre)))
    at_centre = length <= 1e-6 * scale
    points /= np.where(at_centre, 1.0, length)[:, None]
    if at_centre.any():
        points[at_centre] = 0.0
        points = np.column_stack([points, at_centre.astype(np.float32)])
    return np.ascontiguousarray(points, dtype=np.float32)


def _distances(points: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the L2 distances of the pairs (a, b) of positions, float64."""
    out = np.empty(len(a))
    step = max(1, (1 << 24) // points.shape[1])
    for start in range(0, len(a), step):
        part = slice(start, start + step)
        gap = points[a[part]] - points[b[part]]
        out[part] = np.sqrt(np.einsum("nd,nd->n", gap, gap, dtype=np.float64))
    return out
