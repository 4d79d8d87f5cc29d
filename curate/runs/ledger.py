"""The ledger: what each stage of a run cost, and when a selection has paid for its scores."""

from __future__ import annotations

import math
from typing import Any

from curate.data import shards
from curate.errors import DataError
from curate.runs.more_views import more_views
from curate.runs.run import Run
from curate.runtime.files import read_json
from curate.scores.plan import Plan

SCORING = ("shard", "plan", "decode", "train", "align", "score")
"""Stages that a ranking takes."""


def ledger(run: Run) -> dict[str, Any]:
    """Return what a run cost, and when its selections have paid for its scores.

    Returns:
        ``stages`` (each with ``seconds`` of this run and ``samples``: images written, decoded,
        trained on once, encoded or scored), ``scoring_seconds``, ``training_seconds_per_sample``
        (one image in one epoch), ``epochs``, and ``selections``: of each manifest what it drops,
        the seconds that saves in a training of so many epochs, and after how many such trainings
        that is what the scores took (None: never).

    Raises:
        DataError: If nothing is trained yet.
    """
    spent = run.facts()["seconds"]
    records = [read_json(path) for path in sorted((run.path / "records" / "train").glob("*.json"))]
    if not records:
        raise DataError(f"run {run.path} has trained nothing yet; type 'curate score {run.name}'.")
    seen = sum(record["n"] * record["epochs"] for record in records)
    own = len(Plan.read(run.path / "plan.parquet").uids)
    samples = {
        **dict.fromkeys(("shard", "decode"), len(shards.Reader(run.path / "shards"))),
        "train": seen,
        "align": len(records) * _encoded(run, own),
        **dict.fromkeys(("plan", "score", "inspect"), own),
    }
    stages = [
        {"stage": stage, "seconds": seconds, "samples": samples.get(stage)}
        for stage, seconds in sorted(spent.items(), key=lambda item: -item[1])
    ]
    each = sum(record["seconds"] for record in records) / seen
    return {
        "stages": stages,
        "scoring_seconds": sum(spent.get(stage, 0.0) for stage in SCORING),
        "training_seconds_per_sample": each,
        "epochs": run.recipe.train.epochs,
        "selections": [
            _selection(run, path.stem, each, spent)
            for path in sorted((run.path / "manifests").glob("*.json"))
        ],
    }


def _encoded(run: Run, n: int) -> int:
    """Return how many images an encoder is shown to measure n samples."""
    score, more = run.recipe.score, more_views(run).views
    anchors = 1 if score.pairing == "anchored" else 0
    # Those that got more views were measured with the recipe's before.
    return n * (score.views + anchors) + int((more + anchors).sum())


def _selection(run: Run, name: str, each: float, spent: dict[str, float]) -> dict[str, Any]:
    """Return what a selection saves whoever trains on it, and after how many trainings it pays."""
    counts = read_json(run.path / "manifests" / f"{name}.json")["counts"]
    saved = counts["dropped"] * run.recipe.train.epochs * each
    cost = sum(spent.get(stage, 0.0) for stage in SCORING)
    return {
        "name": name,
        "kept": counts["kept"],
        "dropped": counts["dropped"],
        "saved_seconds": saved,
        "pays_back_after": math.ceil(cost / saved) if saved > 0 else None,
    }
