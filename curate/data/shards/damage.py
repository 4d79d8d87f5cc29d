"""Damage: what is wrong with a folder of shards, down to shard, offset and sample."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from curate.data.index import SAFE, Index, open_index
from curate.data.sample import Sample
from curate.data.shards.tar import BLOCK
from curate.data.shards.writer import UNFINISHED
from curate.errors import DataError
from curate.runtime.files import file_sha256, read_json
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.runtime.text import short

READ = 2**20
"""Bytes read at a time where no sample says how many."""


@dataclass(frozen=True)
class Fault(Result):
    """Something that is missing or changed.

    Attributes:
        file: Where, relative to what was looked at.
        problem: What, in a few words.
        offset: Byte of the file at which it begins; None where that means nothing.
        key: The sample; None where it is none.
    """

    file: str
    problem: str
    offset: int | None = None
    key: str | None = None


def faults(folder: Path, *, full: bool, progress: Progress = silent) -> tuple[int, list[Fault]]:
    """Look for faults in a folder of shards; returns the number of samples and the faults.

    Args:
        folder: What ``shards.write`` wrote.
        full: Read every byte; else only sizes are compared. Shards are read one after the other
            from begin to end, and those that differ once more, sample by sample.
        progress: Progress callback, told of samples.
    """
    if (folder / UNFINISHED).exists():
        return 0, [Fault(UNFINISHED, "the shards were never finished; make them again")]
    try:
        facts = read_json(folder / "dataset.json")
        shards = {_checked_name(name): _checked_facts(m) for name, m in facts["shards"].items()}
    except (DataError, KeyError, TypeError, ValueError, AttributeError) as error:
        return 0, [Fault("dataset.json", f"cannot be read ({str(error).rstrip('.')})")]
    try:
        index = open_index(folder)
    except DataError as error:
        # Without it a change is told by the digest of the whole shard.
        problems = [Fault("index.parquet", _reason(error, folder / "index.parquet"))]
        for name, shard in shards.items():
            problems += _without_index(folder / name, shard, full=full)
        return 0, problems
    if len(shards) != len(index.starts) - 1:
        problem = f"names {len(shards)} shards, and the index has {len(index.starts) - 1}"
        return len(index), [Fault("dataset.json", problem)]
    problems, done = [], 0
    for number, (name, shard) in enumerate(
        sorted(shards.items(), key=lambda item: _order(item[0]))
    ):
        problems += _shard(folder / name, shard, index, number, full=full)
        done += int(index.starts[number + 1] - index.starts[number])
        progress("verify", done, len(index))
    return len(index), problems


def _order(name: str) -> tuple[int, str]:
    """Return what sorts shards as they were written: ``100000.tar`` comes after ``99999.tar``."""
    return len(name), name


def _checked_name(name: str) -> str:
    if not re.fullmatch(SAFE["shard"], name):
        raise ValueError(f"{short(name)} is no name of a shard")
    return name


def _checked_facts(facts: dict[str, Any]) -> dict[str, Any]:
    return {"sha256": str(facts["sha256"]), "size": int(facts["size"]), "end": int(facts["end"])}


def _reason(error: DataError, path: Path) -> str:
    return str(error).removeprefix(str(path)).strip().rstrip(".")


def _without_index(path: Path, recorded: dict[str, Any], *, full: bool) -> list[Fault]:
    if not path.is_file():
        return [Fault(path.name, "is missing")]
    if (size := path.stat().st_size) != recorded["size"]:
        return [Fault(path.name, f"has {size:,} bytes, not {recorded['size']:,}")]
    if full and file_sha256(path) != recorded["sha256"]:
        return [Fault(path.name, "changed since it was written")]
    return []


def _shard(
    path: Path, recorded: dict[str, Any], index: Index, number: int, *, full: bool
) -> list[Fault]:
    """Return the faults of one shard, of which the index has row group ``number``."""
    if not path.is_file():
        return [Fault(path.name, "is missing")]
    try:
        size = path.stat().st_size
        if size == recorded["size"] and not (full and file_sha256(path) != recorded["sha256"]):
            return []
        samples = list(_samples(index, number))
        problems = []
        if full:
            with path.open("rb") as stream:
                problems = [
                    *_changed(stream, path.name, samples, recorded, min(size, recorded["size"]))
                ]
    except OSError as error:
        return [Fault(path.name, f"cannot be read ({error.strerror})")]
    except DataError as error:
        return [Fault("index.parquet", _reason(error, index.path))]
    if size < recorded["size"]:
        key = next((s.key for s in reversed(samples) if s.offset - BLOCK <= size), None)
        key = key if size < recorded["end"] else None
        problem = f"is cut short at offset {size:,} of {recorded['size']:,} bytes"
        problems.append(Fault(path.name, problem, size, key))
    elif size > recorded["size"]:
        problem = f"goes on behind its end, for {size - recorded['size']:,} bytes"
        problems.append(Fault(path.name, problem, recorded["size"]))
    return problems or [
        Fault("dataset.json", f"has another sha256 for {path.name} than its samples")
    ]


def _samples(index: Index, number: int) -> Iterator[Sample]:
    for part in index.parts(shards=[number]):
        for batch in part.to_batches():
            yield from (Sample(**row) for row in batch.to_pylist())


def _changed(
    stream: BinaryIO, name: str, samples: list[Sample], recorded: dict[str, Any], size: int
) -> Iterator[Fault]:
    """Yield what differs in the first ``size`` bytes of a shard, sample by sample, then its end."""
    starts = [sample.offset - BLOCK for sample in samples]
    for sample, start, end in zip(samples, starts, [*starts[1:], recorded["end"]], strict=True):
        if end > size:
            return
        stream.seek(start)
        record = stream.read(end - start)
        image = record[BLOCK : BLOCK + sample.size]
        if hashlib.sha256(image).hexdigest() != sample.sha256:
            yield Fault(name, "the image changed", sample.offset, sample.key)
        elif zlib.crc32(record) != sample.crc32:
            problem = "header, label, metadata or filling changed; the image did not"
            yield Fault(name, problem, start, sample.key)
    stream.seek(recorded["end"])
    while (at := stream.tell()) < size:
        zeros = stream.read(min(READ, size - at))
        if zeros.strip(b"\0"):
            place = at + len(zeros) - len(zeros.lstrip(b"\0"))
            yield Fault(name, "the end mark changed", place)
            return
