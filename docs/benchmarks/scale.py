# ruff: noqa: T201 (it prints its table)
"""Benchmark of scale: time and peak memory of the commands that work on tables of samples.

    python docs/benchmarks/scale.py [--rows 10000000] [--rounds 3] [--scratch DIR]

Makes two tables of random scores, and a run whose own tables have as many rows, and prints one row
for each command. Ten million rows take about 10 minutes on 2 cores, 16 GB of memory to be made,
and 8 GB in the scratch folder, which are removed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.data.sample import INDEX_SCHEMA
from curate.runtime.files import file_sha256
from curate.runtime.threads import cores
from curate.scores.table import SCORE_SCHEMA

SHARD = 5000
"""Samples a shard."""


def uids(n: int, random: np.random.Generator) -> pa.Array:
    """Return n random uids of 32 hex digits."""
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    letters = digits[random.integers(0, 16, (n, 32), dtype=np.uint8)]
    places = np.arange(n + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(n, pa.py_buffer(places), pa.py_buffer(letters.tobytes()))


def table(n: int, path: Path, seed: int) -> None:
    """Write uid, memorization and se of n samples in random order; seeds share samples."""
    shared, own = np.random.default_rng(0), np.random.default_rng(seed)
    names, truth = uids(n, shared), shared.normal(size=n)
    order = own.permutation(n)
    columns = {
        "uid": names.take(pa.array(order)),
        "memorization": truth[order] + own.normal(size=n),
        "se": own.gamma(4.0, 0.25, n),
    }
    pq.write_table(pa.table(columns), path, compression="zstd")


def grown(runs: Path, n: int) -> Path:
    """Make a run of digits, and give its index and its scores n rows; returns the run."""
    sets = ("train.epochs=1", "train.warmup_epochs=0", "plan.repeats=1", "score.views=2")
    quick = [word for text in sets for word in ("--set", text)]
    command(["score", "digits", "--runs", str(runs), "--device", "cpu", "--limit", "200", *quick])
    run = runs / "digits"
    random = np.random.default_rng(0)
    names, row = uids(n, random), np.arange(n)
    columns: dict[str, object] = {
        "uid": names,
        "key": pa.array([f"{i:08d}" for i in row]),
        "shard": pa.array([f"{i:05d}.tar" for i in range(-(-n // SHARD))]).take(
            pa.array(row // SHARD)
        ),
        "label": row % 1000,
        "split": pa.array(["train"]).take(pa.array(np.zeros(n, np.int64))),
        "path": pa.array([f"train/{i % 1000:04d}/image_{i:08d}.jpg" for i in row]),
        "group": pa.array(["C"]).take(pa.array(np.zeros(n, np.int64))),
        "memorization": random.normal(size=n),
        "se": random.gamma(4.0, 0.25, n),
    }
    for path, schema in (("shards/index.parquet", INDEX_SCHEMA), ("scores.parquet", SCORE_SCHEMA)):
        filled = {
            field.name: pa.array(columns[field.name], field.type)
            if isinstance(columns.get(field.name), np.ndarray)
            else columns.get(field.name, pa.nulls(n, field.type))
            for field in schema
        }
        made = pa.table(filled, schema=schema)
        rows = SHARD if "index" in path else len(made)
        pq.write_table(made, run / path, compression="zstd", row_group_size=rows)
    about = json.loads((run / "shards" / "dataset.json").read_text(encoding="utf-8"))
    about["index"]["sha256"] = file_sha256(run / "shards" / "index.parquet")
    (run / "shards" / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    return run


def command(arguments: list[str]) -> tuple[float, float, float]:
    """Run a command; returns its seconds, its processor seconds and its peak memory in GiB."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", "from curate.cli.app import main; main()", *arguments, "--quiet"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"curate {' '.join(arguments)} ended with {process.returncode}:\n{said}")
    # Kilobytes on Linux, bytes on macOS.
    peak = used.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
    return time.perf_counter() - started, used.ru_utime + used.ru_stime, peak


def main() -> None:
    """Make the tables, and print what the commands take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", type=Path, help="where to work; default: the temporary folder")
    asked = parser.parse_args()
    n, top = asked.rows, str(asked.rows // 5)
    print(f"{n:,} rows, {asked.rounds} rounds, {cores()} cores, load {os.getloadavg()[0]:.1f}\n")
    with tempfile.TemporaryDirectory(dir=asked.scratch) as name:
        scratch = Path(name)
        a, b = scratch / "a.parquet", scratch / "b.parquet"
        # In a process of its own: a child's peak is at least what its parent held.
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            for seed, path in enumerate((a, b), 1):
                pool.submit(table, n, path, seed).result()
            run = pool.submit(grown, scratch / "runs", n).result()
        mine, out = run / "manifests" / "mine.parquet", scratch / "out"
        of_a_run = ["--runs", str(scratch / "runs"), "--top", top, "--name", "mine"]
        commands = {
            "curate select --scores FILE": ["select", "--scores", str(a), "--out",
                                            str(scratch / "m"), "--top", top],
            "curate select RUN": ["select", "digits", *of_a_run],
            "curate verify MANIFEST": ["verify", str(mine)],
            "curate export --to csv": ["export", str(mine), "--to", "csv", "--out", str(out)],
            "curate export --to paths": ["export", str(mine), "--to", "paths", "--out", str(out)],
            "curate agree FILE FILE": ["agree", str(a), str(b)],
        }  # fmt: skip
        print("| command | seconds, median [lowest to highest] | processor seconds | peak, GiB |")
        print("|---|---|---|---|")
        for text, arguments in commands.items():
            taken = []
            for _ in range(asked.rounds):
                out.unlink(missing_ok=True)
                taken.append(command(arguments))
            seconds, busy, peaks = zip(*taken, strict=True)
            print(
                f"| `{text}` | {statistics.median(seconds):.1f} [{min(seconds):.1f} to "
                f"{max(seconds):.1f}] | {statistics.median(busy):.1f} | {max(peaks):.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
