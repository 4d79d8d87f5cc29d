"""paths: the original path of every kept sample, one a line, for a file list."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from curate.atomic import write_text
from curate.exports.subset import kept_rows
from curate.progress import Report
from curate.records.manifest import Manifest
from curate.shards import Reader


def write(manifest: Manifest, shards: Path, out: Path, report: Report) -> int:
    """Write the kept samples' original paths in index order; returns how many."""
    reader = Reader(shards)
    rows = kept_rows(manifest, reader)
    names = reader.index(["path"])["path"].take(pa.array(rows)).to_pylist()
    write_text(out, "".join(f"{name}\n" for name in names))
    report("export", len(rows), len(rows))
    return len(rows)
