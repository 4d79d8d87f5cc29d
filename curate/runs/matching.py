"""Which runs a recipe made, whatever they are called: by their settings."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.runs import run as rundir
from curate.runs.recipe import Recipe, without_neutral_keys
from curate.runs.run import Run
from curate.runtime.versions import difference

log = logging.getLogger("curate")

SIZES = (
    *("data.limit", "data.size", "encoder.patch", "score.views", "score.precision"),
    *("plan.shared", "plan.candidates", "plan.independent", "plan.extra", "plan.repeats"),
    "plan.subsets",
    *("train.epochs", "train.warmup_epochs", "train.batch_size", "train.lr", "train.snapshots"),
    *("train.threads", "train.precision", "train.dp.delta", "train.dp.clip"),
)
"""Settings of size and length: a run that differs in these alone is its recipe in small."""
SEEDED = ("plan", "train", "score")
LATER = ("name", "inspect", "select", "compare", "probe")
"""What the scores of a run do not depend on."""
SHARE = 0.01
"""How far the shares of what f and g have in common may differ."""


@dataclass(frozen=True)
class Opened:
    """A run and its settings, every default filled in."""

    run: Run
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Match:
    """A run that a recipe made, or that is like it.

    Attributes:
        run: The run.
        seeds: Of plan, training and scoring.
        differences: ``key: recipe's -> run's`` for every setting of size or length that differs.
    """

    run: Run
    seeds: tuple[int, ...]
    differences: tuple[str, ...]


def opened(folder: Path) -> list[Opened]:
    """Return the runs of a folder by name; those that cannot be read are passed with a warning."""
    runs = []
    for name in rundir.names(folder):
        try:
            run = Run.open(folder / name)
            runs.append(Opened(run, run.recipe.resolved()))
        except CurateError as error:
            log.warning("run %s is passed over: %s", folder / name, error)
    return runs


def made_like(runs: Sequence[Opened], recipe: Recipe, fixed: Sequence[str] = ()) -> list[Match]:
    """Return the runs that a recipe made, of whatever seed, and those that are it in small.

    Runs of equal settings and seeds are one; the first by name stands for them.

    Args:
        runs: Where to look.
        recipe: What the runs are to be made with.
        fixed: Settings in which none may differ.

    Returns:
        In order of their names.
    """
    target = _compared(recipe.resolved())
    matches: dict[tuple[tuple[int, ...], tuple[str, ...]], Match] = {}
    for one in runs:
        there = _compared(one.settings)
        if not target["train"]["snapshots"]:
            # Keeping more of a training leaves what it ends with as it is.
            there["train"]["snapshots"] = None
        lines = tuple(difference(target, there))
        allowed = set(SIZES) - set(fixed)
        if not all(line.partition(":")[0] in allowed for line in lines):
            continue
        if not (_same_shares(target["plan"], there["plan"]) and _keeps_snapshots(target, there)):
            continue
        seeds = tuple(int(one.settings[section]["seed"]) for section in SEEDED)
        matches.setdefault((seeds, lines), Match(one.run, seeds, lines))
    return list(matches.values())


def _compared(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that scores depend on, without seeds."""
    compared = {k: v for k, v in without_neutral_keys(settings).items() if k not in LATER}
    for section in SEEDED:
        compared[section] = {k: v for k, v in compared[section].items() if k != "seed"}
    return compared


def _same_shares(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Return whether f and g have as much in common by both plans."""
    if a["kind"] != "pair":
        return True
    shares = [plan["shared"] / (plan["shared"] + plan["candidates"]) for plan in (a, b)]
    return bool(abs(shares[0] - shares[1]) <= SHARE)


def _keeps_snapshots(target: Mapping[str, Any], there: Mapping[str, Any]) -> bool:
    return bool(there["train"]["snapshots"]) or not target["train"]["snapshots"]
