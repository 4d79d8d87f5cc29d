"""What a manifest keeps: found in the shards of its dataset, and written as files."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.chunks import one_chunk
from curate.data.labels import class_column
from curate.data.ordering import places
from curate.data.shards import Reader
from curate.errors import DataError
from curate.runtime.files import write_table, write_text
from curate.runtime.options import option
from curate.runtime.progress import Progress
from curate.runtime.text import short, visible
from curate.selection import file_names
from curate.selection.manifest import Manifest

INSPECTED = ("triage", "triage_reason", "outlier_score", "duplicate_group")
"""Columns of ``inspect.parquet`` that go with a sample where its run was inspected."""


def kept_rows(manifest: Manifest, reader: Reader) -> np.ndarray:
    """Return the positions of the kept samples in the index, ascending, (n,) int64."""
    kept = manifest.table.filter(pc.equal(manifest.table["decision"], "keep"))["uid"]
    rows = places(one_chunk(kept), one_chunk(reader.index(["uid"])["uid"]))
    assert not rows.null_count, "the manifest was checked against the dataset"
    return np.sort(rows.to_numpy())


@contextlib.contextmanager
def built(out: Path) -> Iterator[Path]:
    """Yield a folder to write into that gets the name ``out`` only when it is whole."""
    building = out.with_name(f".{out.name}.part")
    # What an interrupted export left.
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    yield building
    if out.is_dir():
        out.rmdir()
    building.rename(out)


def write_images(
    reader: Reader,
    rows: np.ndarray,
    folder: Path,
    progress: Progress,
    *,
    found_by_name: bool = False,
) -> list[str]:
    """Write ``folder/CLASS/NAME`` for samples, original bytes; returns the paths below folder.

    Folders are called as the classes are (``file_names.class_folders``), files as they were in the
    source. What file systems or readers would not take is replaced, and names that would be the
    same within a class, but for their endings, are numbered in the order of the index.

    Args:
        reader: Shards of the dataset.
        rows: (n,) positions in the index, ascending.
        folder: Where to.
        progress: Progress callback.
        found_by_name: Whether readers find an image by its name alone, so that all of them differ.
    """
    index = reader.index(["path", "label"])
    folders = file_names.class_folders(reader.classes, pc.unique(index["label"]).to_pylist())
    index = index.take(pa.array(rows))
    used: dict[str, file_names.Names] = {}
    places = []
    for done, (sample, data) in enumerate(zip(_samples(index), reader.read(rows), strict=True), 1):
        place = folders[sample["label"]]
        taken = used.setdefault("" if found_by_name else place, file_names.Names())
        name, ending = file_names.file_name(sample["path"] or "", data)
        (folder / place).mkdir(parents=True, exist_ok=True)
        places.append(f"{place}/{taken.take(name)}{ending}")
        (folder / places[-1]).write_bytes(data)
        progress("export", done, len(rows))
    return places


def write_classes(reader: Reader, folder: Path) -> None:
    """Write ``folder/classes.txt``, a line a class: its folder, a tab, and the class's name.

    Lines are in the order of the labels, from 0.
    """
    if reader.classes:
        labels = pc.unique(reader.index(["label"])["label"]).to_pylist()
        folders = file_names.class_folders(reader.classes, labels)
        lines = (f"{folders[i]}\t{visible(name)}\n" for i, name in enumerate(reader.classes))
        write_text(folder / "classes.txt", "".join(lines))


BREAKS = r"[\x00-\x1f\x7f\x{85}\x{2028}\x{2029}]"
"""What makes more lines of a name."""
SPELLED = r"\\x[0-9a-f]{2}|\\ud[89a-f]"
"""Bytes that are no UTF-8, which are stored spelled out: no file is called so."""


def check_lines(names: pa.ChunkedArray, *, otherwise: str, null: bool = False) -> None:
    """Refuse paths that are no line, or that no file has.

    Args:
        names: The paths.
        otherwise: What to do instead with those that hold line breaks.
        null: Whether null bytes end them, and not line breaks.

    Raises:
        DataError: If there is one.
    """
    others = f"{option(to='csv')} or {option(to='folder')}"
    for pattern, problem in (
        ("\0" if null else BREAKS, f"hold a line break; {otherwise}"),
        (SPELLED, f"hold bytes that are no UTF-8; rename the files, or use {others}"),
    ):
        wrong = names.filter(pc.match_substring_regex(names, pattern))
        if len(wrong):
            first = short(wrong[0].as_py())
            raise DataError(f"{len(wrong):,} kept paths, such as {first}, {problem}.")


def _samples(index: pa.Table) -> Iterator[dict[str, Any]]:
    """Yield path and label of each row."""
    for batch in index.to_batches(max_chunksize=4096):
        yield from batch.to_pylist()


def described(manifest: Manifest, reader: Reader, rows: np.ndarray) -> pa.Table:
    """Return what is known of samples, a row each in the order of ``rows``.

    Returns:
        The manifest's columns and, where the run was inspected, ``INSPECTED``.
    """
    index = reader.index(["uid", "label", "path"]).take(pa.array(rows))
    uids = one_chunk(index["uid"])
    at = pc.index_in(uids, value_set=one_chunk(manifest.table["uid"]))
    table = manifest.table.take(at)
    for name, column in (
        ("class", class_column(reader.classes, index["label"])),
        ("path", index["path"]),
    ):  # A manifest of a table from elsewhere has neither.
        table = table.set_column(table.column_names.index(name), name, column)
    inspected = reader.folder.parent / "inspect.parquet"
    if inspected.is_file():
        columns = {"uid", *INSPECTED} & {*pq.read_schema(inspected).names}
        inspection = pq.read_table(inspected, columns=sorted(columns))
        at = pc.index_in(uids, value_set=one_chunk(inspection["uid"]))
        for name in INSPECTED:
            if name in columns:
                table = table.append_column(name, inspection[name].take(at))
    return table


def write_described(
    manifest: Manifest,
    reader: Reader,
    rows: np.ndarray,
    folder: Path,
    progress: Progress,
    *,
    found_by_name: bool = False,
) -> pa.Table:
    """Write ``folder/images/CLASS/NAME`` and ``folder/metadata.parquet``; returns that table.

    Arguments are those of ``write_images``.
    """
    places = write_images(reader, rows, folder / "images", progress, found_by_name=found_by_name)
    files = pa.array([f"images/{place}" for place in places], pa.string())
    table = described(manifest, reader, rows).add_column(0, "file_name", files)
    write_classes(reader, folder)
    write_table(folder / "metadata.parquet", table)
    return table
