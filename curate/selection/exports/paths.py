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


BREAKS = r"[\x00-\x1f\x7f\x{85}\x{2028}\x{2029}]"
"""What makes more lines of a name."""
SPELLED = r"\\x[0-9a-f]{2}|\\ud[89a-f]"
"""Bytes that are no UTF-8, which are stored spelled out: no file is called so."""


def _check(names: pa.ChunkedArray, *, null: bool) -> None:
    """Refuse names that are no line, or that no file has.

    Raises:
        DataError: If there is one.
    """
    for pattern, what in (
        ("\0" if null else BREAKS, "hold a line break; end paths with null bytes (-0)"),
        (SPELLED, "hold bytes that are no UTF-8; rename the files, or use --to csv or --to folder"),
    ):
        wrong = names.filter(pc.match_substring_regex(names, pattern))
        if len(wrong):
            first = short(wrong[0].as_py())
            raise DataError(f"{len(wrong):,} kept paths, such as {first}, {what}.")


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
    _check(names, null=null)
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        for start in range(0, len(names), AT_A_TIME):
            some = names[start : start + AT_A_TIME].to_pylist()
            stream.writelines(f"{name}{end}" for name in some)
            progress("export", min(start + AT_A_TIME, len(names)), len(names))
    return len(rows)
