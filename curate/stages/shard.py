"""Shard: write the images of a source to tars with an index, and decode them once."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate.data import account, addresses, shards, sources, splits
from curate.data.canvas import Canvas, build_canvas, open_pixels
from curate.data.sample import packed_uids
from curate.data.sources import Source
from curate.errors import DataError, MismatchError
from curate.runs import units
from curate.runs.dataset import index
from curate.runs.run import Run
from curate.runtime.files import read_json
from curate.runtime.options import option
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.stages.context import Context

ADDING = "cache/adding"
"""Where what is being added to a run waits until it is whole."""
LOG = logging.getLogger("curate.shard")
INDEX = ("shards/index.parquet", "shards/dataset.json")
"""Files of the shards that are checked whole; an image is checked when it is read."""


@dataclass(frozen=True)
class Split(Result):
    """How many images of a split there are.

    Attributes:
        written: Images that were written.
        rejected: Images that were not: ``rejected.jsonl`` says why.
    """

    written: int
    rejected: int


@dataclass(frozen=True)
class File(Result):
    """A file that was written.

    Attributes:
        sha256: Its hash.
        size: Its bytes.
    """

    sha256: str
    size: int


@dataclass(frozen=True)
class Shard(File):
    """A tar that was written.

    Attributes:
        end: Where its last sample ends, in bytes.
        samples: How many it holds.
    """

    end: int
    samples: int


@dataclass(frozen=True)
class Sharded(Split):
    """A dataset that was written: what ``dataset.json`` holds, and the sums over its splits.

    Attributes:
        fingerprint: Of all images, labels and splits.
        classes: Names of the labels, in their order; empty where labels have no names.
        splits: By name.
        account: What became of all that the sources held, by role: ``in``, ``written``,
            ``rejected``, ``left_out``, the reasons of each, and what was ``chosen``.
        shards: The tars, by name.
        index: ``index.parquet``.
        path: The folder.
    """

    fingerprint: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    account: dict[str, Any]
    shards: dict[str, Shard]
    index: File
    path: Path


def shard_run(run: Run, context: Context) -> None:
    """Write the source's images to WebDataset tars with an index.

    Raises:
        MismatchError: If they were written before and the source has other images now.
    """
    folder, unit = run.path / "shards", units.shard(run)
    if unit.intact(INDEX):
        return
    if run.added:
        go_on_adding(run)
        return
    record = run.record(unit.name)
    # Settings of another source were asked for with retrain: its images are other ones.
    other = record is not None and record["key"] != unit.key
    before = None if other else run.facts().get("dataset_fingerprint")
    with unit.making("shard"):
        facts, test_role = _written(run, context, folder, None if other else record, other)
        if before not in (None, facts["fingerprint"]):
            raise MismatchError(
                f"{run.recipe.data.source} has other images than when run {run.path} was made "
                f"(fingerprint {before[:16]} -> {facts['fingerprint'][:16]}); use "
                f"{option(fresh=True)} to start over."
            )
        run.note(
            dataset_fingerprint=facts["fingerprint"],
            data_path=addresses.lasting(context.data) if context.data else None,
            test_role=test_role,
        )
        files = [path for path in folder.iterdir() if not path.name.startswith(".")]
        unit.complete(files, by_content=True, fingerprint=facts["fingerprint"])


def go_on_adding(run: Run) -> None:
    """Take what is being added to a run into its shards, where that is not done.

    ``run.json`` says that it belongs to the run; the new tars, and index and facts of all, wait in
    ``ADDING``. Every step may be done twice, so that it does not matter where it was cut short.
    """
    unit, beside, folder = units.shard(run), run.path / ADDING, run.path / "shards"
    if not run.added or unit.intact(INDEX):
        return
    record = run.record(unit.name)
    if record is not None and record["parts"].get("data") != unit.parts["data"]:
        raise MismatchError(
            f"images were added to run {run.path}, so that it stays with its source; use "
            f"{option(called='NAME')} for a run of other images."
        )
    if not (beside / "index.parquet").exists() and not _holds(folder, unit):
        raise DataError(
            f"{run.path / 'shards'} is not what was recorded, and images were added to it that "
            f"are not made again by themselves; restore it, or start over with "
            f"{option(fresh=True)} and add them."
        )
    last = ("dataset.json", "index.parquet")
    names = sorted(path.name for path in beside.glob("*")) if beside.is_dir() else []
    for name in sorted(names, key=lambda name: (name in last, name)):
        (beside / name).replace(folder / name)
    fingerprint = read_json(folder / "dataset.json")["fingerprint"]
    run.note(dataset_fingerprint=fingerprint)
    files = [path for path in folder.iterdir() if not path.name.startswith(".")]
    unit.complete(files, by_content=True, fingerprint=fingerprint)
    shutil.rmtree(beside, ignore_errors=True)


def _holds(folder: Path, unit: units.Unit) -> bool:
    """Return whether shards are those of a unit already, and only its record is missing."""
    facts = _sound(folder, None)
    return facts is not None and facts["fingerprint"] == unit.parts["added"][-1]


def _written(
    run: Run, context: Context, folder: Path, record: Mapping[str, Any] | None, replace: bool
) -> tuple[dict[str, Any], str | None]:
    """Write what is not written; returns its facts, and the index's split for tests.

    Args:
        run: The run.
        context: Where the source's images lie, and progress.
        folder: Of the shards.
        record: What was recorded of shards by these settings.
        replace: Whether what the folder holds was made by other settings.
    """
    data = run.recipe.data

    def opened(split: str) -> Source:
        return sources.open_data(data, split=split, data=context.data)

    source = opened(data.split)
    test = split_for_tests(data.test, source.splits, source.split)
    # A held-out split that is both is written once.
    roles = {"extra": data.extra, "test": None if test == data.extra else test}
    parts = [(source, "train")]
    if data.extra:
        parts.append((opened(data.extra), "extra"))
    if roles["test"]:
        parts.append((sources.open_tests(roles["test"], source, reopen=opened), "test"))
    facts = None if replace else _sound(folder, record)
    if facts is None and (replace or (folder / "index.parquet").exists() or record is not None):
        # Finished once, and damaged since; the source is open, so that nothing is lost with them.
        shutil.rmtree(folder, ignore_errors=True)
    if facts is None:
        facts = shards.write(
            parts, folder, limit=data.limit, max_bad=data.max_bad, progress=context.progress
        )
        say(facts)
    return facts, next((role for role in ("extra", "test") if test and roles[role] == test), None)


def _sound(folder: Path, record: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the facts of shards that were finished and have not changed since, else None."""
    try:
        facts = shards.finished(folder)
        if facts is None or not units.unchanged(folder / "index.parquet", facts["index"]["sha256"]):
            return None
        whole = all(
            (folder / name).is_file() and (folder / name).stat().st_size == shard_facts["size"]
            for name, shard_facts in facts["shards"].items()
        )
    except (DataError, KeyError, TypeError):
        return None
    recorded = record["outputs"].get("shards/dataset.json") if record else None
    if recorded and not units.unchanged(folder / "dataset.json", recorded["sha256"]):
        return None
    return facts if whole else None


def split_for_tests(wanted: str | None, have: Sequence[str], train: str) -> str | None:
    """Return the split that probes are tested on; None makes them hold samples out."""
    if wanted != "auto":
        return wanted
    return splits.for_tests(have, train)


def say(facts: Mapping[str, Any]) -> None:
    """Say what became of all that the sources held, and what was chosen."""
    for line in account.lines(facts):
        LOG.info("%s", line)


def canvas(run: Run, context: Context) -> Canvas:
    """Decode every image once and return the memory-mapped result, to be looked up by uid."""
    return Canvas(pixels(run, context), packed_uids(index(run, ["uid"])["uid"]))


def pixels(run: Run, context: Context) -> np.ndarray:
    """Decode every image once; returns (N, C, H, W) uint8 in the order of the index."""
    shard_run(run, context)
    data, path = run.recipe.data, run.path / "cache" / "canvas.npy"
    unit = units.canvas(run)
    if not unit.done() and not unit.fetch("cpu"):
        with unit.making("decode"):
            blocks = build_canvas(
                run.path / "shards",
                path,
                size=data.size,
                channels=data.channels,
                fit=data.fit,
                interpolation=data.interpolation,
                progress=context.progress,
            )
            unit.complete([path], "cpu", blocks=blocks)
    return open_pixels(path, len(shards.Reader(run.path / "shards")), canvas_blocks(run))


def canvas_blocks(run: Run) -> list[str]:
    """Return the digests of the blocks of the decoded images."""
    record = units.canvas(run).done()
    assert record is not None, "the canvas comes first"
    return list(record["blocks"])


def shard(
    source: str,
    out: str | Path,
    *,
    split: str = "train",
    test: str | None = None,
    label: str | None = None,
    image: str | None = None,
    outside: bool = False,
    data: str | Path | None = None,
    limit: int | None = None,
    max_bad: float = 0.01,
    progress: Progress = silent,
) -> Sharded:
    """Write a source's images to WebDataset tars with an index in a new folder.

    Args:
        source: A SOURCE, or the path of a folder, of parquet files or of tars.
        out: New folder.
        split: Split of the source: a name, a pattern of paths, or ``all``.
        test: What is for tests and written besides: a split, a pattern, a folder or a SOURCE.
        label: Column of labels, or ``none``.
        image: Column of images.
        outside: Whether links and rows may lead out of the source's folder.
        data: Where the source lies on this machine.
        limit: Use this many samples of each split.
        max_bad: Largest share of samples that may be rejected.
        progress: Progress callback.

    Raises:
        UsageError: For an unknown source, a folder that is not empty, or what can be read in two
            ways.
        DataError: If nothing could be read, or more than ``max_bad`` was rejected.
    """
    place = addresses.placed(data)

    def opened(name: str) -> Source:
        return sources.open_source(
            source, split=name, data=place, label=label, image=image, outside=outside
        )

    first = opened(split)
    parts = [(first, "train")]
    if test is not None:
        parts.append((sources.open_tests(test, first, reopen=opened), "test"))
    facts = shards.write(parts, Path(out), limit=limit, max_bad=max_bad, progress=progress)
    say(facts)
    return Sharded.from_json({**facts, "path": out})
