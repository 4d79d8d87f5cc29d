"""Train: decide which encoder sees which sample, and train the encoders that are not trained."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.data.canvas import open_canvas
from curate.data.sample import packed_uids
from curate.encoders.config import TrainConfig
from curate.encoders.ranks import ALONE, Ranks
from curate.encoders.training import Asked, train_encoder, train_side_by_side
from curate.errors import UsageError
from curate.runs import adopted, units
from curate.runs.attempts import attempting
from curate.runs.dataset import index, later, uids_of
from curate.runs.recipe import digest
from curate.runs.run import Run
from curate.runtime import randomness
from curate.runtime.engines import LOCAL
from curate.runtime.engines.base import Engine, Unit
from curate.runtime.files import write_table
from curate.runtime.options import option
from curate.runtime.progress import Progress, Together, silent
from curate.runtime.results import Result
from curate.runtime.threads import cores
from curate.scores.config import AdoptedPlan
from curate.scores.plan import BATCH, Plan, build_plan
from curate.stages.context import Context
from curate.stages.ranks import leading, size_of
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
                encoder_plan = adopted.plan_of(run, new)
            else:
                own, extra = (packed_uids(uids_of(run, role)) for role in ("train", "extra"))
                own = own[~np.isin(own, new)]
                encoder_plan = build_plan(run.recipe.plan, own, extra, arrived)
            write_table(path, encoder_plan.to_table(), group=BATCH)
            members = {
                name: units.samples_digest(encoder_plan.members(name))
                for name in encoder_plan.encoders
            }
            first = encoder_plan.uids[~np.isin(encoder_plan.uids, new)]
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
        device = context.device_of_units()
        run.check_code("train", unit_of.values(), device)
        run.note(device=device_name(device))
        threads = run.recipe.train.threads
        if device == "cpu" and threads > cores() and context.engine is None:
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
            jobs = []
            for names in side_by_side(run.recipe.train, encoder_plan, missing):
                for name in names:
                    # What it says is of other settings; no attempt deletes what another one wrote.
                    run.record_path(unit_of[name].name).unlink(missing_ok=True)
                jobs.append(_job_of(run, names, unit_of, device))
            if context.lead is not None:
                context.lead.device = device
                context.lead.cards = context.cards() if ":" in context.device else ()
                context.lead.run(jobs, Together("train", "encoders", len(jobs), context.progress))
                return encoder_plan
            workers = context.training_workers(run.recipe)
            stacked = run.recipe.train.stack > 1
            context.do(run, jobs, workers, what="train", of="stacks" if stacked else "encoders")
    return encoder_plan


def side_by_side(config: TrainConfig, plan: Plan, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return which encoders are trained together: ``train.stack`` at most, of equal steps.

    Args:
        config: The recipe's ``train``.
        plan: Gives the samples of each.
        names: Encoders of the plan, in its order: those of a repeat, which share their views, stand
            beside each other.
    """
    by_steps: dict[tuple[int, int], list[str]] = {}
    for name in names:
        n = int(plan.inclusion[:, plan.encoders.index(name)].sum())
        batch = config.batch_of(n)
        by_steps.setdefault((batch, n // max(1, batch)), []).append(name)
    size = config.stack
    return [
        tuple(some[k : k + size]) for some in by_steps.values() for k in range(0, len(some), size)
    ]


def _job_of(
    run: Run, names: tuple[str, ...], unit_of: Mapping[str, units.Unit], device: str
) -> Unit:
    """Return the training of an encoder, or of a stack of some, for an engine."""
    threads, path = run.recipe.train.threads, str(run.path.resolve())
    arguments: dict[str, Any]
    first, *others = names
    if run.recipe.train.stack == 1:
        arguments = {"path": path, "name": first, "device": device}
        return job(f"train {first}", train_one, arguments, unit_of[first].key, threads)
    arguments = {"path": path, "names": names, "device": device}
    key = digest({name: unit_of[name].key for name in names}, digits=32)
    name = f"train {first} and {len(others)} more" if others else f"train {first}"
    return job(name, train_stack, arguments, key, threads)


def encoder_folder(run: Run, context: Context, name: str) -> Path:
    """Return the folder of an encoder of the plan; one that changed is trained anew."""
    unit = units.train(run, name)
    if not unit.intact():
        run.record_path(unit.name).unlink(missing_ok=True)
        train_run(run, context)
    return run.path / "encoders" / name


def job(
    name: str,
    function: Callable[..., None],
    arguments: dict[str, Any],
    key: str,
    threads: int,
) -> Unit:
    """Return a training for an engine: ``arguments`` has its ``device``."""
    on_card = arguments["device"] != "cpu"
    return Unit(name, function, arguments, key, cpus=threads, gpus=int(on_card))


def device_name(device: str) -> str:
    """Return what ``run.json`` says of a device: CUDA with the card's name, where it is here."""
    if device == "cpu" or not torch.cuda.is_available():
        return device
    return f"{device} ({torch.cuda.get_device_name()})"


def train_one(
    path: str, name: str, device: str, progress: Progress = silent, ranks: Ranks = ALONE
) -> None:
    """Train one encoder of the plan: a unit of work, of several processes where there are ranks."""
    run = Run.open(Path(path))
    encoder_plan = Plan.read(run.path / "plan.parquet")
    train_unit(
        run,
        units.train(run, name),
        encoder_plan.members(name),
        _seed(run, name),
        f"encoders/{name}",
        device,
        progress,
        ranks=ranks,
    )


def _seed(run: Run, name: str) -> int:
    """Return the seed of an encoder of the plan.

    All encoders of a repeat start from one initialisation and see equal views of equal samples:
    what differs is what they were trained on, and that is what a score is to show.
    """
    return randomness.seed_for(run.recipe.train.seed, "train", Plan.repeat(name))


def train_stack(path: str, names: Sequence[str], device: str, progress: Progress = silent) -> None:
    """Train several encoders of the plan side by side: one piece of work, a unit for each."""
    run = Run.open(Path(path))
    encoder_plan = Plan.read(run.path / "plan.parquet")
    trainings = {name: units.train(run, name) for name in names}
    trainings = {name: unit for name, unit in trainings.items() if not unit.done()}
    if not trainings:
        return  # Another attempt was there first.
    rows = index(run, ["uid", "label"])
    images = open_canvas(run.path / "cache" / "canvas.npy", rows, canvas_blocks(run))
    members = {name: encoder_plan.members(name) for name in trainings}
    together = sum(run.recipe.train.batch_of(len(uids)) for uids in members.values())

    def images_seen(what: str, done: int, total: int) -> None:
        progress(what, done * together, total * together)

    with contextlib.ExitStack() as stack:
        attempts = {name: stack.enter_context(attempting(unit)) for name, unit in trainings.items()}
        outcomes = train_side_by_side(
            [
                Asked(
                    members[name],
                    _seed(run, name),
                    attempt.folder / f"encoders/{name}",
                    run.states(trainings[name].name),
                )
                for name, attempt in attempts.items()
            ],
            images,
            run.recipe.training_spec(),
            device=device,
            labels=rows["label"].fill_null(-1).to_numpy(),
            progress=images_seen,
        )
        for (name, attempt), trained in zip(attempts.items(), outcomes, strict=True):
            attempt.complete(device, n=len(members[name]), **trained.to_json())


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
    ranks: Ranks = ALONE,
    **facts: Any,
) -> None:
    """Train an encoder on some samples of a run and record that.

    Args:
        run: Gives recipe and images.
        unit: What is made.
        uids: (n,) uids to train on.
        seed: Seed of initialisation, order and views.
        folder: Where the encoder goes, relative to the run, once all of it is there.
        device: ``cpu`` or ``cuda``.
        progress: Progress callback; counts images, of which each step takes a batch.
        steps: Train for so many steps instead of the recipe's epochs.
        ranks: The processes that train it, each of which calls this; the first alone writes.
        facts: What else the completion record says.
    """
    if unit.done() and ranks.size == 1:
        return  # Another attempt was there first.
    batch = run.recipe.train.batch_of(len(uids))

    def images_seen(what: str, done: int, total: int) -> None:
        progress(what, done * batch, total * batch)

    rows = index(run, ["uid", "label"])
    images = open_canvas(run.path / "cache" / "canvas.npy", rows, canvas_blocks(run))
    with attempting(unit) as attempt:
        trained = train_encoder(
            images,
            uids,
            run.recipe.training_spec(),
            seed=seed,
            out=attempt.folder / folder,
            device=device,
            states=run.states(unit.name),
            labels=rows["label"].fill_null(-1).to_numpy(),
            progress=images_seen,
            steps=steps,
            ranks=ranks,
        )
        if not ranks.rank:
            keep = unit.name.startswith("train/")
            attempt.complete(device, keep=keep, n=len(uids), **trained.to_json(), **facts)


def train(
    run: Run,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    engine: str | Engine | None = LOCAL,
    ranks: int | None = None,
    progress: Progress = silent,
) -> Trained:
    """Train the encoders of a run's plan that are not trained.

    Args:
        run: The run.
        data: Where the source's images lie on this machine.
        device: ``auto``, ``cpu``, ``cuda``, or cards by number.
        workers: Trainings side by side; one or None where there are ranks.
        engine: What does them: ``local``, ``ray``, ``ray://HOST:PORT``, ``slurm`` or an engine.
        ranks: Processes that train one encoder together, which then are trained one after the
            other; None for as many as torchrun has started, or one.
        progress: Progress callback.

    Raises:
        LostRankError: If one of several ranks cannot be reached any more.
        UsageError: If the recipe cannot be trained by so many ranks, or an engine or workers are
            named as well.
    """
    size = size_of(ranks, run.recipe.train)
    if size > 1 and engine not in (None, LOCAL):
        raise UsageError("ranks train one encoder together on this machine; leave out the engine.")
    if size > 1 and workers not in (None, 1):
        raise UsageError(
            f"{size} ranks train one encoder together, and encoders one after the other; leave out "
            f"{option(workers=workers)}."
        )
    with run.lock(), leading(size, train_one) as lead:
        before = len(list((run.path / "records" / "train").glob("*.json")))
        context = Context.of(run, data, device, workers, progress, engine, lead)
        names = train_run(run, context).encoders
    return Trained(run.path / "encoders", tuple(names), len(names) - before)
