"""What is to be expected of a run's samples: covariates of images and encoders, and the posterior.

Covariates go block by block, images first, then one half of the encoders after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from threadpoolctl import threadpool_limits

from curate.data.chunks import one_chunk
from curate.encoders.backbone import Encoder, load_encoder
from curate.runs.run import Run
from curate.runtime import randomness
from curate.runtime.files import on_disk
from curate.scores import covariates
from curate.scores.config import OF_ENCODERS
from curate.scores.covariates import Cloud
from curate.scores.estimator import Errors, Estimate
from curate.scores.posterior import Estimates, Posterior, posterior
from curate.stages import shard
from curate.stages.context import Context
from curate.stages.placement import Part, Placed

BATCH = 256
"""Images that are looked at or encoded at a time."""
ONE_REPEAT = (
    "covariates of images alone: those of encoders would share the noise of the only repeat; "
    "plan.repeats of 2 and more takes both"
)
NO_ERRORS = "one encoder on each side cannot show how far off a score is"


def cells(run: Run) -> tuple[int, int]:
    """Return into how many halves repeats and views are split, (1 or 2, 1 or 2).

    Only covariates of encoders need halves, and only where there are two repeats.
    """
    recipe = run.recipe
    if recipe.plan.repeats < 2 or not set(recipe.score.covariates) & set(OF_ENCODERS):
        return 1, 1
    return 2, 2 if recipe.score.views > 1 else 1


class Collected:
    """What is kept of each of the N samples of a plan, in files without a name.

    Args:
        run: The run.
        made: Its plan.
        errors: Of all samples together.
    """

    def __init__(self, run: Run, made: Placed, errors: Errors) -> None:
        self.run, self.made, self.errors = run, made, errors
        self.cells = cells(run)
        n = len(made.rows)
        self.whole, self.se, self.variance = (self.room(n) for _ in range(3))
        self.contrasts, self.level = (self.room(n, *self.cells) for _ in range(2))
        self.keys, self.places = self.room(n, kind=np.uint64), self.room(n, kind=np.int64)
        self.labels = self.room(n, kind=np.int64)

    def room(self, *shape: int, kind: Any = np.float64) -> np.ndarray:
        """Return an array of zeros that takes no memory."""
        return on_disk(shape, kind, self.run.path / "cache")

    def add(self, part: Part, found: Estimate, halves: tuple[np.ndarray, np.ndarray]) -> None:
        """Keep what was measured of some samples of a shard."""
        rows = part.rows
        self.whole[rows], self.se[rows] = found.memorization, found.se
        # One encoder a side shows no error but that of views.
        self.variance[rows] = found.between.variance + found.shared
        self.contrasts[rows], self.level[rows] = halves
        self.keys[rows] = randomness.uid_keys(part.uids)
        self.places[rows] = part.places
        if "label" in self.run.recipe.score.covariates:
            names = pa.array(part.uids).cast(pa.string())
            at = pc.index_in(names, value_set=one_chunk(part.index["uid"]))
            self.labels[rows] = part.index["label"].take(at).fill_null(-1).to_numpy()


class Expected:
    """What is to be expected of the samples of a plan.

    Args:
        found: Of all samples.
    """

    def __init__(self, found: Posterior) -> None:
        self._posterior = found
        self.facts = found.facts

    def columns(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return the columns of some rows of the plan."""
        return {
            name: getattr(self._posterior, name)[rows]
            for name in ("expected", "expected_se", "weight")
        }


def expected(collected: Collected, folders: Mapping[str, Path], context: Context) -> Expected:
    """Return what is to be expected of the samples of a plan.

    Args:
        collected: What was measured of them.
        folders: Where each encoder lies.
        context: Device and progress.
    """
    run = collected.run
    selected = run.recipe.score.covariates
    has_errors = not np.isnan(collected.errors.both)
    note = "" if has_errors else NO_ERRORS
    if has_errors and collected.cells == (1, 1):
        if set(selected) & set(OF_ENCODERS):
            note = ONE_REPEAT
        selected = tuple(name for name in selected if name not in OF_ENCODERS)
    if not has_errors:
        selected = ()
        collected.se[:] = np.nan
    images, folds = _of_images(collected, selected, context)
    halves = [
        _of_encoders(collected, selected, folders, half, context)
        for half in range(collected.cells[0] if collected.cells[0] == 2 else 0)
    ]

    def columns(rows: slice, cell: tuple[int, int]) -> np.ndarray:
        of_half = [halves[cell[0]][rows]] if halves else []
        level = collected.level[rows, cell[0], cell[1]][:, None]
        return np.column_stack(
            [images[rows], *of_half, *([level] if "alignment" in selected else [])]
        )

    estimates = Estimates(collected.whole, collected.se, collected.variance, collected.contrasts)
    scratch = run.path / "cache"
    # By another number of cores products are added up in another order.
    with threadpool_limits(1, "blas"):
        return Expected(
            posterior(estimates, columns, folds, names=selected, note=note, scratch=scratch)
        )


def _of_images(
    collected: Collected, selected: tuple[str, ...], context: Context
) -> tuple[np.ndarray, np.ndarray]:
    """Return covariates of images, (N, P), and the fold of each sample, (N,)."""
    pixels, n = shard.pixels(collected.run, context), len(collected.keys)
    reference = covariates.drawn(collected.keys, covariates.REFERENCES)
    first = [
        covariates.thumbnails(_images(pixels, collected, rows))[0] for rows in _batches(reference)
    ]
    points = np.concatenate(first)
    cloud = Cloud(points, covariates.PIXEL_COMPONENTS)
    few = covariates.drawn(collected.keys, covariates.CELLS)
    centres = Cloud(covariates.likeness(points[np.isin(reference, few)]), 0)
    itself = _places(n, reference)
    names = covariates.frequent(collected.labels) if "label" in selected else np.zeros(0)
    out, folds = np.zeros((0, 0)), collected.room(n, kind=np.int8)
    for rows in _batches(np.arange(n)):
        small, brightness, contrast = covariates.thumbnails(_images(pixels, collected, rows))
        # Samples of one cell lie in one fold, and so do near-duplicates, which look alike.
        alike = centres.nearest(covariates.likeness(small))
        folds[rows] = alike % covariates.FOLDS
        by_name = {
            "outlierness-pixels": cloud.outlierness(small, itself[rows]),
            "pixels": cloud.components(small),
            "brightness": brightness,
            "contrast": contrast,
            "label": covariates.one_hot(collected.labels[rows], names),
        }
        values = [by_name[name] for name in selected if name in by_name]
        block = np.column_stack(values) if values else np.zeros((len(rows), 0))
        if not len(out):
            out = collected.room(n, block.shape[1])
        out[rows] = block
        context.progress("covariates of images", int(rows[-1]) + 1, n)
    return out, folds


def _of_encoders(
    collected: Collected,
    selected: tuple[str, ...],
    folders: Mapping[str, Path],
    half: int,
    context: Context,
) -> np.ndarray:
    """Return covariates of the encoders of one half of the repeats, (N, P)."""
    n, plan = len(collected.keys), collected.made
    names = [name for name in ("outlierness-encoders", "embedding") if name in selected]
    if not names:
        return np.zeros((n, 0))
    pixels, device = shard.pixels(collected.run, context), context.resolved_device()
    half_encoders = [e for e, r in zip(plan.encoders, plan.repeats, strict=True) if r % 2 == half]
    first = load_encoder(folders[half_encoders[0]], device=device)
    several = [first.dim] * len(half_encoders)
    encoders = [
        first,
        *(
            load_encoder(folders[e], device=device)
            for e in half_encoders[1 : covariates.fitting(several)]
        ),
    ]
    reference = covariates.drawn(collected.keys, covariates.REFERENCES)
    by_encoder: list[list[np.ndarray]] = [[] for _ in encoders]
    for rows in _batches(reference):
        for parts, encoder in zip(by_encoder, encoders, strict=True):
            parts.append(_pooled(encoder, _images(pixels, collected, rows), device))
    whole = [np.concatenate(parts) for parts in by_encoder]
    means = [points.mean(axis=0) for points in whole]
    cloud = Cloud(covariates.centred_units(whole, means), covariates.EMBEDDING_COMPONENTS)
    itself, out = _places(n, reference), np.zeros((0, 0))
    for rows in _batches(np.arange(n)):
        images = _images(pixels, collected, rows)
        pooled = [_pooled(encoder, images, device) for encoder in encoders]
        points = covariates.centred_units(pooled, means)
        values = [
            cloud.outlierness(points, itself[rows])
            if name == "outlierness-encoders"
            else cloud.components(points)
            for name in names
        ]
        block = np.column_stack(values)
        if not len(out):
            out = collected.room(n, block.shape[1])
        out[rows] = block
        context.progress("covariates of encoders", int(rows[-1]) + 1, n)
    return out


def _pooled(encoder: Encoder, images: np.ndarray, device: str) -> np.ndarray:
    """Return the mean over tokens of clean images, (n, D) float32."""
    with torch.inference_mode():
        tokens = encoder(torch.from_numpy(images).to(device))
        pooled: np.ndarray = tokens.mean(dim=1).float().cpu().numpy()
        return pooled


def _images(pixels: np.ndarray, collected: Collected, rows: np.ndarray) -> np.ndarray:
    """Return the images of some rows of the plan, (n, C, H, W) uint8."""
    return np.ascontiguousarray(pixels[collected.places[rows]])


def _batches(rows: np.ndarray) -> list[np.ndarray]:
    """Return rows a batch at a time."""
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]


def _places(n: int, reference: np.ndarray) -> np.ndarray:
    """Return which reference each of n samples is, -1 for none."""
    places = np.full(n, -1, dtype=np.int32)
    places[reference] = np.arange(len(reference))
    return places
