"""hf-metadata: the kept images and a metadata.parquet, as Hugging Face's ImageFolder reads them.

``datasets.load_dataset("imagefolder", data_dir=OUT)`` gives an ``image`` column and one for each
column of ``metadata.parquet``; pushed to the hub as it is, the dataset viewer shows and filters it.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from curate.data.shards import Reader
from curate.runtime.files import write_table
from curate.runtime.progress import Progress
from curate.selection.exports.subset import built, described, kept_rows, write_images
from curate.selection.manifest import Manifest


def write(manifest: Manifest, shards: Path, out: Path, progress: Progress) -> int:
    """Write ``out/images/CLASS/KEY.EXT`` and ``out/metadata.parquet``; returns how many."""
    reader = Reader(shards)
    rows = kept_rows(manifest, reader)
    with built(out) as folder:
        places = write_images(reader, rows, folder / "images", progress)
        names = pa.array([f"images/{place}" for place in places], pa.string())
        table = described(manifest, reader, rows)
        write_table(folder / "metadata.parquet", table.add_column(0, "file_name", names))
    return len(rows)
