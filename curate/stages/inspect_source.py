"""Inspect a source: outliers, near-duplicates and leaks by embeddings alone, without a run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.data import addresses, shards, sources
from curate.data.canvas import Canvas, build_canvas, open_canvas
from curate.data.config import DataConfig
from curate.encoders.pretrained import Foreign
from curate.encoders.representation import features
from curate.errors import UsageError
from curate.inspection import spaces
from curate.inspection.config import InspectConfig
from curate.inspection.summary import Inspection
from curate.runs.fitting import whole_source
from curate.runtime.files import write_table
from curate.runtime.options import option
from curate.runtime.progress import Progress, silent
from curate.runtime.settings import checked
from curate.stages import inspect, shard
from curate.stages.context import Context

IMAGES = "images.parquet"
"""Where the inspected images lie: uid, path, split and label of each, held-out ones included."""
SIDE = 64
"""Of the canvas where no encoder looks at it: what near-duplicates and statistics need."""
READING = ".images-"
"""What the folder begins with that holds the images while they are read."""
TOLD = ("uid", "path", "split", "label")


def inspect_source(
    source: str,
    out: str | Path,
    *,
    encoder: str | None = None,
    embeddings: str | Path | None = None,
    settings: Mapping[str, Any] | None = None,
    split: str = "train",
    test: str | None = "auto",
    data: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Inspection:
    """Find outliers, near-duplicates and leaks of a source's images; nothing is trained.

    ``inspect.parquet``, ``inspect_neighbours.parquet`` and ``inspect.json`` go into a folder, and
    ``images.parquet``, which says what image each uid is.

    Args:
        source: A SOURCE.
        out: The folder; what an earlier inspection wrote there is replaced.
        encoder: Gives the space: ``timm:NAME``, a file of weights, or a saved encoder's folder.
        embeddings: Instead of an encoder a ``.npy``, rows in the order of the source's paths, or a
            ``.parquet`` that names samples by ``uid`` or ``path``.
        settings: Of a recipe's section ``inspect``: ``backbone``, ``neighbours`` and so on.
        split: Split of the source.
        test: What may have leaks: a split, a pattern, a folder or a SOURCE; ``auto`` takes what the
            source has for tests, None nothing.
        data: Where the source lies on this machine.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Progress callback.

    Raises:
        UsageError: If not one of ``encoder`` and ``embeddings`` is given, or something cannot be
            understood.
        DataError: If embeddings do not fit the source, or images cannot be read.
        ResourceError: If FAISS is not installed, or pretrained weights cannot be had.
    """
    if (encoder is None) == (embeddings is None):
        either = f"{option(encoder=...)} or {option(embeddings=...)}"
        raise UsageError(f"say what gives the space: either {either}.")
    place, folder = addresses.placed(data), Path(out)
    name = encoder if embeddings is None else str(embeddings)
    config = checked(InspectConfig, {**(settings or {}), "encoder": name})
    if embeddings is not None and Path(embeddings).suffix not in (".npy", ".parquet"):
        argument = option(embeddings=str(embeddings))
        raise UsageError(f"{argument}: expected a .npy or a .parquet file.")
    space = spaces.space_of(config, [])
    data_config = DataConfig(source=whole_source(source), split=split, test=test)
    opened = sources.open_data(data_config, data=place)
    context = Context.of(None, data, device, 1, progress)
    # What cannot work is found out before images are read.
    order = None
    if space.kind == "file" and Path(space.name).suffix == ".npy":
        order = pa.chunked_array([pa.array(opened.paths(), pa.string())])
        spaces.check_rows(Path(space.name), len(order), f"the paths of {opened.name}")
    network = None
    if space.kind != "file":
        network = spaces.network_of(space, None, context.resolved_device())
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f"{READING}*"):
        # Left by a process that was killed.
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=READING) as reading:
        size = network.size if network else SIDE
        channels = network.channels if network else 3
        if isinstance(network, Foreign):
            by = network.preprocessing.interpolation
            data_config = data_config.model_copy(update={"interpolation": by})
        images = _read(data_config, opened, context, Path(reading), size=size, channels=channels)
        index = shards.Reader(Path(reading) / "shards").index([*inspect.INDEXED, "path"])
        own = inspect.own_rows(index)
        if network is not None:
            points = features(network, images, own, progress)
        else:
            needed = {
                key: index[key].take(pa.array(own)).combine_chunks() for key in ("uid", "path")
            }
            names = index["path"] if order is None else order
            points = spaces.read_embeddings(
                Path(space.name), "path", names, needed, order=f"the paths of {opened.name}"
            )
        device = context.resolved_device()
        inspection = inspect.inspected(
            index, images, points, config, space, device=device, progress=progress, home=folder
        )
        write_table(folder / IMAGES, index.select([*TOLD]))
        paths = inspection.write(folder)
    return Inspection.load(paths[2], path=paths[0])


def _read(
    config: DataConfig,
    opened: sources.Source,
    context: Context,
    folder: Path,
    *,
    size: int,
    channels: int,
) -> Canvas:
    """Read and decode the images of a source and those for its tests, into a folder."""

    def split(name: str) -> sources.Source:
        return sources.open_data(config, data=context.data, split=name)

    parts = [(opened, "train")]
    test_split = shard.split_for_tests(config.test, opened.splits, opened.split)
    if test_split:
        parts.append((sources.open_tests(test_split, opened, reopen=split), "test"))
    shard.say(shards.write(parts, folder / "shards", progress=context.progress))
    path = folder / "canvas.npy"
    build_canvas(
        folder / "shards",
        path,
        size=size,
        channels=channels,
        interpolation=config.interpolation,
        progress=context.progress,
    )
    return open_canvas(path, shards.Reader(folder / "shards").index(["uid"]))
