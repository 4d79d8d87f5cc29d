"""Export: write a manifest, or what it keeps, for another tool."""

from __future__ import annotations

from pathlib import Path

from curate.runs import dataset
from curate.runs import run as run_directory
from curate.runs.run import Run
from curate.runtime.progress import Progress, silent
from curate.selection import exports
from curate.selection.exports import Exported
from curate.selection.manifest import Manifest


def export(
    manifest: str | Path, *, to: str, out: str | Path, progress: Progress = silent
) -> Exported:
    """Write a manifest (``csv``) or what it keeps (any other format) for another tool.

    Raises:
        UsageError: For an unknown format, an ``out`` that is there, or a manifest outside a run
            whose images would be needed.
        MismatchError: If the manifest was made from another dataset than the run it lies in.
    """
    path, home = Path(manifest), run_directory.enclosing(Path(manifest))
    made = dataset.read_for(Run.open(home), path) if home else Manifest.read(path)
    shards = home / "shards" if home else None
    return exports.export(made, to=to, out=Path(out), shards=shards, progress=progress)
