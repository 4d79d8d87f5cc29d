"""csv: every row of the manifest, for spreadsheets and scripts."""

from __future__ import annotations

from pathlib import Path

import pyarrow.csv

from curate.runtime.files import replacing
from curate.runtime.progress import Progress
from curate.selection.manifest import Manifest


def write(manifest: Manifest, shards: Path, out: Path, progress: Progress) -> int:
    """Write the manifest, dropped samples too, as csv; returns its number of rows."""
    with replacing(out) as temporary:
        pyarrow.csv.write_csv(manifest.table, temporary)
    rows = len(manifest.table)
    progress("export", rows, rows)
    return rows
