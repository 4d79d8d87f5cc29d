"""hf-metadata: the kept images and a metadata.parquet, as Hugging Face's ImageFolder reads them.

``datasets.load_dataset("imagefolder", data_dir=OUT)`` gives an ``image`` column and one for each
column of ``metadata.parquet``; pushed to the hub as it is, the dataset viewer shows and filters it.
"""

from __future__ import annotations

from pathlib import Path

from curate.data.shards import Reader
from curate.runtime.progress import Progress
from curate.selection.exports.subset import built, kept_rows, write_described
from curate.selection.manifest import Manifest


def write(manifest: Manifest, shards: Path, out: Path, progress: Progress) -> int:
    """Write ``out/images/CLASS/NAME`` and ``out/metadata.parquet``; returns how many."""
    reader = Reader(shards)
    rows = kept_rows(manifest, reader)
    with built(out) as folder:
        write_described(manifest, reader, rows, folder, progress)
    return len(rows)
