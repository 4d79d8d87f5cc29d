"""Subset: what a manifest keeps, as a dataset of PyTorch; a function without a command."""

from __future__ import annotations

from pathlib import Path

from curate.data.shards import Reader
from curate.errors import UsageError
from curate.runs import dataset
from curate.runs import run as run_directory
from curate.runs.opening import open_run
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
    if run is None:
        home = run_directory.enclosing(path)
        if home is None:
            raise UsageError(f"{path} lies in no run; name the run that has the images.")
        run = Run.open(home)
    elif not isinstance(run, Run):
        run = open_run(run, runs=runs, create=False)
    shards = run.path / "shards"
    return Subset(shards, kept_rows(dataset.read_for(run, path), Reader(shards)), transform)
