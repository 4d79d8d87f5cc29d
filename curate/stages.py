"""The stages up to trained encoders, and what is looked up in them: shard, plan, train, inspect.

Each stage first does what is missing before it, and leaves alone what is done.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from curate import inspection, shards, sources, spaces
from curate.errors import MismatchError, UsageError, unknown
from curate.images import Canvas, build_canvas, open_canvas, open_pixels
from curate.partition import build_plan
from curate.recipe import Recipe
from curate.records.plan import BATCH, Plan
from curate.records.sample import packed_uids
from curate.rundir import Run
from curate.runtime import randomness
from curate.runtime.files import write_table
from curate.runtime.progress import Report, silent
from curate.runtime.threads import cores
from curate.runtime.workers import Unit, run_units
from curate.training import train_encoder


@dataclass(frozen=True)
class Context:
    """How to work, as opposed to what to make: nothing here changes an artefact's meaning.

    Attributes:
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: Trainings side by side; None takes the cores over the recipe's threads on CPU and
            one on CUDA.
        data: Where the recipe's source lies on this machine.
        report: Progress callback.
    """

    device: str = "auto"
    workers: int | None = None
    data: Path | None = None
    report: Report = field(default=silent, compare=False)

    def resolved_device(self) -> str:
        """Return ``cpu`` or ``cuda``.

        Raises:
            UsageError: For another name, or if CUDA is asked for and not there.
        """
        if self.device not in ("auto", "cpu", "cuda"):
            raise unknown("device", self.device, ("auto", "cpu", "cuda"))
        there = torch.cuda.is_available()
        if self.device == "cuda" and not there:
            raise UsageError("--device cuda: no CUDA device is visible; 'curate doctor' tells why.")
        return ("cuda" if there else "cpu") if self.device == "auto" else self.device

    def training_workers(self, recipe: Recipe) -> int:
        """Return how many trainings run side by side."""
        if self.workers is not None:
            return self.workers
        if self.resolved_device() != "cpu":
            return 1
        return max(1, cores() // recipe.train.threads)


# Shards


def shard(run: Run, context: Context) -> None:
    """Write the source's images to WebDataset tars with an index.

    Raises:
        MismatchError: If they were written before and the source has other images now.
    """
    if run.done("shard"):
        return
    folder = run.path / "shards"
    with run.timed("shard"):
        facts, test_role = _written(run, context, folder)
        before = run.facts().get("dataset_fingerprint")
        if before not in (None, facts["fingerprint"]):
            raise MismatchError(
                f"{run.recipe.data.source} has other images than when run {run.path} was made "
                f"(fingerprint {before[:16]} -> {facts['fingerprint'][:16]}); use --fresh to start "
                "over."
            )
        run.note(
            dataset_fingerprint=facts["fingerprint"],
            data_path=str(context.data.resolve()) if context.data else None,
            test_role=test_role,
        )
        run.complete("shard", [p for p in folder.iterdir() if not p.name.startswith(".")])


def _written(run: Run, context: Context, folder: Path) -> tuple[dict[str, Any], str | None]:
    """Write what is not written; returns its facts, and the index's split for tests."""
    data = run.recipe.data
    source = sources.open_source(data.source, split=data.split, data=context.data)
    test = split_for_tests(data.test, source.splits, data.split)
    # A held-out split that is both is written once.
    roles = {"extra": data.extra, "test": None if test == data.extra else test}
    parts = [(source, "train")]
    for role, split in roles.items():
        if split:
            other = sources.open_source(data.source, split=split, data=context.data)
            parts.append((other, role))
    facts = shards.finished(folder)
    if facts and not all(
        (folder / name).is_file() and (folder / name).stat().st_size == shard["size"]
        for name, shard in facts["shards"].items()
    ):
        # Finished once, and damaged since; the source is open, so that nothing is lost with them.
        shutil.rmtree(folder)
        facts = None
    if facts is None:
        facts = shards.write(
            parts, folder, limit=data.limit, max_bad=data.max_bad, report=context.report
        )
    return facts, next((role for role in ("extra", "test") if test and roles[role] == test), None)


def split_for_tests(wanted: str | None, have: Sequence[str], train: str) -> str | None:
    """Return the split that probes are tested on; None makes them hold samples out."""
    if wanted != "auto":
        return wanted
    return next((s for s in ("test", "validation", "val") if s in have and s != train), None)


def index(run: Run, columns: Sequence[str] | None = None) -> pa.Table:
    """Return ``shards/index.parquet`` of a run, or some of its columns."""
    return shards.Reader(run.path / "shards").index(columns)


def own_uids(run: Run) -> np.ndarray:
    """Return the uids of the dataset itself, without held-out splits, (n,) object, sorted."""
    return _uids(index(run, ["uid", "split"]), "train").astype(np.str_).astype(object)


def _uids(rows: pa.Table, role: str) -> np.ndarray:
    """Return the uids of a split, (n,) bytes, sorted."""
    return np.sort(packed_uids(rows.filter(pc.equal(rows["split"], role))["uid"]))


# Plan


def plan(run: Run, context: Context) -> Plan:
    """Decide which encoder is trained on which sample."""
    shard(run, context)
    path = run.path / "plan.parquet"
    if not run.done("plan"):
        with run.timed("plan"):
            rows = index(run, ["uid", "split"])
            made = build_plan(run.recipe.plan, _uids(rows, "train"), _uids(rows, "extra"))
            write_table(path, made.to_table(), group=BATCH)
            run.complete("plan", [path])
    return Plan.read(path, scratch=run.path / "cache")


# Canvas


def canvas(run: Run, context: Context) -> Canvas:
    """Decode every image once and return the memory-mapped result, to be looked up by uid."""
    return Canvas(pixels(run, context), packed_uids(index(run, ["uid"])["uid"]))


def pixels(run: Run, context: Context) -> np.ndarray:
    """Decode every image once; returns (N, C, H, W) uint8 in the order of the index."""
    shard(run, context)
    data, path = run.recipe.data, run.path / "cache" / "canvas.npy"
    if not run.done("canvas"):
        with run.timed("decode"):
            build_canvas(
                run.path / "shards",
                path,
                size=data.size,
                channels=data.channels,
                fit=data.fit,
                report=context.report,
            )
            run.complete("canvas", [path])
    return open_pixels(path, len(shards.Reader(run.path / "shards")))


# Training


def train(run: Run, context: Context) -> Plan:
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
            run_units(units, context.training_workers(run.recipe), context.report)
    return made


def device_name(device: str) -> str:
    """Return what ``run.json`` says of a device: ``cpu``, or CUDA with the card's name."""
    return device if device == "cpu" else f"{device} ({torch.cuda.get_device_name()})"


def train_one(path: Path, name: str, device: str, report: Report = silent) -> None:
    """Train one encoder of the plan: a unit of work."""
    run = Run.open(path)
    made = Plan.read(run.path / "plan.parquet")
    # What an earlier training of it was measured to be says nothing of this one.
    run.forget(f"align/{name}", "score", "inspect", "snapshots")
    # All encoders of a repeat start from one initialisation and see equal views of equal samples:
    # what differs is what they were trained on, and that is what a score is to show.
    seed = randomness.seed_for(run.recipe.train.seed, "train", Plan.repeat(name))
    train_unit(run, f"train/{name}", made.members(name), seed, f"encoders/{name}", device, report)


def train_unit(
    run: Run,
    unit: str,
    uids: np.ndarray,
    seed: int,
    folder: str,
    device: str,
    report: Report,
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
        report: Progress callback.
        steps: Train for so many steps instead of the recipe's epochs.
        facts: What else the completion record says.
    """
    label = f"{unit.partition('/')[0]} {unit.rpartition('/')[2]}"

    def named(what: str, done: int, total: int) -> None:
        report(label, done, total)

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
        report=named,
        steps=steps,
    )
    made = [path for path in out.rglob("*") if path.is_file()]
    run.complete(unit, made, n=len(uids), **trained, **facts)


# Neighbours


def inspect(run: Run, context: Context) -> dict[str, Any]:
    """Find neighbours, outliers and near-duplicates, and say what kind of sample each is.

    Returns:
        What ``inspect.json`` says, and the ``path`` of the table.
    """
    space = encoder_to_inspect(run, train(run, context))
    if not inspection.up_to_date(run, space):
        images = canvas(run, context)
        with run.timed("inspect"):
            inspection.inspect(
                run, space, images, device=context.resolved_device(), report=context.report
            )
    return inspection.facts(run)


def encoder_to_inspect(run: Run, made: Plan) -> spaces.Space:
    """Return the space in which neighbours are found.

    Raises:
        UsageError: If the recipe names an encoder that is not there.
    """
    return spaces.space_of(run.recipe.inspect.encoder, made.encoders)
