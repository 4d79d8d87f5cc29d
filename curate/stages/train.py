"""Train: decide which encoder sees which sample, and train the encoders that are not trained."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.data.canvas import open_canvas
from curate.data.sample import packed_uids
from curate.encoders.training import train_encoder
from curate.runs import adopted, units
from curate.runs.dataset import index, later, uids_of
from curate.runs.run import Run
from curate.runtime import randomness
from curate.runtime.files import write_table
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.runtime.threads import cores
from curate.runtime.workers import Unit, run_units
from curate.scores.config import AdoptedPlan
from curate.scores.plan import BATCH, Plan, build_plan
from curate.stages.context import Context
from curate.stages.shard import canvas, canvas_blocks, shard_run

log = logging.getLogger("curate")


@dataclass(frozen=True)
class Trained(Result):
    """The encoders of a run.

    Attributes:
        folder: Where they are.
        encoders: Their names: each is a folder there.
        trained: How many of them were trained just now.
    """

    folder: Path
    encoders: tuple[str, ...]
    trained: int


def plan(run: Run, context: Context) -> Plan:
    """Decide which encoder is trained on which sample."""
    shard_run(run, context)
    path, unit = run.path / "plan.parquet", units.plan(run)
    if not unit.intact():
        with unit.making("plan"):
            arrived = later(run)
            new = np.concatenate([np.zeros(0, "S32"), *(more.uids for more in arrived)])
            if isinstance(run.recipe.plan, AdoptedPlan):
                made = adopted.plan_of(run, new)
            else:
                own, extra = (packed_uids(uids_of(run, role)) for role in ("train", "extra"))
                own = own[~np.isin(own, new)]
                made = build_plan(run.recipe.plan, own, extra, arrived)
            write_table(path, made.to_table(), group=BATCH)
            members = {name: units.samples_digest(made.members(name)) for name in made.encoders}
            first = made.uids[~np.isin(made.uids, new)]
            unit.complete(
                [path],
                members=members,
                samples=units.samples_digest(first),
                added=[units.samples_digest(more.uids) for more in arrived],
            )
    return Plan.read(path, scratch=run.path / "cache")


def train_run(run: Run, context: Context) -> Plan:
    """Train the encoders of the plan that are not trained; of adopted ones none are."""
    encoder_plan = plan(run, context)
    if adopted.is_adopted(run):
        adopted.record(run, encoder_plan)
        return encoder_plan
    unit_of = {name: units.train(run, name) for name in encoder_plan.encoders}
    missing = [name for name, unit in unit_of.items() if not unit.done()]
    if missing:
        run.check_settings(unit_of[name] for name in missing)
        device = context.resolved_device()
        run.check_code("train", unit_of.values(), device)
        run.note(device=device_name(device))
        threads = run.recipe.train.threads
        if device == "cpu" and threads > cores():
            # Nobody takes fewer unasked: the last digits of the weights would be others.
            log.warning(
                "train.threads is %d, on %d cores: a training is faster with as many threads as "
                "there are cores; its last digits are others then.",
                threads,
                cores(),
            )
        missing = [name for name in missing if not unit_of[name].fetch(device)]
    if missing:
        canvas(run, context)
        with run.timed("train"):
            jobs = [
                Unit(f"train {name}", train_one, {"path": run.path, "name": name, "device": device})
                for name in missing
            ]
            workers = context.training_workers(run.recipe)
            run_units(
                jobs,
                workers,
                context.progress,
                what="train",
                of="encoders",
                begin=context.begin(),
            )
    return encoder_plan


def encoder_folder(run: Run, context: Context, name: str) -> Path:
    """Return the folder of an encoder of the plan; one that changed is trained anew."""
    unit = units.train(run, name)
    if not unit.intact():
        run.record_path(unit.name).unlink(missing_ok=True)
        train_run(run, context)
    return run.path / "encoders" / name


def device_name(device: str) -> str:
    """Return what ``run.json`` says of a device: ``cpu``, or CUDA with the card's name."""
    return device if device == "cpu" else f"{device} ({torch.cuda.get_device_name()})"


def train_one(path: Path, name: str, device: str, progress: Progress = silent) -> None:
    """Train one encoder of the plan: a unit of work."""
    run = Run.open(path)
    encoder_plan = Plan.read(run.path / "plan.parquet")
    # All encoders of a repeat start from one initialisation and see equal views of equal samples:
    # what differs is what they were trained on, and that is what a score is to show.
    seed = randomness.seed_for(run.recipe.train.seed, "train", Plan.repeat(name))
    train_unit(
        run,
        units.train(run, name),
        encoder_plan.members(name),
        seed,
        f"encoders/{name}",
        device,
        progress,
    )


def train_unit(
    run: Run,
    unit: units.Unit,
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
        unit: What is made.
        uids: (n,) uids to train on.
        seed: Seed of initialisation, order and views.
        folder: Where the encoder goes, relative to the run.
        device: ``cpu`` or ``cuda``.
        progress: Progress callback; counts images, of which each step takes a batch.
        steps: Train for so many steps instead of the recipe's epochs.
        facts: What else the completion record says.
    """
    batch = min(run.recipe.train.batch_size, len(uids))

    def images_seen(what: str, done: int, total: int) -> None:
        progress(what, done * batch, total * batch)

    out = run.path / folder
    run.record_path(unit.name).unlink(missing_ok=True)
    rows = index(run, ["uid", "label"])
    images = open_canvas(run.path / "cache" / "canvas.npy", rows, canvas_blocks(run))
    trained = train_encoder(
        images,
        uids,
        run.recipe.training_spec(),
        seed=seed,
        out=out,
        device=device,
        states=run.states(unit.name),
        labels=rows["label"].fill_null(-1).to_numpy(),
        progress=images_seen,
        steps=steps,
    )
    files = [path for path in out.rglob("*") if path.is_file()]
    keep = unit.name.startswith("train/")
    unit.complete(files, device, keep=keep, n=len(uids), **trained.to_json(), **facts)


def train(
    run: Run,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    progress: Progress = silent,
) -> Trained:
    """Train the encoders of a run's plan that are not trained."""
    with run.lock():
        before = len(list((run.path / "records" / "train").glob("*.json")))
        names = train_run(run, Context.of(run, data, device, workers, progress)).encoders
    return Trained(run.path / "encoders", tuple(names), len(names) - before)
