"""Forecast: what a recipe will take, from a few real steps of its training, before it starts."""

from __future__ import annotations

import contextlib
import itertools
import logging
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curate.data import sources
from curate.data.canvas import Canvas
from curate.encoders import methods
from curate.encoders.backbone import Encoder
from curate.encoders.checkpoint import tensors_of
from curate.encoders.schedule import optimizer, snapshot_epochs
from curate.encoders.training import train_encoder
from curate.errors import UsageError
from curate.runs.opening import recipe_of
from curate.runs.recipe import Recipe
from curate.runs.run import Run
from curate.runtime import randomness
from curate.runtime.engines import LOCAL
from curate.runtime.engines.base import Engine, Unit
from curate.runtime.engines.slurm import Slurm
from curate.runtime.progress import silent
from curate.runtime.results import Result
from curate.runtime.text import duration
from curate.scores.alignment import align_images
from curate.scores.config import AdoptedPlan
from curate.scores.plan import Plan, build_plan
from curate.stages import train
from curate.stages.context import Context, engine_folder

log = logging.getLogger("curate")

SECONDS = 20.0
"""A step that would take longer than this is told from steps on smaller batches."""
SMALL = 8
"""Images of the first batch that is measured with."""
CLASSES = 1000
"""Labels of the made-up images that are measured with."""
BYTES_ALIGNED = 40
"""Bytes of an alignment besides its views: uid, mean, standard error."""


@dataclass(frozen=True)
class Parameters(Result):
    """How many parameters there are.

    Attributes:
        encoder: Of the encoder.
        method: In training: those of the encoder, of heads and of a teacher.
    """

    encoder: int
    method: int


@dataclass(frozen=True)
class Forecast(Result):
    """What training and scoring will take.

    Attributes:
        device: ``cpu``, or CUDA with the card's name.
        samples: Samples of the plan.
        encoders: How many samples each encoder is trained on, by its name.
        to_train: Encoders that are left to train.
        parameters: Of one training.
        steps: Of all trainings that are left.
        batch_size: Images of a step.
        seconds_per_step: Measured here, on random images.
        scaled: Whether a step was measured on a smaller batch.
        workers: Trainings side by side.
        train_seconds: Of all trainings that are left.
        score_seconds: Of the scoring of all samples.
        peak_memory_bytes: Of one training: of the card on CUDA, else of the process; None where
            ``scaled``.
        disk_bytes: What is written, by ``images``, ``encoders``, ``states`` and ``alignment``.
        free_disk_bytes: What is free there.
        script: What Slurm would be handed for the trainings that are left; None without it.
    """

    device: str
    samples: int
    encoders: dict[str, int]
    to_train: int
    parameters: Parameters
    steps: int
    batch_size: int
    seconds_per_step: float
    scaled: bool
    workers: int
    train_seconds: float
    score_seconds: float
    peak_memory_bytes: int | None
    disk_bytes: dict[str, int]
    free_disk_bytes: int
    script: str | None = None


def forecast(
    name: str | Recipe,
    *,
    runs: str | Path = "runs",
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    engine: str | Engine | None = LOCAL,
) -> Forecast:
    """Tell what training and scoring a recipe will take; nothing is written.

    Times come from a few steps on random images of the recipe's size on this machine, so that the
    reading of images is not in them.

    Args:
        name: A recipe or its name, or a run, what has been done of which is not counted.
        runs: Folder that holds the runs.
        overrides: ``{"section.key": value}`` that replaces values of the recipe.
        data: Where the recipe's source lies on this machine.
        device: ``auto``, ``cpu``, ``cuda``, or cards: ``cuda:0-7``.
        workers: Trainings side by side; None chooses.
        engine: As in ``run``. Times are this machine's all the same.

    Raises:
        DataError: If there are fewer samples than the plan needs.
        MemoryError: If a step does not fit.
    """
    recipe, run = recipe_of(name, runs=runs, overrides=overrides, data=data)
    if isinstance(recipe.plan, AdoptedPlan):
        raise UsageError(f"the encoders of {name} were adopted: there is nothing to train.")
    context = Context.of(run, data, device, workers, silent, engine)
    device = context.resolved_device()
    plan = _plan(recipe, context, run)
    left = [e for e in plan.encoders if run is None or not run.done(f"train/{e}")]
    sizes = {e: int(plan.inclusion[:, k].sum()) for k, e in enumerate(plan.encoders)}
    steps = [_steps(recipe, sizes[e]) for e in left]
    batch = recipe.train.batch_of(min(sizes.values()))
    encoder, tensors, parameters = _network(recipe)
    per_step, scaled = _step_seconds(recipe, batch, device)
    peak = None if scaled else _peak(device)
    workers = max(1, min(context.training_workers(recipe), len(left)))
    n, e = len(plan.uids), len(plan.encoders)
    return Forecast(
        device=train.device_name(device),
        samples=n,
        encoders=sizes,
        to_train=len(left),
        parameters=parameters,
        steps=sum(steps),
        batch_size=batch,
        seconds_per_step=per_step,
        scaled=scaled,
        workers=workers,
        train_seconds=per_step * longest(steps, workers),
        score_seconds=n * e * _score_seconds(recipe, encoder, device),
        peak_memory_bytes=peak,
        disk_bytes={
            "images": n * recipe.data.channels * recipe.data.size**2,
            "encoders": e * _bytes(encoder.state_dict()) * (1 + len(snapshot_epochs(recipe.train))),
            "states": 2 * workers * _bytes(tensors),
            "alignment": n * e * (BYTES_ALIGNED + 4 * recipe.score.views),
        },
        free_disk_bytes=shutil.disk_usage(run.path if run else Path.cwd()).free,
        script=_script(run.path if run else Path(runs) / recipe.name, recipe, context, left),
    )


def _script(path: Path, recipe: Recipe, context: Context, names: Sequence[str]) -> str | None:
    """Return what Slurm would be handed for the trainings of some encoders; None without it."""
    if not isinstance(context.engine, Slurm) or not names:
        return None
    gpus = int(context.device_of_units() != "cpu")
    stack, cpus = recipe.train.stack, recipe.train.threads
    does = train.train_one if stack == 1 else train.train_stack
    jobs = [Unit(e, does, cpus=cpus, gpus=gpus) for e in names[::stack]]
    return context.engine.script(jobs, engine_folder(path))


def say(run: Run, context: Context) -> None:
    """Say how long the trainings that a run lacks will take, if it lacks any."""
    left = forecast(
        str(run.path),
        data=context.data,
        device=context.device,
        workers=context.workers,
        engine=context.engine,
    )
    if left.to_train:
        log.info(
            "forecast    about %s to train %d encoders on %s, and %s to score",
            duration(left.train_seconds),
            left.to_train,
            left.device,
            duration(left.score_seconds),
        )


def _plan(recipe: Recipe, context: Context, run: Run | None) -> Plan:
    """Return the plan of the run, or one of as many made-up samples as the sources hold."""
    if run is not None and run.done("plan"):
        return Plan.read(run.path / "plan.parquet")
    counts = []
    for split in (recipe.data.split, recipe.data.extra):
        count = 0
        if split:
            source = sources.open_data(recipe.data, split=split, data=context.data)
            count = sum(1 for _ in itertools.islice(source.paths(), recipe.data.limit))
        counts.append(count)
    names = [f"{randomness.stream(0, k):016x}{0:016x}" for k in range(sum(counts))]
    assert not isinstance(recipe.plan, AdoptedPlan), "was refused"
    return build_plan(recipe.plan, names[: counts[0]], names[counts[0] :])


def _steps(recipe: Recipe, samples: int) -> int:
    return recipe.train.epochs * (samples // max(1, recipe.train.batch_of(samples)))


def longest(steps: list[int], workers: int) -> int:
    """Return the steps of the worker that has most, each taking the next training when free."""
    loads = [0] * workers
    for n in steps:
        loads[loads.index(min(loads))] += n
    return max(loads)


def _network(recipe: Recipe) -> tuple[Encoder, dict[str, torch.Tensor], Parameters]:
    """Return the encoder, the tensors of a training's state, and how many parameters there are."""
    config = recipe.encoder
    encoder = Encoder(
        config.backbone, size=recipe.data.size, channels=recipe.data.channels, patch=config.patch
    )
    method = methods.build(config.method, encoder, recipe.method_config, CLASSES)
    moments = optimizer(method, recipe.train, "cpu")
    for parameter in method.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    moments.step()
    counts = Parameters(
        encoder=sum(p.numel() for p in encoder.parameters()),
        method=sum(p.numel() for p in method.parameters()),
    )
    return encoder.eval(), tensors_of(method, moments), counts


def _bytes(tensors: dict[str, torch.Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _random_canvas(recipe: Recipe, n: int) -> tuple[Canvas, np.ndarray]:
    """Return n random images and their uids."""
    data = recipe.data
    pixels = np.random.default_rng(0).integers(
        0, 256, (n, data.channels, data.size, data.size), dtype=np.uint8
    )
    uids = np.array([f"{randomness.stream(1, k):016x}{k:016x}" for k in range(n)], dtype=object)
    return Canvas(pixels, uids.astype(np.bytes_)), uids


def _step_seconds(recipe: Recipe, batch: int, device: str) -> tuple[float, bool]:
    """Return the seconds of a step, and whether they were told from smaller batches."""
    small = min(SMALL, batch)
    seconds = _measured(recipe, small, device)
    if small == batch:
        return seconds, False
    # A GPU takes hardly longer for many images than for few.
    if device == "cpu":
        other = min(batch, 4 * SMALL if seconds < SECONDS / 16 else SMALL // 4)
        fixed, each = fixed_and_each({small: seconds, other: _measured(recipe, other, device)})
        if fixed + each * batch > SECONDS:
            return fixed + each * batch, True
    return _measured(recipe, batch, device), False


def fixed_and_each(measured: Mapping[int, float]) -> tuple[float, float]:
    """Return the seconds that are fixed and those of each image, by what two numbers took."""
    (few, short), (many, long) = sorted(measured.items())
    each = (long - short) / (many - few)
    # Noise, or a machine that takes many at once: what is fixed cannot be told.
    each = each if 0 < each < long / many else long / many
    return long - each * many, each


class _Enough(Exception):  # noqa: N818 - it ends a measurement, not a training
    """The measurement has taken long enough."""


def _measured(recipe: Recipe, batch: int, device: str) -> float:
    """Return the median seconds of a few training steps, behind the first, on so many images."""
    canvas, uids = _random_canvas(recipe, batch)
    times: list[float] = []

    def report(what: str, done: int, total: int) -> None:
        times.append(time.monotonic())
        if done >= 3 and times[-1] - times[0] > SECONDS / 4:
            raise _Enough

    with tempfile.TemporaryDirectory(prefix="curate-") as folder, contextlib.suppress(_Enough):
        train_encoder(
            canvas,
            uids,
            recipe.training_spec(),
            seed=0,
            out=Path(folder),
            device=device,
            labels=np.arange(batch) % CLASSES,
            progress=report,
            steps=20,
        )
    return float(np.median(np.diff(times)))


def _peak(device: str) -> int:
    """Return the most memory that was held so far: the card's on CUDA, else this process's."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    # Kilobytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _score_seconds(recipe: Recipe, encoder: Encoder, device: str) -> float:
    """Return the seconds to measure one more sample on one encoder."""
    moved = {"e": encoder.to(device)}

    def taken(n: int) -> float:
        canvas, uids = _random_canvas(recipe, n)
        started = time.monotonic()
        align_images(
            moved,
            canvas.array,
            randomness.uid_keys(uids),
            recipe.measuring_views(),
            recipe.score,
            representation=recipe.encoder.representation,
            device=device,
        )
        return time.monotonic() - started

    taken(SMALL)  # the first time is not like the others
    few = taken(SMALL)
    if few > SECONDS / 4:
        return few / SMALL
    return fixed_and_each({SMALL: few, 4 * SMALL: taken(4 * SMALL)})[1]
