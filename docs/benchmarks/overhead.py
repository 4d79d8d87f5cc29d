# ruff: noqa: T201 (it prints its table)
"""Benchmark of checking: what keys, digests and seals cost each stage.

    python docs/benchmarks/overhead.py [--recipe digits] [--rounds 3] [--set section.key=value]

Does the stages of a run by the commands that a user types, each a process of its own, which checks
anew whatever it reads. Every command is run twice, on runs of their own: as it is, for its seconds,
and with the functions that only check timed: keys (settings, samples, code), seals of JSON, digests
of whole files, of blocks of decoded images and of images that are read, and the store. What a check
calls is counted once. The last row is a command for which everything is there.
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
COMMANDS = {
    "train (with shard, decode, plan)": ["train"],
    "score (with align)": ["score"],
    "inspect": ["inspect"],
    "select": ["select", "--fraction", "0.5"],
    "report": ["report"],
    "score, finished": ["score"],
}
"""What is typed, by what the table calls it, in its order."""


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


def checked(words: list[str]) -> dict[str, float]:
    """Run a command in this process; returns the seconds of its checks by kind."""
    from curate.cli import main as curate

    clock = Clock()
    clock.watch()
    sys.argv = ["curate", *words]
    try:
        curate()
    except SystemExit as ended:
        if ended.code:
            raise
    return dict(clock.seconds)


def measured(command: list[str], recipe: str, runs: Path, settings: list[str]) -> dict[str, float]:
    """Return the seconds of a command as it is, and of the checks of another one like it."""
    rest = [recipe, "--runs", "{}"]
    if command[0] not in ("select", "report"):
        rest += [word for setting in settings for word in ("--set", setting)]
    plain, timed = (
        [w.replace("{}", str(runs / name)) for w in [command[0], *rest, *command[1:]]]
        for name in ("plain", "timed")
    )
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "check": True}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "curate", *plain], **quiet)  # type: ignore[call-overload]
    seconds = time.perf_counter() - started
    own = [sys.executable, __file__, "--command", *timed]
    ended = subprocess.run(own, **quiet)  # type: ignore[call-overload]
    return {"seconds": seconds, **json.loads(ended.stdout.splitlines()[-1])}


def main() -> None:
    """Print the table."""
    if sys.argv[1:2] == ["--command"]:
        print(json.dumps(checked(sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    asked = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {stage: [] for stage in COMMANDS}
    for _ in range(asked.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for stage, command in COMMANDS.items():
                found[stage].append(measured(command, asked.recipe, Path(folder), asked.set))
    print(f"| command | seconds | {', ms | '.join(KINDS)}, ms | checks, of the command |")
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
