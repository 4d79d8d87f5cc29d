"""folder: the kept images themselves, original bytes, class by class (torchvision ImageFolder)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.exports.subset import kept_rows
from curate.progress import Report
from curate.records.manifest import Manifest
from curate.shards import Reader

EXTENSIONS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpg", b"GIF8": "gif", b"BM": "bmp"}


def write(manifest: Manifest, shards: Path, out: Path, report: Report) -> int:
    """Write ``out/CLASS/KEY.EXT`` for every kept sample; returns how many.

    Class folders carry the class index, since a class name may be no safe file name; samples
    without a label go to ``unlabelled``. The folder appears under its name only when whole.
    """
    reader = Reader(shards)
    rows = kept_rows(manifest, reader)
    index = reader.index(["key", "label"])
    width = len(str(pc.max(index["label"]).as_py() or 0))
    index = index.take(pa.array(rows))
    building = out.with_name(f".{out.name}.part")
    # What an interrupted export left.
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    for done, (sample, data) in enumerate(zip(_samples(index), reader.read(rows), strict=True), 1):
        label = sample["label"]
        place = building / ("unlabelled" if label is None else f"{label:0{width}d}")
        place.mkdir(exist_ok=True)
        (place / f"{sample['key']}.{_extension(data)}").write_bytes(data)
        report("export", done, len(rows))
    if out.is_dir():
        out.rmdir()
    building.rename(out)
    return len(rows)


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
