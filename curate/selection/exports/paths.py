"""paths: the original path of every kept sample, one a line, for a file list."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from curate.data.shards import Reader
from curate.errors import DataError
from curate.runtime.files import replacing
from curate.runtime.progress import Progress
from curate.runtime.text import short
from curate.selection.exports.subset import kept_rows
from curate.selection.manifest import Manifest

AT_A_TIME = 1 << 16
"""Paths that are held as Python texts at a time."""


UNLISTABLE = r"[\x00-\x1f\x7f\x{85}\x{2028}\x{2029}]|\\x[0-9a-f]{2}|\\ud[89a-f]"
"""What makes more lines of a name, and bytes that are no UTF-8, which are stored spelled out."""


def _check(names: pa.ChunkedArray) -> None:
    """Refuse names that are no line, or that no file has.

    Raises:
        DataError: If there is one.
    """
    wrong = names.filter(pc.match_substring_regex(names, UNLISTABLE))
    if len(wrong):
        raise DataError(
            f"{len(wrong):,} paths cannot stand on a line, such as {short(wrong[0].as_py())}: they "
            "hold line breaks or bytes that are no UTF-8. Rename the files, or use --to csv or "
            "--to folder."
        )


def write(manifest: Manifest, shards: Path, out: Path, progress: Progress) -> int:
    """Write the kept samples' original paths in index order; returns how many."""
    reader = Reader(shards)
    rows = kept_rows(manifest, reader)
    names = reader.index(["path"])["path"].take(pa.array(rows))
    _check(names)
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for start in range(0, len(names), AT_A_TIME):
            stream.writelines(f"{name}\n" for name in names[start : start + AT_A_TIME].to_pylist())
            progress("export", min(start + AT_A_TIME, len(names)), len(names))
    return len(rows)
