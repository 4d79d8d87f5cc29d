"""Exports: a manifest, or the subset it keeps, for another tool. One format a file."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from curate.errors import UsageError, unknown
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.scores.summary import Verdict
from curate.selection.exports import (
    croissant,
    datacomp,
    fiftyone,
    folder,
    hf_metadata,
    listing,
    nemo,
    paths,
    table,
    tars,
)
from curate.selection.manifest import Manifest

Export = Callable[[Manifest, Path, Path, Progress], int]
"""(manifest, shards of its dataset, out, report) -> samples written."""

EXPORTS: dict[str, Export] = {
    "csv": table.write,
    "paths": paths.write,
    "list": listing.write,
    "folder": folder.write,
    "tars": tars.write,
    "fiftyone": fiftyone.write,
    "hf-metadata": hf_metadata.write,
    "croissant": croissant.write,
    "datacomp": datacomp.write,
    "nemo": nemo.write,
}
"""Formats by name."""
OF_THE_MANIFEST_ALONE = frozenset({"csv", "datacomp"})
"""Formats that need no shards."""
WITH_INSPECTION = frozenset({"fiftyone", "hf-metadata"})
"""Formats that say what the inspection of a run found of a sample."""


@dataclass(frozen=True)
class Exported(Result):
    """What was exported.

    Attributes:
        format: A name in ``EXPORTS``.
        out: File or folder.
        written: Samples in it.
        verdict: What the scores show that were selected by; None where nothing is known of them.
    """

    format: str
    out: Path
    written: int
    verdict: Verdict | None


def export(
    manifest: Manifest,
    *,
    to: str,
    out: Path,
    shards: Path | None,
    null: bool = False,
    progress: Progress = silent,
) -> Exported:
    """Write ``manifest`` in the format ``to`` at the new place ``out``.

    Args:
        manifest: What is kept.
        to: A name in ``EXPORTS``.
        out: New file or folder.
        shards: Shards of the manifest's dataset; None where they are not at hand.
        null: Of ``paths`` alone: end each with a null byte, not with a line break.
        progress: Progress callback.

    Raises:
        UsageError: For an unknown format, an ``out`` that is already there, or a format that needs
            the shards where there are none, or ``null`` of another format.
    """
    if to not in EXPORTS:
        raise unknown("format", to, EXPORTS)
    if null and to != "paths":
        raise UsageError(f"paths alone end with null bytes (-0), not {to}.")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out} is already there; choose a new place.")
    if shards is None and to not in OF_THE_MANIFEST_ALONE:
        raise UsageError(
            "the manifest lies in no run, so its images are not at hand; export it to "
            f"{' or '.join(sorted(OF_THE_MANIFEST_ALONE))}."
        )
    write = functools.partial(paths.write, null=True) if null else EXPORTS[to]
    written = write(manifest, shards or Path(), out, progress)
    by_chance = manifest.facts.get("strategy") == "random"
    verdict = None if by_chance else manifest.facts.get("verdict")
    return Exported(to, out, written, Verdict.from_json(verdict) if verdict else None)
