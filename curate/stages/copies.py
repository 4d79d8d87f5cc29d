"""Copies: every image of a source that is a copy of another, and every leak between its splits."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from curate.data import sources, splits
from curate.data.decoding import Box, quiet, reduced
from curate.data.sample import Entry
from curate.data.shards import Reader
from curate.errors import DataError, UsageError
from curate.inspection import decoys, duplicates, thumbnails, triage
from curate.inspection.summary import CopySearch
from curate.inspection.thumbnails import SIDE, Thumbnails
from curate.runs import opening
from curate.runtime.files import write_json, write_table
from curate.runtime.options import option
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.runtime.threads import in_order
from curate.stages.context import Context

PAIR_SCHEMA = pa.schema(
    [
        *(("uid", pa.string()), ("other_uid", pa.string())),
        *(("path", pa.string()), ("other_path", pa.string())),
        *(("source", pa.string()), ("other_source", pa.string())),
        *(("split", pa.string()), ("other_split", pa.string())),
        *(("similarity", pa.float32()), ("evidence", pa.float32())),
        *((name, pa.bool_()) for name in ("leak", "exact", "mirrored", "cropped", "recoloured")),
    ]
)
"""Columns of ``pairs.parquet``: leaks first, then by evidence, the most first."""
GROUP_SCHEMA = pa.schema(
    [
        *(("group", pa.int64()), ("uid", pa.string()), ("path", pa.string())),
        *(("source", pa.string()), ("split", pa.string())),
        *(("width", pa.int32()), ("height", pa.int32()), ("size", pa.int64())),
        ("stands", pa.bool_()),
    ]
)
"""Columns of ``groups.parquet``, sorted by group; ``stands`` is the one of most pixels, then of the
largest file, then the first."""
ASKED = (splits.TRAIN, splits.TEST, splits.VALIDATION)
"""Splits that a source is asked for to learn of all that it has."""
JPEG = b"\xff\xd8"
"""What a JPEG begins with."""


@dataclass(frozen=True)
class SplitLeak(Result):
    """Copies between two splits, or two sources.

    Attributes:
        split: Of the first source where there are two.
        other: The other split.
        pairs: Pairs of copies, one in each.
        images: Images of the other split that have a copy in the first.
    """

    split: str
    other: str
    pairs: int
    images: int


@dataclass(frozen=True)
class Copies(Result):
    """What ``copies`` found; the tables are in ``out``.

    Attributes:
        out: Folder of ``pairs.parquet``, ``groups.parquet`` and ``copies.json``.
        images: Images that were looked at.
        rejected: Images that could not be read.
        leaks: Pairs of splits that share copies.
        pairs: Pairs of copies.
        groups: Groups of images that pairs connect.
        copies: Images in groups.
        exact: Pairs of one file's copies; ``mirrored``, ``cropped`` and ``recoloured`` pairs, too.
        search: How they were searched for, and what is known of its errors.
    """

    out: Path
    images: int
    rejected: int
    leaks: tuple[SplitLeak, ...]
    pairs: int
    groups: int
    copies: int
    exact: int
    mirrored: int
    cropped: int
    recoloured: int
    search: CopySearch


@dataclass(frozen=True)
class _Seen:
    """What is kept of each image besides its thumbnail."""

    uid: str
    path: str
    source: str
    split: str
    width: int
    height: int
    size: int


def copies(
    source: str | Path,
    out: str | Path,
    *,
    against: str | Path | None = None,
    split: str | None = None,
    runs: str | Path = "runs",
    device: str = "auto",
    progress: Progress = silent,
) -> Copies:
    """Find all copies among the images of a source, between its splits, and between two sources.

    No training is needed, and nothing is read but the images. Copies are found where they are
    re-encoded, mirrored, cropped down to about half of a side, stretched, shifted, turned by a few
    degrees, recoloured, framed or captioned. How much two images must share is learned from images
    turned upside down, see ``inspection.duplicates``. Images that were matched stay
    matched: the same command, cut short, goes on behind them.

    Args:
        source: A folder, a source (``KIND:WHERE``), a folder of shards, or a run: a word that is
            the name of a run means that run.
        out: Folder for the tables, new or one that this wrote before.
        against: A second source, whose copies of images of the first are leaks.
        split: The splits that are taken of sources that have splits, with commas between; None for
            all of them.
        runs: Folder that holds the runs.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: Progress callback.

    Raises:
        UsageError: If a source cannot be understood, or ``out`` holds something else.
        DataError: If no image can be read.
        ResourceError: If FAISS is not installed, or there is no space.
    """
    folder, on = Path(out), Context(device=device).resolved_device()
    _check_free(folder)
    split_names = None if split is None else [part.strip() for part in split.split(",")]
    readers = [_open(str(name), split_names, Path(runs)) for name in (source, against) if name]
    thumbs, records = thumbnails.Growing(folder), []
    for reader in readers:
        for record, pixels in reader.read(progress):
            thumbs.add(pixels, record.width, record.height)
            records.append(record)
    rejected = [item for reader in readers for item in reader.rejected]
    if not records:
        why = f" (the first, {rejected[0][0]}: {rejected[0][1]})" if rejected else ""
        raise DataError(f"{source} has no image that can be read{why}.")
    images = thumbs.done()
    pairs = duplicates.find(images, device=on, progress=progress, home=folder)
    return _written(folder, images, records, pairs, len(rejected), two=against is not None)


def _check_free(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder; choose another for {option(out=...)}.")
    names = {"pairs.parquet", "groups.parquet", "copies.json"}
    there = (
        {path.name for path in folder.iterdir() if path.name[0] != "."} if folder.exists() else ()
    )
    other = sorted(set(there) - names)
    if other:
        raise UsageError(f"{folder} is not empty (it holds {other[0]}); choose a new folder.")


# Reading


class _Source:
    """Splits of a source that is opened."""

    def __init__(self, name: str, splits: Sequence[sources.Source], names: Sequence[str]) -> None:
        self.name, self.splits, self.names = name, splits, names
        self.rejected: list[tuple[str, str]] = []

    def read(self, progress: Progress) -> Iterator[tuple[_Seen, np.ndarray]]:
        for source, split in zip(self.splits, self.names, strict=True):
            total = sum(1 for _ in source.paths())
            progress(f"read {split}", 0, max(1, total))

            def made(entry: Entry, split: str = split) -> tuple[_Seen | str, Any]:
                return _made(entry.data, entry.path, self.name, split)

            for done, (record, pixels) in enumerate(
                in_order(made, source.entries(), size=lambda entry: len(entry.data)), 1
            ):
                if isinstance(record, str):
                    self.rejected.append((record, pixels))
                else:
                    yield record, pixels
                progress(f"read {split}", min(done, total), total)
            self.rejected += source.rejected


class _Shards:
    """A folder of shards."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.rejected: list[tuple[str, str]] = []

    def read(self, progress: Progress) -> Iterator[tuple[_Seen, np.ndarray]]:
        reader = Reader(self.folder)
        n, start = len(reader), 0
        for part in reader.parts(["uid", "path", "split"]):
            rows = part.to_pylist()
            data = reader.read(range(start, start + len(rows)))
            with quiet():
                for row, (record, pixels) in zip(
                    rows,
                    in_order(lambda some: _made(some, "", self.name, ""), data, size=len),
                    strict=True,
                ):
                    if isinstance(record, str):
                        self.rejected.append((row["path"], pixels))
                        continue
                    facts = {"uid": row["uid"], "path": row["path"] or "", "split": row["split"]}
                    yield _Seen(**{**vars(record), **facts}), pixels
            start += len(rows)
            progress("read", start, n)


def _made(data: bytes, path: str, source: str, split: str) -> tuple[_Seen | str, Any]:
    """Return what is kept of an image, or its path and why it cannot be read."""
    sides: list[tuple[float, float]] = []

    def shrunk(image: Image.Image, box: Box) -> Image.Image:
        sides.append((box[2] - box[0], box[3] - box[1]))
        return thumbnails.shrunk(image, box)

    try:
        small = reduced(data, shrunk, side=SIDE)
    except DataError as error:
        return path, str(error)
    [(width, height)] = sides
    if data.startswith(JPEG):
        # It may have been decoded at a part of its size.
        with Image.open(io.BytesIO(data)) as header:
            more = math.sqrt(header.width * header.height / (width * height))
        width, height = width * more, height * more
    shape = round(width), round(height)
    record = _Seen(hashlib.sha256(data).hexdigest()[:32], path, source, split, *shape, len(data))
    return record, thumbnails.pixels(small)


def _open(name: str, split_names: Sequence[str] | None, runs: Path) -> _Source | _Shards:
    """Open what a name stands for."""
    path = Path(name)
    slash = "/" in name or name.startswith(".")
    prefixed = name.partition(":")[0] in sources.SOURCES and ":" in name
    if not prefixed:
        if (path / "index.parquet").is_file():
            return _Shards(name, path)
        places = [path] if slash else [runs / name, path]
        run = next((p for p in places if (p / "run.json").is_file()), None)
        if run is not None:
            shards = opening.open_run(str(run), runs=runs, create=False).path / "shards"
            if not (shards / "index.parquet").is_file():
                raise UsageError(f"run {run} has no shards yet; type 'curate train {name}' first.")
            return _Shards(name, shards)
    if split_names is None:
        split_names = _splits(name)
    if not split_names or not all(split_names):
        raise UsageError(f"{option(split=...)} needs the names of splits with commas between.")
    return _Source(
        name, [sources.open_source(name, split=split) for split in split_names], split_names
    )


def _splits(name: str) -> list[str]:
    """Return all splits of a source."""
    refused: list[UsageError] = []
    for split in ASKED:
        try:
            have = sources.open_source(name, split=split).splits
            return [one for one in have if one != splits.EVERYTHING] or [*have]
        except UsageError as error:
            refused.append(error)
    raise refused[0]


# Writing


def _written(
    folder: Path,
    images: Thumbnails,
    records: list[_Seen],
    matches: duplicates.Pairs,
    rejected: int,
    *,
    two: bool,
) -> Copies:
    n = len(records)
    a, b, facts = _with_files(records, matches)
    uid, path, source, split = (
        np.array([getattr(record, name) for record in records], dtype=object)
        for name in ("uid", "path", "source", "split")
    )
    size, width, height = (
        np.array([getattr(record, name) for record in records], dtype=np.int64)
        for name in ("size", "width", "height")
    )
    group = duplicates.connected(a, b, n)
    place = np.array([f"{s}: {p}" if two else p for s, p in zip(source, split, strict=True)])
    leak = place[a] != place[b] if not two else source[a] != source[b]
    order = np.lexsort((b, a, -facts["evidence"], ~leak))
    a, b, leak = a[order], b[order], leak[order]
    columns: dict[str, Any] = {"leak": leak, **{k: v[order] for k, v in facts.items()}}
    for name, values in (("uid", uid), ("path", path), ("source", source), ("split", split)):
        columns[name], columns[f"other_{name}"] = values[a], values[b]
    pairs = pa.table(
        [pa.array(columns[field.name], field.type) for field in PAIR_SCHEMA], PAIR_SCHEMA
    )
    stands = triage.representatives(group, width * height, size)
    rows = np.flatnonzero(group >= 0)
    rows = rows[np.lexsort((rows, group[rows]))]
    group_columns = (group, uid, path, source, split, width, height, size, stands)
    groups = pa.table(
        [
            pa.array(v[rows], field.type)
            for v, field in zip(group_columns, GROUP_SCHEMA, strict=True)
        ],
        GROUP_SCHEMA,
    )
    outcome = Copies(
        out=folder,
        images=n,
        rejected=rejected,
        leaks=_leaks(place, a[leak], b[leak]),
        pairs=len(a),
        groups=int(group.max(initial=-1)) + 1,
        copies=len(rows),
        exact=int(facts["exact"].sum()),
        mirrored=int(facts["mirrored"].sum()),
        cropped=int(facts["cropped"].sum()),
        recoloured=int(facts["recoloured"].sum()),
        search=matches.search,
    )
    write_table(folder / "pairs.parquet", pairs)
    write_table(folder / "groups.parquet", groups)
    write_json(folder / "copies.json", {**outcome.to_json(), "rule": decoys.RULE})
    return outcome


def _with_files(
    records: list[_Seen], matches: duplicates.Pairs
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return pairs that were found, and copies of one file that show nothing to be found by."""
    base = np.array([record.uid[:32] for record in records], dtype="S32")
    _, at, which = np.unique(base, return_index=True, return_inverse=True)
    first = at[which]
    again = np.flatnonzero(first != np.arange(len(records)))
    index_pairs = set(zip(matches.a.tolist(), matches.b.tolist(), strict=True))
    new = [i for i in again.tolist() if (int(first[i]), i) not in index_pairs]
    n = len(new)
    a, b = (
        np.append(matches.a, first[new]).astype(np.int64),
        np.append(matches.b, new).astype(np.int64),
    )
    facts = {
        "similarity": np.append(matches.similarity, np.ones(n, np.float32)),
        "evidence": np.append(matches.evidence, np.zeros(n, np.float32)),
        "exact": base[a] == base[b],
        **{
            name: np.append(getattr(matches, name), np.zeros(n, bool))
            for name in ("mirrored", "cropped", "recoloured")
        },
    }
    return a, b, facts


def _leaks(place: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[SplitLeak, ...]:
    """Return the leaks between each two places, in order of the first image of each."""
    both = sorted({(str(p), str(q)) for p, q in zip(place[a], place[b], strict=True)})
    return tuple(
        SplitLeak(first, other, len(some), len(np.unique(b[some])))
        for first, other in both
        for some in [np.flatnonzero((place[a] == first) & (place[b] == other))]
    )
