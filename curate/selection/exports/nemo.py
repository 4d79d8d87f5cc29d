"""nemo: the images that NeMo Curator is to remove from the shards of a run.

``ImageDuplicatesRemovalStage(removal_parquets_dir=OUT)`` drops the images whose ids are in the
column ``id`` of ``OUT/*.parquet``. An id is what ``ImageReaderStage`` gives an image of a tar that
it reads alone (``FilePartitioningStage(files_per_partition=1)``): the tar's name and the image's
number in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.data.shards import Reader
from curate.errors import DataError
from curate.runtime.progress import Progress
from curate.selection.exports.subset import built, kept_rows
from curate.selection.manifest import Manifest

SCHEMA = pa.schema([("id", pa.string())])


def write(manifest: Manifest, shards: Path, out: Path, progress: Progress) -> int:
    """Write ``out/remove.parquet``, the ids of all samples that are not kept; returns how many are.

    Raises:
        DataError: If the images in the tars are not called ``.jpg``: NeMo Curator reads no others.
    """
    reader = Reader(shards)
    if len(reader) and not _called_jpg(shards / "00000.tar"):
        raise DataError(
            f"{shards}: NeMo Curator reads images called .jpg alone, and those in the tars are "
            "not; export to datacomp, paths or folder."
        )
    rows = kept_rows(manifest, reader)
    dropped = np.ones(len(reader), dtype=bool)
    dropped[rows] = False
    start = 0
    with built(out) as folder, pq.ParquetWriter(folder / "remove.parquet", SCHEMA) as table:
        for part in reader.parts(["shard"]):
            numbers = np.flatnonzero(dropped[start : start + len(part)])
            tar = Path(part["shard"][0].as_py()).stem
            table.write_table(pa.table({"id": [f"{tar}_{k:06d}" for k in numbers]}, SCHEMA))
            start += len(part)
            progress("export", start, len(dropped))
    return len(rows)


def _called_jpg(tar: Path) -> bool:
    """Tell whether the first member of a tar, and so every image of the dataset, ends in .jpg."""
    with tar.open("rb") as stream:
        return stream.read(100).rstrip(b"\0").endswith(b".jpg")
