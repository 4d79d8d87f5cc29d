"""Exports: a manifest, or the subset it keeps, for another tool. One format a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from curate.errors import UsageError, unknown
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.selection.exports import fiftyone, folder, hf_metadata, paths, table
from curate.selection.manifest import Manifest

Export = Callable[[Manifest, Path, Path, Progress], int]
"""(manifest, shards of its dataset, out, report) -> samples written."""

EXPORTS: dict[str, Export] = {
    "csv": table.write,
    "paths": paths.write,
    "folder": folder.write,
    "fiftyone": fiftyone.write,
    "hf-metadata": hf_metadata.write,
}
"""Formats by name."""
OF_THE_MANIFEST_ALONE = frozenset({"csv"})
"""Formats that need no shards."""


@dataclass(frozen=True)
class Exported(Result):
    """What was exported.

    Attributes:
        format: A name in ``EXPORTS``.
        out: File or folder.
        written: Samples in it.
    """

    format: str
    out: Path
    written: int


def export(
    manifest: Manifest,
    *,
    to: str,
    out: Path,
    shards: Path | None,
    progress: Progress = silent,
) -> Exported:
    """Write ``manifest`` in the format ``to`` at the new place ``out``.

    Args:
        manifest: What is kept.
        to: A name in ``EXPORTS``.
        out: New file or folder.
        shards: Shards of the manifest's dataset; None where they are not at hand.
        progress: Progress callback.

    Raises:
        UsageError: For an unknown format, an ``out`` that is already there, or a format that needs
            the shards where there are none.
    """
    if to not in EXPORTS:
        raise unknown("format", to, EXPORTS)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out} is already there; choose a new place.")
    if shards is None and to not in OF_THE_MANIFEST_ALONE:
        raise UsageError(
            "the manifest lies in no run, so its images are not at hand; export it to csv."
        )
    written = EXPORTS[to](manifest, shards or Path(), out, progress)
    return Exported(to, out, written)
