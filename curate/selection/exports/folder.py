"""folder: the kept images themselves, original bytes, class by class (torchvision ImageFolder)."""

from __future__ import annotations

from pathlib import Path

from curate.data.shards import Reader
from curate.runtime.progress import Progress
from curate.selection.exports.subset import built, kept_rows, write_classes, write_images
from curate.selection.manifest import Manifest


def write(manifest: Manifest, shards: Path, out: Path, progress: Progress) -> int:
    """Write ``out/CLASS/NAME`` for every kept sample, and ``classes.txt``; returns how many."""
    reader = Reader(shards)
    rows = kept_rows(manifest, reader)
    with built(out) as folder:
        write_images(reader, rows, folder, progress)
        write_classes(reader, folder)
    return len(rows)
