"""Columns to select by: of a run's tables, or of a file of anybody's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.chunks import one_chunk
from curate.data.csv import read_csv
from curate.errors import DataError, unknown

TABLES = {
    "scores": ("memorization", "expected", "prior", "raw", "delta", "align_in", "align_out", "se"),
    "measures": (
        *("supervised", "deja_vu", "relative", "alignment", "el2n", "grand", "loss"),
        *("knn_outlierness", "feldman", "feldman_softmax"),
    ),
    "inspect": (
        *("outlier_score", "neighbour_distance", "local_outlier_factor", "label_agreement"),
        *("brightness", "contrast", "sharpness", "smoothness", "file_size", "aspect"),
    ),
}
"""Numbers of a sample, by the table of a run that has them.

``prior`` is what the covariates alone foretell (``curate.scores.posterior.prior``).
"""
COLUMNS = {column: table for table, columns in TABLES.items() for column in columns}
FILES = (".parquet", ".csv")
NAMES = ("uid", "path")
"""Columns that say which sample a row is of; the first that is there counts."""


def column_of(by: str) -> str:
    """Return what to select by as it is stored: a column of a run, or ``FILE:COLUMN``.

    Raises:
        UsageError: If it is neither; the nearest column is offered.
    """
    if file_of(by) is not None:
        return by
    name = by.replace("-", "_")
    if name not in COLUMNS:
        raise unknown("column", by, [*COLUMNS, "FILE.csv:COLUMN", "FILE.parquet:COLUMN"])
    return name


def file_of(by: str) -> tuple[Path, str] | None:
    """Return file and column of ``FILE:COLUMN``; None for what is none."""
    file, colon, column = by.rpartition(":")
    return (Path(file), column) if colon and column and file.endswith(FILES) else None


def numbers_of(file: Path, column: str, uids: pa.Array, paths: pa.Array) -> np.ndarray:
    """Return what a file says of some samples, (N,) float64, NaN where it says nothing.

    Args:
        file: A ``.parquet`` or ``.csv`` with a column ``uid`` or ``path``, and a number.
        column: The number.
        uids: (N,) strings.
        paths: (N,) strings, as the source names its images; null where that is not known.

    Raises:
        DataError: If it cannot be read, lacks a column, repeats a sample, or knows none of these.
    """
    try:
        texts = NAMES
        table = read_csv(file, texts=texts) if file.suffix == ".csv" else pq.read_table(file)
        name = next((n for n in NAMES if n in table.column_names), None)
        if name is None or column not in table.column_names:
            lacks = " or ".join(map(repr, NAMES)) if name is None else repr(column)
            have = ", ".join(table.column_names)
            raise DataError(f"{file} has no column {lacks}; it has: {have}.")
        known = one_chunk(table[name].cast(pa.string()))
        values = table[column].cast(pa.float64()).to_numpy()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"cannot read numbers {column!r} from {file}: {line[:300]}.") from error
    if pc.count_distinct(known).as_py() != len(known) - known.null_count:
        raise DataError(f"{file} repeats a {name}; every sample stands there once.")
    place = pc.index_in(uids if name == "uid" else paths, value_set=known.drop_null())
    values = values[known.is_valid().to_numpy(zero_copy_only=False)]
    in_file = place.is_valid().to_numpy(zero_copy_only=False)
    if not in_file.any():
        raise DataError(f"{file} has none of these samples by its column {name!r}.")
    numbers = np.full(len(uids), np.nan)
    numbers[in_file] = values[place.drop_null().to_numpy()]
    numbers[~np.isfinite(numbers)] = np.nan
    return numbers


def listed(file: Path, uids: pa.Array, paths: pa.Array) -> np.ndarray:
    """Return which samples a list names, (N,) bool.

    Args:
        file: A text file of uids or paths, one a line; empty lines count for nothing.
        uids: (N,) strings.
        paths: (N,) strings, as the source names its images; null where that is not known.

    Raises:
        DataError: If it cannot be read, names none, or one that there is not.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        line = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"cannot read the list {file}: {line[:300]}.") from error
    lines = [(k, line.strip()) for k, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise DataError(f"the list {file} is empty; write a uid or a path on each line.")
    names = pa.array([line for _, line in lines], pa.string())
    places = [pc.index_in(names, value_set=column) for column in (uids, paths)]
    strange = pc.and_(places[0].is_null(), places[1].is_null())
    if pc.any(strange).as_py():
        number, name = lines[pc.index(strange, True).as_py()]
        raise DataError(
            f"{file}, line {number}: no sample has the uid or path {name[:200]!r} "
            f"({pc.sum(strange).as_py():,} of {len(lines):,} lines name none)."
        )
    chosen = np.zeros(len(uids), dtype=bool)
    for place in places:
        chosen[place.drop_null().to_numpy()] = True
    return chosen
