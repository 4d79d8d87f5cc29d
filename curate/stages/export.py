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
    manifest: str | Path,
    *,
    to: str,
    out: str | Path,
    null: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Write a manifest (``csv``) or what it keeps (any other format) for another tool.

    Args:
        manifest: A manifest (``.parquet``).
        to: A name in ``selection.exports.EXPORTS``.
        out: New file or folder.
        null: Of ``paths`` alone: end each with a null byte, not with a line break.
        progress: Progress callback.

    Raises:
        UsageError: For an unknown format, an ``out`` that is there, or a manifest outside a run
            whose images would be needed.
        DataError: If a line break is in a path, a shard is damaged, or the manifest or the
            inspection that goes with the images changed since it was made.
        MismatchError: If the manifest was made from another dataset than the run it lies in.
    """
    path, home = Path(manifest), run_directory.enclosing(Path(manifest))
    selection = dataset.read_for(Run.open(home), path) if home else Manifest.read(path)
    if home and to in exports.WITH_INSPECTION:
        run = Run.open(home)
        run.held("inspect", "inspect.parquet")
        dataset.say_outdated(run, only="inspect")
    shards = home / "shards" if home else None
    return exports.export(
        selection, to=to, out=Path(out), shards=shards, null=null, progress=progress
    )
