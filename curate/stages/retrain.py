"""Retrain: train an encoder afresh on what a manifest keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.runs import dataset, units
from curate.runs.opening import run_of
from curate.runs.run import Run
from curate.runtime import randomness
from curate.runtime.engines import LOCAL
from curate.runtime.engines.base import Engine
from curate.runtime.files import file_sha256
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.stages import shard, train
from curate.stages.context import Context
from curate.stages.probe import slug


@dataclass(frozen=True)
class Retrained(Result):
    """An encoder that was trained on what a manifest keeps.

    Attributes:
        encoder: Its folder.
    """

    encoder: Path


def retrain(
    manifest: str | Path,
    *,
    run: Run | str | None = None,
    runs: str | Path = "runs",
    seed: int | None = None,
    device: str = "auto",
    engine: str | Engine | None = LOCAL,
    progress: Progress = silent,
) -> Retrained:
    """Train an encoder afresh on what a manifest keeps.

    Args:
        manifest: A manifest (``.parquet``) of the run's dataset, wherever it was made.
        run: The run that gives recipe and images; None takes the one that the manifest lies in.
        runs: Folder that holds the runs.
        seed: Training seed; None takes the recipe's.
        device: ``auto``, ``cpu``, ``cuda``, or cards: ``cuda:0-7``.
        engine: As in ``curate.run``.
        progress: Progress callback.

    Raises:
        UsageError: If the manifest lies in no run and none is named.
        MismatchError: If it was made from another dataset than the run's.
    """
    path = Path(manifest)
    run = run_of(path, run, runs=runs)
    with run.lock():
        context = Context.of(run, None, device, 1, progress, engine)
        uids = dataset.read_for(run, path).kept()
        if path.suffix != ".parquet":
            path = path.with_name(f"{path.name}.parquet")
        seed = run.recipe.train.seed if seed is None else seed
        name = f"{slug(path.stem)}-s{seed}"
        folder, digest = f"retrained/{name}", file_sha256(path)
        own_seed = randomness.seed_for(seed, "retrain")
        # A manifest of the same name may hold another selection by now.
        unit = units.trained_on(run, f"retrain/{name}", uids, seed=own_seed)
        if unit.intact() is None:
            shard.canvas(run, context)
            unit_device = context.device_of_units()
            run.record_path(unit.name).unlink(missing_ok=True)
            arguments = {
                "path": run.path,
                "name": unit.name,
                "folder": folder,
                "kept": uids,
                "seed": own_seed,
                "device": unit_device,
                "manifest_sha256": digest,
            }
            job = train.job(name, retrain_one, arguments, unit.key, run.recipe.train.threads)
            with run.timed("retrain"):
                context.do(run, [job], 1, what="retrain", of="encoders")
        return Retrained(run.path / folder)


def retrain_one(
    path: Path,
    name: str,
    folder: str,
    kept: np.ndarray,
    seed: int,
    device: str,
    manifest_sha256: str,
    progress: Progress = silent,
) -> None:
    """Train an encoder on what a manifest keeps: a unit of work."""
    run = Run.open(path)
    unit = units.trained_on(run, name, kept, seed=seed)
    train.train_unit(
        run, unit, kept, seed, folder, device, progress, manifest_sha256=manifest_sha256
    )
