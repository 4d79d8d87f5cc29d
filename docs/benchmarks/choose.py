# ruff: noqa: T201 (a script talks on stdout)
"""Benchmark of choosing: time and memory of each strategy, and what approximating costs.

    python docs/benchmarks/choose.py speed [--samples 1000000] [--keep 100000] [--only NAME...]
    python docs/benchmarks/choose.py quality [--samples 20000] [--keep 2000]

``speed`` makes embeddings (256 float32: 1,000 clusters of unequal size and width), and chooses from
them by one strategy after another, each in a process of its own, whose peak memory it tells; the
embeddings are in it, and a copy of them of length 1. On a busy machine the processor's time says
more than the clock's. ``quality`` holds k-centre and facility
location, made to search as they do among a million, against greedy that looks at all pairs.
"""

from __future__ import annotations

import argparse
import heapq
import resource
import subprocess
import sys
import time

import numpy as np
import pyarrow as pa

from curate.inspection.neighbours import unit
from curate.selection.strategies import STRATEGIES, choose, facility, k_center

DIM, CLUSTERS = 256, 1000
BLOCK, TOGETHER = 4096, 64


def embeddings(n: int, seed: int = 0) -> np.ndarray:
    """Return n made-up embeddings, (n, DIM) float32."""
    rng = np.random.default_rng(seed)
    share = rng.pareto(1.5, CLUSTERS) + 0.1
    which = rng.choice(CLUSTERS, n, p=share / share.sum())
    centres = rng.normal(size=(CLUSTERS, DIM)).astype(np.float32)
    width = rng.uniform(0.3, 1.2, CLUSTERS).astype(np.float32)
    out = np.empty((n, DIM), dtype=np.float32)
    for start in range(0, n, 1 << 16):
        part = which[start : start + (1 << 16)]
        noise = rng.standard_normal((len(part), DIM), dtype=np.float32)
        out[start : start + len(part)] = centres[part] + width[part][:, None] * noise
    return out


def one(name: str, n: int, keep: int) -> None:
    """Choose by one strategy and print seconds and peak memory."""
    points = embeddings(n)
    rng = np.random.default_rng(1)
    uids = pa.array(sorted(f"{k:032x}" for k in range(n)))
    given = {"labels": rng.integers(0, 100, n), "like": rng.random(n) < keep / n}
    scores = rng.normal(size=n)
    started, before = time.monotonic(), time.process_time()
    points = unit(points)
    kept = choose(name, scores, uids, keep, 0, points=points, **given)
    seconds, busy = time.monotonic() - started, time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    assert kept.sum() == keep
    print(f"| {name} | {seconds:,.0f} | {busy:,.0f} | {peak:.1f} |", flush=True)


def speed(n: int, keep: int, only: list[str]) -> None:
    """Print a row for each strategy."""
    print(f"{keep:,} of {n:,} x {DIM} float32\n")
    print("| strategy | s | processor s | peak memory, GiB |\n|---|---|---|---|", flush=True)
    for name in only or STRATEGIES:
        command = [sys.executable, __file__, "one", "--samples", str(n), "--keep", str(keep)]
        subprocess.run([*command, "--only", name], check=True)


def radius(points: np.ndarray, chosen: np.ndarray) -> float:
    """Return the distance of the point that is farthest from all that are chosen."""
    nearest = [
        (points[start : start + BLOCK] @ points[chosen].T).max(axis=1)
        for start in range(0, len(points), BLOCK)
    ]
    return float(np.sqrt(2 - 2 * np.concatenate(nearest).min()))


def value(points: np.ndarray, chosen: np.ndarray) -> float:
    """Return the value of facility location."""
    best = [
        np.maximum((points[start : start + BLOCK] @ points[chosen].T).max(axis=1), 0)
        for start in range(0, len(points), BLOCK)
    ]
    return float(np.concatenate(best).sum(dtype=np.float64))


def greedy(points: np.ndarray, n: int) -> np.ndarray:
    """Return what greedy facility location chooses, with the gains of all pairs, lazily."""
    gains = np.zeros(len(points))
    for start in range(0, len(points), BLOCK):
        gains += np.maximum(points[start : start + BLOCK] @ points.T, 0).sum(axis=0)
    heap = [(-gain, j) for j, gain in enumerate(gains.tolist())]
    heapq.heapify(heap)
    best, chosen = np.zeros(len(points), dtype=np.float32), []
    now: dict[int, float] = {}  # gains that were computed since the last choice
    while len(chosen) < n:
        if heap[0][1] not in now:
            top = [heapq.heappop(heap)[1] for _ in range(min(TOGETHER, len(heap)))]
            more = points @ points[top].T
            more -= best[:, None]
            gains = np.maximum(more, 0, out=more).sum(axis=0, dtype=np.float64)
            again = dict(zip(top, (-gains).tolist(), strict=True))
            now |= again
            for j, gain in again.items():
                heapq.heappush(heap, (gain, j))
            continue
        _, j = heapq.heappop(heap)
        chosen.append(j)
        best = np.maximum(best, points @ points[j])
        now = {}
    return np.array(chosen)


def quality(n: int, keep: int) -> None:
    """Print radius and value beside those of greedy."""
    points = unit(embeddings(n))
    uids, scores = pa.array(sorted(f"{k:032x}" for k in range(n))), np.zeros(n)

    def chosen(name: str) -> np.ndarray:
        return np.flatnonzero(choose(name, scores, uids, keep, 0, points=points))

    k_center.EXACT = n
    exact = radius(points, chosen("k-center"))
    k_center.EXACT = 0
    mine = radius(points, chosen("k-center"))
    print(f"k-centre, {keep:,} of {n:,}: radius {mine:.4f}, greedy {exact:.4f}: {mine / exact:.4f}")
    facility.SEARCHED = facility.COMPLETE = 0
    mine, exact = value(points, chosen("facility-location")), value(points, greedy(points, keep))
    print(f"facility location: value {mine:,.1f}, greedy {exact:,.1f}: {mine / exact:.4f}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("speed", "quality", "one"))
    parser.add_argument("--samples", type=int)
    parser.add_argument("--keep", type=int)
    parser.add_argument("--only", nargs="*", default=[])
    args = parser.parse_args()
    if args.part == "quality":
        quality(args.samples or 20_000, args.keep or 2_000)
    elif args.part == "one":
        one(args.only[0], args.samples, args.keep)
    else:
        n = args.samples or 1_000_000
        speed(n, args.keep or n // 10, args.only)


if __name__ == "__main__":
    main()
