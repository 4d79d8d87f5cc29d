"""csv files of others: values with line breaks in them, texts as they stand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from curate.errors import DataError
from curate.runtime.text import short

BLOCK = 2**30
"""Bytes of a csv that are read at once: a value may be as long as it likes."""


def read_csv(file: Path, *, texts: Iterable[str] = ()) -> pa.Table:
    """Read a csv whose values may hold line breaks, as long as they like.

    Args:
        file: The csv.
        texts: Columns that are taken as they stand, for Arrow reads ``001`` as 1.

    Raises:
        ArrowException: If it is no csv.
        DataError: If two columns have one name.
    """
    size = min(max(2**20, file.stat().st_size + 1), BLOCK)
    table = pyarrow.csv.read_csv(
        file,
        read_options=pyarrow.csv.ReadOptions(block_size=size),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(texts, pa.string())),
    )
    check_names(table.column_names, file)
    return table


def check_names(names: list[str], file: Path) -> None:
    """Check that no two columns of a table have one name.

    Raises:
        DataError: If two have.
    """
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"{file} has two columns called {short(twice)}; rename one.")
