"""Verification: is everything that was recorded still there, and unchanged?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from curate.data import shards
from curate.data.shards import Fault
from curate.errors import CurateError, DataError, UsageError
from curate.runs.dataset import manifest_names, say_outdated
from curate.runs.marks import Marks
from curate.runs.run import Run
from curate.runtime.files import TEMPORARY, file_sha256, read_json
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.selection.manifest import stored
from curate.selection.selection import BY_HAND


@dataclass(frozen=True)
class Verified(Result):
    """What was checked, and what is wrong with it.

    Attributes:
        path: A run directory, a folder of shards, or a manifest.
        kind: ``run``, ``shards`` or ``manifest``.
        checked: How many files and samples.
        full: Whether every hash was checked.
        ok: Whether there are no faults.
        faults: With files relative to ``path``.
    """

    path: Path
    kind: str
    checked: int
    full: bool
    ok: bool
    faults: tuple[Fault, ...]


def verify(path: str | Path, *, full: bool = False, progress: Progress = silent) -> Verified:
    """Check a run, shards or a manifest, and go on behind what is wrong.

    Args:
        path: A run directory, a folder of shards, or a manifest's parquet file.
        full: Check every hash; else only that files are there with the size they had. A manifest
            is always checked in full.
        progress: Progress callback.

    Raises:
        UsageError: If ``path`` is none of these.
    """
    path = Path(path)
    if (path / "run.json").is_file():
        kind, (checked, faults) = "run", _run(path, full, progress)
        if not faults:
            say_outdated(Run.open(path))
    elif any((path / name).is_file() for name in ("index.parquet", "dataset.json")):
        kind, (checked, faults) = "shards", shards.faults(path, full=full, progress=progress)
    elif path.suffix == ".parquet" and path.is_file():
        kind, (_, checked, faults) = "manifest", _manifest(path, path.name)
    else:
        what = "is no run, no folder of shards and no manifest" if path.exists() else "is not there"
        raise UsageError(f"{path} {what}; give a run, shards or a manifest's .parquet file.")
    return Verified(path, kind, checked, full, not faults, tuple(faults))


def _run(path: Path, full: bool, progress: Progress) -> tuple[int, list[Fault]]:
    """Check the shards' samples, what the completion records name, and the manifests."""
    checked, faults = 1, []
    try:
        Run.open(path)
    except CurateError as error:
        faults.append(_fault("run.json", error, path / "run.json"))
    digests: dict[str, str] = {}
    folder = path / "shards"
    if any((folder / name).is_file() for name in ("index.parquet", "dataset.json")):
        n, damaged = shards.faults(folder, full=full, progress=progress)
        checked += n
        faults += [replace(fault, file=f"shards/{fault.file}") for fault in damaged]
        if full and n:
            digests = _digests(folder)
    faulty = {fault.file for fault in faults}
    records = sorted((path / "records").rglob("*.json"))
    for done, record in enumerate(records, 1):
        for name, fault in _record(path, record, digests, full=full):
            checked += 1
            # Whatever was wrong with a shard is named once, and where it is wrong.
            if fault is not None and name not in faulty:
                faulty.add(name)
                faults.append(fault)
        progress("verify records", done, len(records))
    recorded = {
        name for record in records for name, _ in _record(path, record, digests, full=False)
    }
    for name in _made(path):
        if name not in recorded and name not in faulty:
            checked += 1
            faults.append(Fault(name, "has no record, so that nobody knows whether it is whole"))
    by_hand = False
    for name in manifest_names(path):
        checked += 1
        manifest = path / "manifests" / f"{name}.parquet"
        facts, _, own_faults = _manifest(manifest, f"manifests/{name}.parquet")
        by_hand |= facts.get("strategy") == BY_HAND
        faults += own_faults
    faults += _marks(path, by_hand)
    return checked, faults


def _marks(path: Path, by_hand: bool) -> list[Fault]:
    """Return what is wrong with the marks of a run, of which a manifest may have been made."""
    marks = Marks(path / "marks.jsonl")
    if by_hand and not marks.path.is_file():
        return [Fault(marks.path.name, "is missing, and a manifest was made of it")]
    damaged = marks.parse()[1]
    if not damaged:
        return []
    lines = ", ".join(map(str, damaged[:LINES_NAMED])) + ("..." if damaged[LINES_NAMED:] else "")
    return [Fault(marks.path.name, f"is damaged and marks nothing in line {lines}")]


LINES_NAMED = 5
"""Damaged lines of marks that are named."""
MADE = (
    *("plan.parquet", "encoders/*/*", "alignment/*", "alignment/*/*", "scores.*", "views.parquet"),
    *("inspect*", "measures.*", "measures/*", "localize.json", "units.parquet", "snapshots.json"),
    *("cache/canvas.npy", "shards/index.parquet", "shards/*.tar", "retrained/*/*"),
    *("comparisons/*/comparison.*",),
)
"""Files of a run that completion records name."""


def _made(path: Path) -> list[str]:
    """Return the files of a run that some record should name."""
    files = {file for pattern in MADE for file in path.glob(pattern) if file.is_file()}
    return sorted(f.relative_to(path).as_posix() for f in files if not f.name.endswith(TEMPORARY))


def _digests(folder: Path) -> dict[str, str]:
    """Return the sha256 of each shard, by its path in the run; those that differ were named."""
    by_name = read_json(folder / "dataset.json")["shards"]
    return {f"shards/{name}": shard["sha256"] for name, shard in by_name.items()}


def _record(
    path: Path, record: Path, digests: Mapping[str, str], *, full: bool
) -> Iterator[tuple[str, Fault | None]]:
    """Yield every file that a completion record names, with what is wrong with it."""
    name = str(record.relative_to(path))
    try:
        outputs = {
            str(output): (int(facts["bytes"]), str(facts["sha256"]))
            for output, facts in read_json(record)["outputs"].items()
        }
    except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
        yield name, _fault(name, error, record)
        return
    for output, (size, digest) in outputs.items():
        yield output, _file(path / output, output, size, digest, digests, full=full)


def _file(
    file: Path, name: str, size: int, digest: str, digests: Mapping[str, str], *, full: bool
) -> Fault | None:
    try:
        if not file.is_file():
            return Fault(name, "is missing")
        if (actual := file.stat().st_size) != size:
            return Fault(name, f"has {actual:,} bytes, not {size:,}")
        if full and (digests.get(name) or file_sha256(file)) != digest:
            return Fault(name, "changed since it was made")
    except OSError as error:
        return Fault(name, f"cannot be read ({error.strerror})")
    return None


def _manifest(path: Path, name: str) -> tuple[dict[str, Any], int, list[Fault]]:
    """Return facts and number of rows of a manifest, and what is wrong with it."""
    try:
        return *stored(path), []
    except CurateError as error:
        return {}, 0, [_fault(name, error, path)]


def _fault(name: str, error: Exception, path: Path) -> Fault:
    """Return an error as a fault of the file at ``path``, which it need not name again."""
    text = str(error) or type(error).__name__
    return Fault(name, text.removeprefix(str(path)).strip().rstrip("."))
