"""Verification: is everything that was recorded still there, and unchanged?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from curate.atomic import file_sha256, read_json
from curate.errors import DataError, UsageError
from curate.progress import Report, silent
from curate.records.manifest import Manifest
from curate.shards import Reader


def verify(path: Path, *, full: bool = False, report: Report = silent) -> dict[str, Any]:
    """Check a run, shards or a manifest.

    Args:
        path: A run directory, a folder of shards, or a manifest's parquet file.
        full: Check every hash; else only that files are there with the size they had. A manifest
            is always checked in full.
        report: Progress callback.

    Returns:
        ``path``, ``kind`` (``run``, ``shards`` or ``manifest``), ``checked`` (how many files and
        samples) and ``full``.

    Raises:
        UsageError: If ``path`` is none of these.
        DataError: If anything is missing or changed; the first faults are named.
    """
    if (path / "run.json").is_file():
        kind, (checked, faults) = "run", _run(path, full, report)
    elif (path / "index.parquet").is_file() or (path / "dataset.json").is_file():
        kind, (checked, faults) = "shards", _shards(path, full, report)
    elif path.suffix == ".parquet" and path.is_file():
        kind, checked, faults = "manifest", Manifest.read(path).table.num_rows, []
    else:
        what = "is no run, no folder of shards and no manifest" if path.exists() else "is not there"
        raise UsageError(f"{path} {what}; give a run, shards or a manifest's .parquet file.")
    if faults:
        more = f" (and {len(faults) - 3:,} more)" if len(faults) > 3 else ""
        raise DataError(f"{path}: {'; '.join(faults[:3])}{more}.")
    return {"path": str(path), "kind": kind, "checked": checked, "full": full}


def _run(path: Path, full: bool, report: Report) -> tuple[int, list[str]]:
    """Check what the completion records name, the manifests, and the shards' samples."""
    checked, faults = 0, []
    records = sorted((path / "records").rglob("*.json"))
    for done, record in enumerate(records, 1):
        for name, made in read_json(record)["outputs"].items():
            checked += 1
            file = path / name
            if not file.is_file():
                faults.append(f"{name} is missing")
            elif file.stat().st_size != made["bytes"]:
                size = f"{file.stat().st_size:,} bytes, not {made['bytes']:,}"
                faults.append(f"{name} has {size}")
            elif full and file_sha256(file) != made["sha256"]:
                faults.append(f"{name} changed since it was made")
        report("verify", done, len(records))
    for manifest in sorted((path / "manifests").glob("*.parquet")):
        checked += 1
        try:
            Manifest.read(manifest)
        except DataError as error:
            faults.append(str(error).rstrip("."))
    # Whatever was wrong with a shard is named once.
    if not faults and (path / "shards" / "index.parquet").is_file():
        more, faults = _shards(path / "shards", full, report)
        checked += more
    return checked, faults


def _shards(path: Path, full: bool, report: Report) -> tuple[int, list[str]]:
    """Check the shards' sizes against their facts, and in full every sample and every byte."""
    faults = []
    reader = Reader(path)
    shards = read_json(path / "dataset.json")["shards"]
    for name, made in shards.items():
        file = path / name
        if not file.is_file():
            faults.append(f"shard {name} is missing")
        elif file.stat().st_size != made["size"]:
            size = f"{file.stat().st_size:,} bytes, not {made['size']:,}"
            faults.append(f"shard {name} has {size}")
    n = reader.index.num_rows
    if full and not faults:
        faults = _samples(reader, n, report) or [
            f"shard {name} changed outside of its images"
            for name, made in shards.items()
            if file_sha256(path / name) != made["sha256"]
        ]
    return n, faults


def _samples(reader: Reader, n: int, report: Report) -> list[str]:
    """Read every sample, which checks its hash, and go on behind one that fails."""
    faults, row = [], 0
    while row < n:
        try:
            for _ in reader.read(np.arange(row, n)):
                row += 1
                report("verify", row, n)
        except DataError as error:
            faults.append(str(error).rstrip("."))
            row += 1
    return faults
