"""The ledger: what each stage of a run cost, and when a selection has paid for its scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

from curate.data import shards
from curate.errors import DataError
from curate.runs.added import Addition, additions
from curate.runs.more_views import more_views
from curate.runs.run import Run
from curate.runtime.files import read_json
from curate.runtime.results import Result
from curate.scores.plan import Plan

SCORING = ("shard", "plan", "decode", "train", "align", "score")
"""Stages that a ranking takes."""


@dataclass(frozen=True)
class Stage(Result):
    """What a stage of a run cost.

    Attributes:
        stage: Its name.
        seconds: That this run spent in it.
        samples: Images written, decoded, trained on once, encoded or scored; None where it counts
            none.
    """

    stage: str
    seconds: float
    samples: int | None


@dataclass(frozen=True)
class Saving(Result):
    """What a selection saves whoever trains on it.

    Attributes:
        name: Of the manifest.
        kept: Samples that it keeps.
        dropped: Samples that it drops.
        saved_seconds: By a training of as many epochs as the recipe's.
        pays_back_after: How many such trainings save what the scores took; None: never.
    """

    name: str
    kept: int
    dropped: int
    saved_seconds: float
    pays_back_after: int | None


@dataclass(frozen=True)
class Ledger(Result):
    """What a run cost, and when its selections have paid for its scores.

    Attributes:
        stages: The longest first.
        scoring_seconds: Of the stages that a ranking takes.
        training_seconds_per_sample: Of one image in one epoch; 0 where all encoders were adopted.
        epochs: Of the recipe's training.
        selections: One a manifest.
        added: What came to its images later, and what that took.
    """

    stages: tuple[Stage, ...]
    scoring_seconds: float
    training_seconds_per_sample: float
    epochs: int
    selections: tuple[Saving, ...]
    added: tuple[Addition, ...] = ()


def ledger(run: Run) -> Ledger:
    """Return what a run cost, and when its selections have paid for its scores.

    Raises:
        DataError: If nothing is trained yet.
    """
    spent = run.facts()["seconds"]
    records = [read_json(path) for path in sorted((run.path / "records" / "train").glob("*.json"))]
    if not records:
        raise DataError(f"run {run.path} has trained nothing yet; type 'curate score {run.name}'.")
    images_seen = sum(record["n"] * record["epochs"] for record in records)
    n_samples = len(Plan.read(run.path / "plan.parquet").uids)
    samples = {
        **dict.fromkeys(("shard", "decode"), len(shards.Reader(run.path / "shards"))),
        "train": images_seen or None,
        "align": len(records) * _encoded(run, n_samples),
        **dict.fromkeys(("plan", "score", "inspect"), n_samples),
    }
    stages = tuple(
        Stage(stage, seconds, samples.get(stage))
        for stage, seconds in sorted(spent.items(), key=lambda item: -item[1])
    )
    # Encoders that were adopted were trained elsewhere, and nobody knows for how long.
    each = sum(record["seconds"] for record in records) / images_seen if images_seen else 0.0
    scoring = sum(spent.get(stage, 0.0) for stage in SCORING)
    manifests = sorted((run.path / "manifests").glob("*.json"))
    selections = tuple(_saving(run, path.stem, each, scoring) for path in manifests)
    return Ledger(stages, scoring, each, run.recipe.train.epochs, selections, additions(run))


def _encoded(run: Run, n: int) -> int:
    """Return how many images an encoder is shown to measure n samples."""
    score, more = run.recipe.score, more_views(run).views
    anchors = 1 if score.pairing == "anchored" else 0
    # Those that got more views were measured with the recipe's before.
    return n * (score.views + anchors) + int((more + anchors).sum())


def _saving(run: Run, name: str, each: float, scoring: float) -> Saving:
    """Return what a selection saves: ``each`` second of a sample in an epoch that it drops."""
    counts = read_json(run.path / "manifests" / f"{name}.json")["counts"]
    saved = counts["dropped"] * run.recipe.train.epochs * each
    after = math.ceil(scoring / saved) if saved > 0 else None
    return Saving(name, counts["kept"], counts["dropped"], saved, after)
