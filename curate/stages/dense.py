"""Dense sources: ``seg:DIR`` and ``depth:DIR``, read to an encoder's size, and probes on them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.data.canvas import Fit
from curate.data.pairs import TEST, TRAIN, open_pairs, write_pairs
from curate.encoders.backbone import load_encoder
from curate.errors import DataError, UsageError
from curate.evaluation.config import DENSE, DenseConfig, ProbeConfig, SegConfig
from curate.evaluation.dense import TASKS, measure_dense, measured
from curate.evaluation.dense.base import DenseResult, DenseSet
from curate.evaluation.dense.network import check_installed
from curate.runs import units
from curate.runs.run import Run
from curate.runtime import randomness
from curate.runtime.files import is_folder, read_json, sealed, write_json, write_table
from curate.runtime.options import option
from curate.runtime.progress import Progress
from curate.stages.context import Context

MOST = 1024
"""Classes of a segmentation."""
OF_ADE20K = "objectInfo150.txt"
"""The file beside ADE20K's folders, whose masks call what is no class 0."""
BLOCK = 256
"""Targets that are looked at together."""


@dataclass(frozen=True)
class Shown:
    """How an encoder that is probed is shown images, and where what was read of sources is kept.

    Attributes:
        home: The folder.
        size: Side of its images.
        channels: 1 or 3.
        fit: How an image that is not square fills them.
    """

    home: Path
    size: int
    channels: int
    fit: Fit = "crop"

    @classmethod
    def of(cls, run: Run) -> Shown:
        """Return how encoders of a run are."""
        data = run.recipe.data
        return cls(run.path / "probes" / "data", data.size, data.channels, data.fit)

    def canvas(self) -> dict[str, Any]:
        """Return what shapes the images that are shown."""
        return {"size": self.size, "channels": self.channels, "fit": self.fit}


def place_of(name: str) -> tuple[str, Path] | None:
    """Return the kind and the folder of ``seg:DIR`` or ``depth:DIR``; None for another source.

    Raises:
        UsageError: If no folder is named, or there is none.
    """
    kind, colon, place = name.partition(":")
    if kind not in DENSE or not colon:
        if name.partition("=")[0] in DENSE:
            raise UsageError(f"{option(on=[name])}: write {name.partition('=')[0]}:DIR.")
        return None
    if not place:
        raise UsageError(
            f"{option(on=[name])}: write {kind}:DIR, the folder of images and what is beside."
        )
    folder = Path(place).expanduser()
    if not is_folder(folder):
        raise UsageError(f"{option(on=[name])}: there is no folder {place}.")
    return kind, folder


def settings_of(asked: ProbeConfig, name: str) -> DenseConfig:
    """Return the settings of the probe on a dense source; what folders say of masks filled in."""
    kind_and_place = place_of(name)
    assert kind_and_place is not None
    kind, place = kind_and_place
    config: DenseConfig = getattr(asked, kind)
    if isinstance(config, SegConfig) and config.void is None and (place / OF_ADE20K).is_file():
        return config.model_copy(update={"void": (0, 255)})
    return config


def dense_set(
    name: str,
    config: DenseConfig,
    folder: Path,
    wanted: Mapping[str, Any],
    shown: Shown,
    progress: Progress,
) -> DenseSet:
    """Return a dense source at an encoder's size; what was read of it before is read again.

    Args:
        name: ``seg:DIR`` or ``depth:DIR``.
        config: The settings of its probe.
        folder: Where it is kept; its name says what it was read of.
        wanted: What it is read of, which is stored beside it.
        shown: How the encoder is shown images.
        progress: Progress callback.

    Raises:
        DataError: If something is missing, cannot be read, or has no size in common.
        ResourceError: If the decoders are not installed.
        UsageError: If there is no such folder.
    """
    check_installed()
    kind_and_place = place_of(name)
    assert kind_and_place is not None
    kind, place = kind_and_place
    task, ready = TASKS[kind], folder / "ready.json"
    if not ready.is_file():
        # An interrupted reading is begun again.
        shutil.rmtree(folder, ignore_errors=True)
        pairs = open_pairs(place, task.beside)
        content: dict[str, Any] = {**wanted}
        for role in (TRAIN, TEST):
            written = write_pairs(
                pairs,
                role,
                folder,
                lambda numbers: task.target(numbers, config),
                size=shown.size,
                channels=shown.channels,
                fit=shown.fit,
                kind=task.beside,
                progress=progress,
            )
            content[role] = {"uids": list(written.uids), "digest": written.digest}
        content["classes"] = _classes(name, folder) if kind == "seg" else []
        write_json(ready, sealed(content))
    content = read_json(ready)
    images, targets, test_images, test_targets = (
        _opened(folder / f"{role}.{what}.npy", len(content[role]["uids"]))
        for role in (TRAIN, TEST)
        for what in ("images", "targets")
    )
    data = DenseSet(
        name=name,
        kind=kind,
        images=images,
        targets=targets,
        test=np.array(content[TEST]["uids"], dtype=np.bytes_),
        test_images=test_images,
        test_targets=test_targets,
        keys=randomness.uid_keys(np.array(content[TRAIN]["uids"], dtype=np.bytes_), repeats=True),
        classes=tuple(content["classes"]),
        made_of="-".join(content[role]["digest"] for role in (TRAIN, TEST)),
    )
    _check(data)
    return data


def _opened(path: Path, n: int) -> np.ndarray:
    """Return a memory-mapped array of n images."""
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {path}: {error}; delete its folder, it is made again.") from (
            error
        )
    if len(array) != n:
        raise DataError(f"{path} holds {len(array)} images, not {n}; delete its folder.")
    return array


def _classes(name: str, folder: Path) -> list[int]:
    """Return the numbers of the classes in the masks of both splits, and write their places.

    Raises:
        DataError: If there are fewer than two, or too many.
    """
    paths = [folder / f"{role}.targets.npy" for role in (TRAIN, TEST)]
    numbers: set[float] = set()
    for path in paths:
        masks = np.load(path, mmap_mode="r", allow_pickle=False)
        for start in range(0, len(masks), BLOCK):
            some = np.unique(masks[start : start + BLOCK])
            numbers.update(some[~np.isnan(some)].tolist())
    if not 2 <= len(numbers) <= MOST:
        raise DataError(
            f"{name}: the masks hold {len(numbers):,} classes beside void; 2 to {MOST:,} can be "
            "told apart. Masks have a number a pixel, and probe.seg.void says which are none."
        )
    classes = np.array(sorted(numbers), dtype=np.float32)
    for path in paths:
        masks = np.load(path, mmap_mode="r+", allow_pickle=False)
        for start in range(0, len(masks), BLOCK):
            some = masks[start : start + BLOCK]
            number = np.searchsorted(classes, some).astype(np.float32)
            masks[start : start + BLOCK] = np.where(np.isnan(some), np.nan, number)
        masks.flush()
    return [int(number) for number in classes]


def _check(data: DenseSet) -> None:
    """Check that there is something to train and to test on.

    Raises:
        DataError: If not.
    """
    for targets, n, least, what in (
        (data.targets, len(data.images), 2, "training"),
        (data.test_targets, len(data.test), 1, "test"),
    ):
        if n < least:
            raise DataError(f"{data.name} has {n} {what} images, and {least} are needed.")
        blocks = range(0, n, BLOCK)
        if all(np.isnan(targets[start : start + BLOCK]).all() for start in blocks):
            beside = TASKS[data.kind].beside.name
            raise DataError(f"{data.name}: no pixel of the {what} images has a {beside}.")


def probe_dense(
    encoder: Any, data: DenseSet, config: DenseConfig, progress: Progress
) -> tuple[list[DenseResult], dict[str, np.ndarray]]:
    """Probe an encoder on a dense source: its measures, and sums by test image."""
    sums = measure_dense(encoder, data, config, progress=progress)
    return [result for result, _ in measured(data, config, sums)], sums


def dense_probed(
    run: Run,
    context: Context,
    encoder: Path,
    data: DenseSet,
    config: DenseConfig,
    *,
    key: str,
    seed: int,
) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Probe an arm's encoder on a dense source, unless that was done: a unit of work.

    Args:
        run: Where the sums by test image are kept, ``comparisons/probes/NAME.parquet``.
        context: Device and progress.
        encoder: The encoder's folder.
        data: The source.
        config: Decoder and schedule.
        key: Of the encoder's training.
        seed: Of the decoder.

    Returns:
        Each measure, and its part of every test image, (m,) float64.
    """
    parts = {
        "encoder": key,
        "source": data.made_of,
        "settings": config.model_dump(mode="json"),
        "seed": seed,
    }
    unit = units.Unit(run, "", parts)
    name = f"{key[:16]}-{unit.key[:8]}"
    unit = replace(unit, name=f"compare/probes/{name}")
    file = run.path / "comparisons" / "probes" / f"{name}.parquet"
    if unit.intact() is None:
        network = load_encoder(encoder, device=context.resolved_device())
        sums = measure_dense(network, data, config, seed=seed, progress=context.progress)
        write_table(file, sums_table(data, sums))
        unit.complete([file])
    sums = read_sums(file)
    return [(result.to_json(), values) for result, values in measured(data, config, sums)]


def sums_table(data: DenseSet, sums: Mapping[str, np.ndarray]) -> pa.Table:
    """Return a row for each test image, its uid and what was summed over its pixels."""
    uids = pa.array(data.test).cast(pa.string())
    lists = {
        name: pa.array(list(part)) if part.ndim == 2 else pa.array(part)
        for name, part in sums.items()
    }
    return pa.table({"uid": uids, **lists})


def read_sums(file: Path) -> dict[str, np.ndarray]:
    """Return what ``sums_table`` holds, without the uids."""
    table = pq.read_table(file)
    return {
        name: np.array(table[name].to_pylist(), dtype=np.float64)
        for name in table.column_names
        if name != "uid"
    }
