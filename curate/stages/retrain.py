"""Retrain: train an encoder afresh on what a manifest keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.errors import UsageError
from curate.runs import dataset, units
from curate.runs import run as run_directory
from curate.runs.opening import open_run
from curate.runs.run import Run
from curate.runtime import randomness
from curate.runtime.files import file_sha256
from curate.runtime.progress import Progress, silent
from curate.stages import shard, train
from curate.stages.context import Context
from curate.stages.probe import slug


def retrain_run(run: Run, manifest: Path, context: Context, *, seed: int | None = None) -> Path:
    """Train an encoder afresh on what a manifest keeps; returns its folder.

    Args:
        run: Gives recipe and images.
        manifest: A manifest of the run's dataset, wherever it was made.
        context: Device and progress.
        seed: Training seed; None takes the recipe's.

    Raises:
        MismatchError: If the manifest was made from another dataset.
    """
    kept = dataset.read_for(run, manifest).kept()
    if manifest.suffix != ".parquet":
        manifest = manifest.with_name(f"{manifest.name}.parquet")
    seed = run.recipe.train.seed if seed is None else seed
    unit, folder = (
        f"retrain/{slug(manifest.stem)}-s{seed}",
        f"retrained/{slug(manifest.stem)}-s{seed}",
    )
    own_seed = randomness.seed_for(seed, "retrain")
    # A manifest of the same name may hold another selection by now.
    made = units.trained_on(run, unit, kept, seed=own_seed)
    if made.intact() is None:
        shard.canvas(run, context)
        device = context.resolved_device()
        with run.timed("retrain"):
            train.train_unit(
                run,
                made,
                kept,
                own_seed,
                folder,
                device,
                context.progress,
                manifest_sha256=file_sha256(manifest),
            )
    return run.path / folder


def retrain(
    manifest: str | Path,
    *,
    run: Run | str | None = None,
    runs: str | Path = "runs",
    seed: int | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train an encoder afresh on what a manifest keeps; returns its folder as ``encoder``.

    Args:
        manifest: A manifest (``.parquet``).
        run: The run to train in; None takes the one that the manifest lies in.
        runs: Folder that holds the runs.
        seed: Training seed; None takes the recipe's.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Progress callback.

    Raises:
        UsageError: If the manifest lies in no run and none is named.
        MismatchError: If it was made from another dataset than the run's.
    """
    path = Path(manifest)
    if run is None:
        home = run_directory.enclosing(path)
        if home is None:
            raise UsageError(f"{path} lies in no run; name one with --run.")
        run = Run.open(home)
    elif not isinstance(run, Run):
        run = open_run(run, runs=runs, create=False)
    with run.lock():
        how = Context.of(run, None, device, 1, progress)
        return {"encoder": str(retrain_run(run, path, how, seed=seed))}
