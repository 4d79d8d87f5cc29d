"""paths: the original path of every kept sample, one a line, for a file list."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from curate.data.shards import Reader
from curate.runtime.files import replacing
from curate.runtime.progress import Progress
from curate.selection.exports.subset import kept_rows
from curate.selection.manifest import Manifest

AT_A_TIME = 1 << 16
"""Paths that are held as Python texts at a time."""


def write(manifest: Manifest, shards: Path, out: Path, progress: Progress) -> int:
    """Write the kept samples' original paths in index order; returns how many."""
    reader = Reader(shards)
    rows = kept_rows(manifest, reader)
    names = reader.index(["path"])["path"].take(pa.array(rows))
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for start in range(0, len(names), AT_A_TIME):
            stream.writelines(f"{name}\n" for name in names[start : start + AT_A_TIME].to_pylist())
            progress("export", min(start + AT_A_TIME, len(names)), len(names))
    return len(rows)
