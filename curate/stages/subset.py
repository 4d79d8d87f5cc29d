"""Subset: what a manifest keeps, as a dataset of PyTorch; a function without a command."""

from __future__ import annotations

from pathlib import Path

from curate.data.shards import Reader
from curate.runs import dataset
from curate.runs.opening import run_of
from curate.runs.run import Run
from curate.selection.exports.subset import kept_rows
from curate.selection.loading import Subset, Transform


def subset(
    manifest: str | Path,
    *,
    run: Run | str | None = None,
    runs: str | Path = "runs",
    transform: Transform | None = None,
) -> Subset:
    """Return what a manifest keeps as (image, label), read from the shards of a run.

    Args:
        manifest: A manifest (``.parquet``) of the run's dataset, wherever it was made.
        run: The run that has the images; None takes the one that the manifest lies in.
        runs: Folder that holds the runs.
        transform: What to make of a PIL image, such as a transform of torchvision.

    Raises:
        UsageError: If the manifest lies in no run and none is named.
        DataError: If the manifest or the index is missing or damaged.
        MismatchError: If it was made from another dataset than the run's.
    """
    path = Path(manifest)
    run = run_of(path, run, runs=runs)
    shards = run.path / "shards"
    return Subset(shards, kept_rows(dataset.read_for(run, path), Reader(shards)), transform)
