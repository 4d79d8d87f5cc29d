"""The index of shards: ``index.parquet``, read a shard at a time and only as it was written."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.sample import INDEX_SCHEMA
from curate.errors import DataError
from curate.runtime.files import file_sha256, read_json
from curate.runtime.text import short


@dataclass(frozen=True)
class Index:
    """Rows of ``index.parquet`` in order of shard and offset; each shard is a row group.

    Attributes:
        path: The file.
        starts: (S + 1,) int64; shard s has the rows from ``starts[s]`` to ``starts[s + 1]``.
    """

    path: Path
    starts: np.ndarray

    def __len__(self) -> int:
        return int(self.starts[-1])

    def parts(
        self, columns: Sequence[str] | None = None, *, shards: Iterable[int] | None = None
    ) -> Generator[pa.Table]:
        """Yield the rows of each shard in turn.

        Args:
            columns: Names in ``INDEX_SCHEMA``; None for all.
            shards: Which shards, by their number from 0; None for all.

        Raises:
            DataError: If the file cannot be read.
        """
        with self._opened() as file:
            for shard in range(len(self.starts) - 1) if shards is None else shards:
                yield _typed(
                    file.read_row_group(shard, _listed(columns), use_threads=False), columns
                )

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return all rows, some 250 bytes each with every column; else as ``parts``."""
        with self._opened() as file:
            return _typed(file.read(_listed(columns), use_threads=False), columns)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        with _named(self.path), pq.ParquetFile(self.path, pre_buffer=False) as file:
            yield file


def open_index(folder: Path) -> Index:
    """Open the index of a folder of shards.

    Raises:
        DataError: If it is missing, or is not the one that ``dataset.json`` describes.
    """
    path = folder / "index.parquet"
    if not path.is_file():
        raise DataError(f"{path} is missing; make the shards again.")
    with _named(path):
        if file_sha256(path) != read_json(folder / "dataset.json")["index"]["sha256"]:
            raise DataError(f"{path} changed since it was written; make the shards again.")
        metadata = pq.read_metadata(path)
        lacking = sorted({*INDEX_SCHEMA.names} - {*metadata.schema.names})
        if lacking:
            raise DataError(
                f"{path} lacks {', '.join(lacking)}: another version of curate wrote it; make the "
                "shards again."
            )
        _check_names(path)
        rows = [metadata.row_group(shard).num_rows for shard in range(metadata.num_row_groups)]
    return Index(path, np.concatenate([[0], np.cumsum(rows)]).astype(np.int64))


SAFE = {
    "key": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
    "shard": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\.tar$",
    "uid": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
}
"""What files are called by: none of it leads out of a folder."""


def _check_names(path: Path) -> None:
    """Check what files will be called by; an index may come from anywhere."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            part = _typed(file.read_row_group(group, [*SAFE], use_threads=False), [*SAFE])
            for name, pattern in SAFE.items():
                good = pc.match_substring_regex(part[name], pattern)
                if part[name].null_count or not pc.all(good, min_count=0).as_py():
                    wrong = part[name].filter(pc.invert(pc.fill_null(good, False)))[0].as_py()
                    raise DataError(
                        f"{path} has the {name} {short(wrong)}, which no shard of curate has; do "
                        "not use it, or make the shards again."
                    )


def _listed(columns: Sequence[str] | None) -> list[str]:
    return list(INDEX_SCHEMA.names if columns is None else columns)


def _typed(table: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    names = _listed(columns)
    return table.select(names).cast(pa.schema([INDEX_SCHEMA.field(name) for name in names]))


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong with the index at ``path`` into an error that names it."""
    try:
        yield
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read ({error}); make the shards again.") from error
