# ruff: noqa: T201 (it prints its table)
"""Benchmark of checking: what keys, digests and seals cost each stage.

    python docs/benchmarks/overhead.py [--recipe digits] [--rounds 3] [--set section.key=value]

Does the stages of one run in their order in one process, as ``curate run`` does, with the functions
that only check timed apart: keys (settings, samples, code), seals of JSON, digests of whole files,
of blocks of decoded images and of images that are read, and the store. What a check calls is
counted once. A stage begins with checks of what the ones before it made. The last row is another
process, in which everything is there and checked once.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

KINDS = ("keys", "seals", "digests", "store")
STAGES = {
    "shard": lambda run, context, stages: stages.shard.shard_run(run, context),
    "decode": lambda run, context, stages: stages.shard.pixels(run, context),
    "plan": lambda run, context, stages: stages.train.plan(run, context),
    "train": lambda run, context, stages: stages.train.train_run(run, context),
    "align": lambda run, context, stages: stages.score.align(run, context),
    "score": lambda run, context, stages: stages.score.score_run(run, context),
    "inspect": lambda run, context, stages: stages.inspect.inspect_run(run, context),
    "select": lambda run, context, stages: stages.select.select(run, fraction=0.5),
    "report": lambda run, context, stages: stages.report.report(run),
}
"""What each stage is, by name, in their order."""
AGAIN = "`curate score` on the finished run"


class Clock:
    """Seconds in functions that check, by kind; a thread counts what it calls within one once."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._here = threading.local()

    def timed(self, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that is timed."""

        @functools.wraps(function)
        def wrapped(*given: Any, **named: Any) -> Any:
            if getattr(self._here, "within", False):
                return function(*given, **named)
            self._here.within, started = True, time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                self._here.within = False
                self.seconds[kind] += time.perf_counter() - started

        return wrapped

    def watch(self) -> None:
        """Time whatever only checks, wherever it is called from."""
        import curate.stages.run  # noqa: F401 (which imports every stage)
        from curate.data import canvas
        from curate.data.shards import reader
        from curate.runs import dataset, recipe, store, units
        from curate.runtime import files, versions

        named = {
            "keys": (
                *(units.shard, units.canvas, units.plan, units.train, units.align, units.score),
                *(units.inspect, units.trained_on, units.samples_digest, units.scores_digest),
                *(recipe.digest, versions.of_stage, versions.code_of, versions.versions),
            ),
            "seals": (files.sealed, files.read_json),
            "digests": (files.file_sha256, units.unchanged, units.remember, dataset.outdated),
        }
        for kind, functions in named.items():
            for function in functions:
                self._replace(function, self.timed(kind, function))
        for home in (canvas, reader):
            home.hashlib = SimpleNamespace(  # type: ignore[attr-defined]
                sha256=self.timed("digests", home.hashlib.sha256)  # type: ignore[attr-defined]
            )
        units.Unit.done = self.timed("seals", units.Unit.done)  # type: ignore[method-assign]
        units.Unit.intact = self.timed("digests", units.Unit.intact)  # type: ignore[method-assign]
        units.Unit.key = property(self.timed("keys", units.Unit.key.fget))  # type: ignore
        for name in ("take", "keep"):
            setattr(store.Entry, name, self.timed("store", getattr(store.Entry, name)))

    @staticmethod
    def _replace(function: Callable[..., Any], timed: Callable[..., Any]) -> None:
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").startswith("curate"):
                for name, value in list(vars(module).items()):
                    if value is function:
                        setattr(module, name, timed)


def measure(name: str, runs: Path, settings: dict[str, str]) -> dict[str, dict[str, float]]:
    """Do the stages of a run; returns the seconds of each, and those of its checks by kind."""
    import importlib

    from curate.runs.opening import open_run
    from curate.runtime.progress import silent
    from curate.stages.context import Context

    clock = Clock()
    clock.watch()
    names = ("shard", "train", "score", "inspect", "select", "report")
    stages = SimpleNamespace(**{n: importlib.import_module(f"curate.stages.{n}") for n in names})
    there = (runs / name).exists()
    run = open_run(name, runs=runs, overrides=settings)
    context = Context.of(run, None, "cpu", 1, silent)
    found = {}
    for stage, work in {AGAIN: again}.items() if there else STAGES.items():
        clock.seconds.clear()
        started = time.perf_counter()
        work(run, context, stages)
        found[stage] = {"seconds": time.perf_counter() - started, **clock.seconds}
    return found


def again(run: Any, _context: Any, stages: Any) -> None:
    """Ask a finished run for its scores."""
    assert stages.score.score(run, device="cpu").already


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--runs", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.runs:
        settings = dict(item.split("=", 1) for item in asked.set)
        print(json.dumps(measure(asked.recipe, asked.runs, settings)))
        return
    found: dict[str, list[dict[str, float]]] = {stage: [] for stage in (*STAGES, AGAIN)}
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            own = [sys.executable, __file__, "--runs", folder, "--recipe", asked.recipe]
            own += [word for setting in asked.set for word in ("--set", setting)]
            for _ in range(2):
                ended = subprocess.run(own, stdout=subprocess.PIPE, text=True, check=True)
                for stage, seconds in json.loads(ended.stdout.splitlines()[-1]).items():
                    found[stage].append(seconds)
    print(f"| stage | seconds | {', ms | '.join(KINDS)}, ms | checks, of the stage |")
    print(f"|---|{'---:|' * (len(KINDS) + 2)}")
    for stage, rounds in found.items():
        print(row(stage, rounds))


def row(stage: str, rounds: list[dict[str, float]]) -> str:
    """Return the medians of a stage as a row of the table."""
    seconds = statistics.median(r["seconds"] for r in rounds)
    each = [statistics.median(1000 * r.get(kind, 0.0) for r in rounds) for kind in KINDS]
    share = statistics.median(sum(r.get(k, 0.0) for k in KINDS) / r["seconds"] for r in rounds)
    cells = " | ".join(f"{value:,.1f}" for value in each)
    return f"| {stage} | {seconds:,.3f} | {cells} | {share:.1%} |"


if __name__ == "__main__":
    main()
