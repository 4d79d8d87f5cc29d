"""What a manifest keeps: found in the shards of its dataset, and written as files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.labels import storable_text
from curate.data.ordering import one_chunk, places
from curate.data.shards import Reader
from curate.runtime.files import read_json, write_table, write_text
from curate.runtime.progress import Progress
from curate.runtime.text import visible
from curate.selection.manifest import Manifest

EXTENSIONS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif", b"BM": "bmp"}
INSPECTED = ("triage", "triage_reason", "outlier_score", "duplicate_group")
"""Columns of ``inspect.parquet`` that go with a sample where its run was inspected."""


def kept_rows(manifest: Manifest, reader: Reader) -> np.ndarray:
    """Return the positions of the kept samples in the index, ascending, (n,) int64."""
    kept = manifest.table.filter(pc.equal(manifest.table["decision"], "keep"))["uid"]
    rows = places(one_chunk(kept), one_chunk(reader.index(["uid"])["uid"]))
    assert not rows.null_count, "the manifest was checked against the dataset"
    return np.sort(rows.to_numpy())


@contextlib.contextmanager
def built(out: Path) -> Iterator[Path]:
    """Yield a folder to write into that gets the name ``out`` only when it is whole."""
    building = out.with_name(f".{out.name}.part")
    # What an interrupted export left.
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    yield building
    if out.is_dir():
        out.rmdir()
    building.rename(out)


def write_images(reader: Reader, rows: np.ndarray, folder: Path, progress: Progress) -> list[str]:
    """Write ``folder/CLASS/KEY.EXT`` for samples, original bytes; returns the paths below folder.

    Class folders carry the class index, since a class name may be no safe file name; samples
    without a label go to ``unlabelled``.

    Args:
        reader: Shards of the dataset.
        rows: (n,) positions in the index, ascending.
        folder: Where to.
        progress: Progress callback.
    """
    index = reader.index(["key", "label"])
    width = _digits(index["label"])
    index = index.take(pa.array(rows))
    places = []
    for done, (sample, data) in enumerate(zip(_samples(index), reader.read(rows), strict=True), 1):
        label = sample["label"]
        place = "unlabelled" if label is None else f"{label:0{width}d}"
        (folder / place).mkdir(parents=True, exist_ok=True)
        places.append(f"{place}/{sample['key']}.{_extension(data)}")
        (folder / places[-1]).write_bytes(data)
        progress("export", done, len(rows))
    return places


def write_classes(reader: Reader, folder: Path) -> None:
    """Write ``folder/classes.txt``, a line a class folder: its name, a tab, the class's name.

    The numbers are those of the sorted class names: class ``10`` comes before ``2``.
    """
    names = read_json(reader.folder / "dataset.json").get("classes") or []
    width = _digits(reader.index(["label"])["label"])
    if names:
        lines = (f"{i:0{width}d}\t{visible(str(name))}\n" for i, name in enumerate(names))
        write_text(folder / "classes.txt", "".join(lines))


def _digits(labels: pa.ChunkedArray) -> int:
    """Return how many digits the largest label has."""
    return len(str(pc.max(labels).as_py() or 0))


def _samples(index: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield key and label of each row."""
    for batch in index.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()


def _extension(data: bytes) -> str:
    """Return the file extension that the first bytes of an image stand for."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:4] in (b"II*\x00", b"MM\x00*"):
        return "tif"
    return next((ext for magic, ext in EXTENSIONS.items() if data.startswith(magic)), "ppm")


def described(manifest: Manifest, reader: Reader, rows: np.ndarray) -> pa.Table:
    """Return what is known of samples, a row each in the order of ``rows``.

    Returns:
        The manifest's columns, ``class`` (the label's name, null without one), ``path`` (the
        original one) and, where the run was inspected, ``INSPECTED``.
    """
    index = reader.index(["uid", "label", "path"]).take(pa.array(rows))
    uids = index["uid"].combine_chunks()
    at = pc.index_in(uids, value_set=manifest.table["uid"].combine_chunks())
    table = manifest.table.take(at).append_column("class", _classes(reader, index["label"]))
    table = table.append_column("path", index["path"])
    inspected = reader.folder.parent / "inspect.parquet"
    if inspected.is_file():
        columns = {"uid", *INSPECTED} & {*pq.read_schema(inspected).names}
        found = pq.read_table(inspected, columns=sorted(columns))
        at = pc.index_in(uids, value_set=found["uid"].combine_chunks())
        for name in INSPECTED:
            if name in columns:
                table = table.append_column(name, found[name].take(at))
    return table


def write_described(
    manifest: Manifest, reader: Reader, rows: np.ndarray, folder: Path, progress: Progress
) -> pa.Table:
    """Write ``folder/images/CLASS/KEY.EXT`` and ``folder/metadata.parquet``; returns that table."""
    places = write_images(reader, rows, folder / "images", progress)
    names = pa.array([f"images/{place}" for place in places], pa.string())
    table = described(manifest, reader, rows).add_column(0, "file_name", names)
    write_table(folder / "metadata.parquet", table)
    return table


def _classes(reader: Reader, labels: pa.ChunkedArray) -> pa.Array:
    found = read_json(reader.folder / "dataset.json").get("classes") or []
    names = pa.array([storable_text(str(name)) for name in found], pa.string())
    labels = labels.combine_chunks()
    known = pc.and_(pc.greater_equal(labels, 0), pc.less(labels, len(names)))
    return names.take(pc.if_else(known, labels, pa.scalar(None, pa.int64())))
