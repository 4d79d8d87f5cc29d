"""Train: decide which encoder sees which sample, and train the encoders that are not trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.data.canvas import open_canvas
from curate.data.sample import packed_uids
from curate.encoders.training import train_encoder
from curate.runs.dataset import index, uids_of
from curate.runs.run import Run
from curate.runtime import randomness
from curate.runtime.files import write_table
from curate.runtime.progress import Progress, silent
from curate.runtime.workers import Unit, run_units
from curate.scores.plan import BATCH, Plan, build_plan
from curate.stages.context import Context
from curate.stages.shard import canvas, shard_run


def plan(run: Run, context: Context) -> Plan:
    """Decide which encoder is trained on which sample."""
    shard_run(run, context)
    path = run.path / "plan.parquet"
    if not run.done("plan"):
        with run.timed("plan"):
            own, extra = (packed_uids(uids_of(run, role)) for role in ("train", "extra"))
            made = build_plan(run.recipe.plan, own, extra)
            write_table(path, made.to_table(), group=BATCH)
            run.complete("plan", [path])
    return Plan.read(path, scratch=run.path / "cache")


def train_run(run: Run, context: Context) -> Plan:
    """Train the encoders of the plan that are not trained."""
    made = plan(run, context)
    missing = [name for name in made.encoders if not run.done(f"train/{name}")]
    if missing:
        run.check_code("train")
        canvas(run, context)
        device = context.resolved_device()
        run.note(device=device_name(device))
        with run.timed("train"):
            units = [
                Unit(f"train {name}", train_one, {"path": run.path, "name": name, "device": device})
                for name in missing
            ]
            run_units(units, context.training_workers(run.recipe), context.progress)
    return made


def device_name(device: str) -> str:
    """Return what ``run.json`` says of a device: ``cpu``, or CUDA with the card's name."""
    return device if device == "cpu" else f"{device} ({torch.cuda.get_device_name()})"


def train_one(path: Path, name: str, device: str, progress: Progress = silent) -> None:
    """Train one encoder of the plan: a unit of work."""
    run = Run.open(path)
    made = Plan.read(run.path / "plan.parquet")
    # What an earlier training of it was measured to be says nothing of this one.
    run.forget(f"align/{name}", "score", "inspect", "snapshots")
    # All encoders of a repeat start from one initialisation and see equal views of equal samples:
    # what differs is what they were trained on, and that is what a score is to show.
    seed = randomness.seed_for(run.recipe.train.seed, "train", Plan.repeat(name))
    train_unit(run, f"train/{name}", made.members(name), seed, f"encoders/{name}", device, progress)


def train_unit(
    run: Run,
    unit: str,
    uids: np.ndarray,
    seed: int,
    folder: str,
    device: str,
    progress: Progress,
    *,
    steps: int | None = None,
    **facts: Any,
) -> None:
    """Train an encoder on some samples of a run and record that.

    Args:
        run: Gives recipe and images.
        unit: Name of the completion record; its ends are what progress is reported as.
        uids: (n,) uids to train on.
        seed: Seed of initialisation, order and views.
        folder: Where the encoder goes, relative to the run.
        device: ``cpu`` or ``cuda``.
        progress: Progress callback.
        steps: Train for so many steps instead of the recipe's epochs.
        facts: What else the completion record says.
    """
    label = f"{unit.partition('/')[0]} {unit.rpartition('/')[2]}"

    def named(what: str, done: int, total: int) -> None:
        progress(label, done, total)

    out = run.path / folder
    rows = index(run, ["uid", "label"])
    images = open_canvas(run.path / "cache" / "canvas.npy", rows)
    trained = train_encoder(
        images,
        uids,
        run.recipe.training_spec(),
        seed=seed,
        out=out,
        device=device,
        states=run.states(unit),
        labels=rows["label"].fill_null(-1).to_numpy(),
        progress=named,
        steps=steps,
    )
    made = [path for path in out.rglob("*") if path.is_file()]
    run.complete(unit, made, n=len(uids), **trained.to_json(), **facts)


def train(
    run: Run,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train the encoders of a run's plan that are not trained.

    Returns:
        ``folder``, ``encoders`` (names) and ``trained`` (how many of them just now).
    """
    with run.lock():
        before = len(list((run.path / "records" / "train").glob("*.json")))
        made = train_run(run, Context.of(run, data, device, workers, progress))
    return {
        "folder": str(run.path / "encoders"),
        "encoders": list(made.encoders),
        "trained": len(made.encoders) - before,
    }
