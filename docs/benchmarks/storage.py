# ruff: noqa: T201 (it prints its tables)
"""Benchmark of storage: sharding beside webdataset's ShardWriter, and peak memory of the commands.

    python docs/benchmarks/storage.py [--part throughput|memory] [--rounds 7] [--scratch DIR]

Prints the tables of docs/benchmarks.md. Takes about 20 minutes on 2 cores that have nothing else to
do, and 2 GB in the scratch folder, which is removed.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from PIL import Image

from curate.data import shards, sources
from curate.data.decoding import check, encode_png
from curate.runtime.threads import cores

SMALL, LARGE = 10_000, 200_000
PHOTOS = 10_000
RECIPE = """
name: tiny
description: two encoders that are trained for one epoch, to have something to score with
data: {source: "folder:images", split: train, size: 8, channels: 1}
plan: {kind: folds, folds: 2, repeats: 1, seed: 0}
encoder: {backbone: convnet, method: simclr, representation: full}
train: {epochs: 1, warmup_epochs: 0, batch_size: 256, lr: 1.0e-3, seed: 0, threads: 1}
views: {train: digits, measure: train}
score: {views: 2, pairing: anchored, distance: l2, calibrate: true, seed: 0}
"""


# Images


def small_images(n: int, folder: Path) -> None:
    """Write n grey PNGs of 8 x 8 pixels, 140 bytes each, 1,000 in each class folder."""
    random = np.random.default_rng(0)
    for start in range(0, n, 1000):
        place = folder / f"{start // 1000:04d}"
        place.mkdir(parents=True)
        for i, pixels in enumerate(random.integers(0, 256, (1000, 8, 8), dtype=np.uint8)):
            (place / f"{i:04d}.png").write_bytes(encode_png(pixels))


def photos(n: int, folder: Path, sides: tuple[int, int] = (200, 300)) -> None:
    """Write n JPEGs with sides from one length to another, quality 85, in 10 classes."""
    random = np.random.default_rng(0)
    for i in range(n):
        width, height = (int(side) for side in random.integers(sides[0], sides[1] + 1, 2))
        coarse = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
        pixels = np.clip(smooth + random.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, format="JPEG", quality=85)
        place = folder / f"{i % 10}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:05d}.jpg").write_bytes(stream.getvalue())


# Throughput


def ours(source: str, out: Path) -> int:
    """Write shards as ``curate shard`` does; returns the number of samples."""
    return int(
        shards.write([(sources.open_source(source, split="train"), "train")], out)["written"]
    )


def theirs(source: str, out: Path, *, checked: bool = False) -> int:
    """Write the same members with ShardWriter, the images read by the same code, one by one."""
    out.mkdir(parents=True)
    written = 0
    with webdataset.ShardWriter(str(out / "%05d.tar"), maxcount=5000, verbose=0) as sink:
        for entry in sources.open_source(source, split="train").entries():
            if checked:
                check(entry.data)
            sink.write(
                {
                    "__key__": f"{written:08d}",
                    entry.path.rpartition(".")[2]: entry.data,
                    "cls": entry.label,
                    "json": {"path": entry.path, "split": "train"},
                }
            )
            written += 1
    return written


WRITERS: dict[str, Callable[[str, Path], int]] = {
    "curate shard": ours,
    "ShardWriter": theirs,
    "ShardWriter, each image checked": lambda source, out: theirs(source, out, checked=True),
}


def throughput(name: str, folder: Path, scratch: Path, rounds: int) -> None:
    """Print the samples that every writer writes in a second, and how ours compares."""
    rates: dict[str, list[float]] = {writer: [] for writer in WRITERS}
    busy: dict[str, list[float]] = {writer: [] for writer in WRITERS}
    out = scratch / "out"
    for turn in range(-1, rounds):
        order = list(WRITERS.items())
        for writer, write in order if turn % 2 else order[::-1]:
            os.sync()
            started, worked = time.perf_counter(), time.process_time()
            written = write(f"folder:{folder}", out)
            spent, worked = time.perf_counter() - started, time.process_time() - worked
            shutil.rmtree(out)
            if turn >= 0:  # the first round warms the page cache
                rates[writer].append(written / spent)
                busy[writer].append(1e6 * worked / written)
    print(f"\n{name}, {rounds} rounds in alternating order, median [lowest to highest]:\n")
    print("| writer | samples/s | CPU µs a sample | curate shard is faster by |")
    print("|---|---|---|---|")
    for writer, found in rates.items():
        faster = [a / b for a, b in zip(rates["curate shard"], found, strict=True)]
        against = "" if writer == "curate shard" else _spread(faster, "{:.2f}")
        cpu = f"{statistics.median(busy[writer]):,.0f}"
        print(f"| {writer} | {_spread(found, '{:,.0f}')} | {cpu} | {against} |", flush=True)


def _spread(values: Sequence[float], form: str) -> str:
    shown = [form.format(v) for v in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} [{shown[1]} to {shown[2]}]"


def pools(name: str, folder: Path, rounds: int) -> None:
    """Print how fast images are decoded by threads and by processes, as many as there are cores."""
    images = [p.read_bytes() for p in sorted(folder.rglob("*.*"))[:PHOTOS]]
    groups = [images[start : start + 32] for start in range(0, len(images), 32)]
    kinds: dict[str, Callable[[int], Executor]] = {
        "threads": ThreadPoolExecutor,
        "processes": ProcessPoolExecutor,
    }
    rates: dict[str, list[float]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, pool in kinds.items():
            with pool(cores()) as workers:
                list(workers.map(check_all, groups[:4]))  # started, and warm
                started = time.perf_counter()
                list(workers.map(check_all, groups))
                rates[kind].append(len(images) / (time.perf_counter() - started))
    shown = "; ".join(f"{kind} {_spread(found, '{:,.0f}')}" for kind, found in rates.items())
    print(f"\nDecoding {name} alone, images/s: {shown}", flush=True)


def check_all(images: list[bytes]) -> None:
    """Decode some images."""
    for data in images:
        check(data)


# Memory


def memory(scratch: Path, rounds: int) -> None:
    """Print the peak memory of each command at both sizes."""
    recipe = scratch / "tiny.yaml"
    recipe.write_text(RECIPE, encoding="utf-8")
    peaks: dict[str, dict[int, list[float]]] = {}
    for n in (SMALL, LARGE):
        images = scratch / f"images-{n}"
        small_images(n, images)
        for _ in range(rounds):
            out, runs = scratch / "shards", scratch / "runs"
            there = ["--data", str(images), "--runs", str(runs), "--device", "cpu"]
            for name, arguments in {
                "curate shard": ["shard", f"folder:{images}", "--out", str(out)],
                "curate verify --full": ["verify", str(out), "--full"],
                "": ["train", str(recipe), *there, "--workers", "1"],
                "curate score": ["score", str(recipe), *there],
            }.items():
                peak = peak_of(arguments)
                if name:
                    peaks.setdefault(name, {}).setdefault(n, []).append(peak)
            shutil.rmtree(out)
            shutil.rmtree(runs)
        shutil.rmtree(images)
    print(f"\nPeak anonymous memory, MB, {rounds} runs each, median [lowest to highest]:\n")
    print(f"| command | {SMALL:,} images | {LARGE:,} images | bytes for each further image |")
    print("|---|---|---|---|")
    for name, found in peaks.items():
        low, high = (statistics.median(found[n]) for n in (SMALL, LARGE))
        growth = 1e6 * (high - low) / (LARGE - SMALL)
        cells = " | ".join(_spread(found[n], "{:.1f}") for n in (SMALL, LARGE))
        print(f"| {name} | {cells} | {growth:.0f} |", flush=True)


def peak_of(arguments: list[str]) -> float:
    """Run a command and return the most anonymous memory (RssAnon) it was seen with, in MB.

    Not ru_maxrss, which counts the pages of mapped files: the decoded images are one, and the
    system takes its pages back as it needs them.
    """
    code = "from curate.cli.app import main; main()"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments, "--quiet"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    most = 0
    ended = threading.Event()
    threading.Thread(target=lambda: (process.wait(), ended.set()), daemon=True).start()
    while not ended.wait(0.002):
        for line in _lines(Path(f"/proc/{process.pid}/status")):
            if line.startswith("RssAnon:"):
                most = max(most, int(line.split()[1]))
    if process.returncode:
        raise SystemExit(f"curate {' '.join(arguments)} ended with {process.returncode}")
    return most * 1024 / 1e6


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from path.read_text(encoding="utf-8").splitlines()
    except OSError:  # it has just ended
        return


def main() -> None:
    """Make the images, and print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("throughput", "memory"), help="only this")
    parser.add_argument("--rounds", type=int, default=7, help="of the throughput; memory takes 3")
    parser.add_argument("--scratch", type=Path, help="where to work; default: the temporary folder")
    asked = parser.parse_args()
    facts: dict[str, Any] = {"cores": cores(), "load": f"{os.getloadavg()[0]:.1f}"}
    print(f"Python {platform.python_version()}, webdataset {webdataset.__version__}, {facts}")
    with tempfile.TemporaryDirectory(dir=asked.scratch) as name:
        scratch = Path(name)
        if asked.part != "memory":
            small_images(SMALL, scratch / "small")
            photos(PHOTOS, scratch / "photos")
            described = {
                f"{SMALL:,} PNGs of 8 x 8": scratch / "small",
                f"{PHOTOS:,} JPEGs of 200 to 300 pixels": scratch / "photos",
            }
            for text, folder in described.items():
                throughput(text, folder, scratch, asked.rounds)
            for text, folder in described.items():
                pools(text, folder, asked.rounds)
        if asked.part != "throughput":
            memory(scratch, min(asked.rounds, 3))


if __name__ == "__main__":
    main()
