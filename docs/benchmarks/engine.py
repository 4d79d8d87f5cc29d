"""Benchmark of the local engine: units by one worker beside a plain loop over their functions.

    python docs/benchmarks/engine.py [--recipe digits] [--pairs 7] [--set section.key=value]

Trains and aligns the encoders of one plan twice a pair, each time in a copy of a run that has its
images decoded: as the stages do it, with one worker (keys, records, checks, progress and the
engine), and by calling the functions of the same units one after the other. Which comes first
alternates. Prints a table of user and system CPU seconds and of wall seconds, and ends with an
error where the two differ in a byte of weights or alignments.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from curate.runs import dataset
from curate.runs.opening import open_run
from curate.runs.run import Run
from curate.runtime.files import file_sha256
from curate.scores.plan import Plan
from curate.stages import align, shard, train
from curate.stages.context import Context

SMALL = ["train.epochs=4", "train.warmup_epochs=0", "plan.repeats=1"]
"""What makes ``digits`` take some seconds."""


def by_engine(run: Run) -> None:
    """Train and align as the stages do it."""
    align.align(run, Context("cpu", workers=1))


def by_hand(run: Run) -> None:
    """Train and align by the functions of the units alone."""
    encoders = Plan.read(run.path / "plan.parquet").encoders
    for name in encoders:
        train.train_one(str(run.path), name, "cpu")
    work = dict.fromkeys(dataset.shard_digests(run), encoders)
    align.align_some(run.path, work, None, False, "cpu", torch.get_num_threads())


def measured(do: Callable[[Run], None], prepared: Path, runs: Path) -> tuple[float, float, str]:
    """Return CPU and wall seconds of a way to do it, and what it made, in a run of its own."""
    # Not beside another one: they would share what they make.
    path = runs / prepared.name
    shutil.copytree(prepared, path)
    began, used = time.perf_counter(), cpu()
    do(Run.open(path))
    spent = cpu() - used, time.perf_counter() - began
    kept = [*path.glob("encoders/*/weights.safetensors"), *path.glob("alignment/*.parquet")]
    assert kept, "it makes files"
    return *spent, " ".join(file_sha256(file) for file in sorted(kept))


def cpu() -> float:
    """Return the user and system seconds of this process and of those that it waited for."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    asked = parser.parse_args()
    ways = {"engine": by_engine, "loop": by_hand}
    spent: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        settings = dict(one.split("=", 1) for one in [*SMALL, *asked.set])
        run = open_run(asked.recipe, runs=home / "prepared", overrides=settings)
        shard.pixels(run, Context("cpu"))
        train.plan(run, Context("cpu"))
        # The first pair warms caches and is left out.
        for number in range(asked.pairs + 1):
            made = set()
            for way in (list(ways), list(reversed(ways)))[number % 2]:
                *seconds, digest = measured(ways[way], run.path, home / f"{way}-{number}")
                made.add(digest)
                if number:
                    spent[way].append((seconds[0], seconds[1]))
            if len(made) > 1:
                sys.exit("the engine and the loop made other bytes")
    lines = ["| | engine | loop | engine / loop, median [lowest to highest] of pairs |"]
    lines.append("|---|---:|---:|---:|")
    for place, what in enumerate(("CPU seconds", "wall seconds")):
        engine, loop = ([one[place] for one in spent[way]] for way in ways)
        ratios = [a / b for a, b in zip(engine, loop, strict=True)]
        lines.append(
            f"| {what}, median | {statistics.median(engine):.2f} | {statistics.median(loop):.2f} | "
            f"{statistics.median(ratios):.3f} [{min(ratios):.3f} to {max(ratios):.3f}] |"
        )
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
