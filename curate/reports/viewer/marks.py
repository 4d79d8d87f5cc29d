"""The manifest that follows from what a person marked in the view."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import UsageError
from curate.runs import dataset
from curate.runs.recipe import digest
from curate.runs.run import Run
from curate.runtime.results import Result
from curate.selection import selection
from curate.selection.manifest import Manifest
from curate.selection.selection import BY_HAND, TAKEN

STRATEGY = BY_HAND
"""What manifests made of marks call their strategy: their reasons then say 'by hand'."""


@dataclass(frozen=True)
class Saved(Result):
    """A manifest of what was marked.

    Attributes:
        path: Of the manifest.
        kept: Samples that it keeps.
        dropped: Samples that it drops.
        by_hand: Samples that were marked keep or drop.
    """

    path: Path
    kept: int
    dropped: int
    by_hand: int


def save(run: Run, marks: dict[str, str], *, name: str, base: str | None) -> Saved:
    """Write the manifest of what was marked.

    Samples marked keep or drop are that; all others follow the manifest ``base``, or are kept.

    Args:
        run: A scored run.
        marks: By uid; ``unsure`` is noted in the reason alone.
        name: Of the manifest; one that was made by hand is replaced.
        base: Name of a manifest of the run, or None.

    Raises:
        UsageError: If the name is taken by a manifest of another kind, or is no file's name.
        InUseError: If another process works on the run.
    """
    path = run.path / "manifests" / f"{selection.file_name(name)}.parquet"
    if path.is_file() and Manifest.read(path).facts["strategy"] != STRATEGY:
        raise UsageError(f"there is a manifest {name} that was not made by hand; name another.")
    table = run.scores((*TAKEN, "memorization", "se"))
    table = table.filter(pc.is_in(table["uid"], value_set=dataset.own_uids(run))).sort_by("uid")
    keep = np.ones(table.num_rows, dtype=bool)
    why = np.full(table.num_rows, "not marked; kept", dtype=object)
    if base is not None:
        start = dataset.read_for(run, run.path / "manifests" / f"{base}.parquet").table
        keep = np.asarray(pc.equal(start["decision"], "keep").to_numpy())
        why = np.array([f"not marked; {reason}" for reason in start["reason"].to_pylist()], object)
    place = {uid: row for row, uid in enumerate(table["uid"].to_pylist())}
    by_hand = 0
    for uid, mark in marks.items():
        row = place.get(uid)
        if row is None:
            continue
        if mark == "unsure":
            why[row] = f"unsure by hand; {why[row].removeprefix('not marked; ')}"
            continue
        keep[row], why[row] = mark == "keep", f"{'kept' if mark == 'keep' else 'dropped'} by hand"
        by_hand += 1
    manifest = Manifest.build(
        table,
        keep,
        strategy=STRATEGY,
        parameters={"base": base, "marked": by_hand, "marks": digest(marks, digits=32)},
        provenance=dataset.provenance(run),
    )
    at = manifest.table.column_names.index("reason")
    table = manifest.table.set_column(at, manifest.table.schema.field(at), pa.array(why.tolist()))
    with run.lock():
        Manifest(table, manifest.facts).write(path)
    kept = int(keep.sum())
    return Saved(path, kept, len(keep) - kept, by_hand)
