"""paths: the original path of every kept sample, one a line, for a file list."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from curate.data.shards import Reader
from curate.runtime.files import replacing
from curate.runtime.options import option
from curate.runtime.progress import Progress
from curate.selection.exports.subset import check_lines, kept_rows
from curate.selection.manifest import Manifest

AT_A_TIME = 1 << 16
"""Paths that are held as Python texts at a time."""


def write(
    manifest: Manifest, shards: Path, out: Path, progress: Progress, *, null: bool = False
) -> int:
    """Write the kept samples' original paths in index order; returns how many.

    Args:
        manifest: What is kept.
        shards: Shards of its dataset.
        out: New file.
        progress: Progress callback.
        null: End each path with a null byte, as ``xargs -0`` and ``rsync -0`` read them, and not
            with a line break, which a path may hold.

    Raises:
        DataError: If a path holds what ends one, or bytes that are no UTF-8.
    """
    reader, end = Reader(shards), "\0" if null else "\n"
    rows = kept_rows(manifest, reader)
    names = reader.index(["path"])["path"].take(pa.array(rows))
    otherwise = "" if null else f"end paths with null bytes ({option(null=True)})"
    check_lines(names, otherwise=otherwise, null=null)
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        for start in range(0, len(names), AT_A_TIME):
            batch = names[start : start + AT_A_TIME].to_pylist()
            stream.writelines(f"{name}{end}" for name in batch)
            progress("export", min(start + AT_A_TIME, len(names)), len(names))
    return len(rows)
