"""Plan: which encoder is trained on which sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import DataError
from curate.records.sample import longest, packed
from curate.runtime.files import on_disk

BATCH = 2**13
"""Rows of a file that are written and read at a time: a reader holds a part of a row group."""


@dataclass(frozen=True)
class Plan:
    """The inclusion matrix of a run.

    Attributes:
        kind: ``pair``, ``halves``, ``folds``, ``parts`` or ``subsets``.
        uids: (N,) bytes, sorted uids, held-out extra samples included.
        group: (N,) str, ``S C I E`` for pairs, ``f``/``g`` for halves, the number of the fold or
            part, ``-`` for subsets; a held-out extra sample is ``E`` everywhere.
        encoders: Names of the E encoders, e.g. ``("f", "g")``.
        inclusion: (N, E) bool; ``inclusion[i, e]`` where encoder e was trained on sample i.
    """

    kind: str
    uids: np.ndarray
    group: np.ndarray
    encoders: tuple[str, ...]
    inclusion: np.ndarray

    def members(self, encoder: str) -> np.ndarray:
        """Return the uids that ``encoder`` is trained on, (n,) object, strings, sorted."""
        mine = self.uids[self.inclusion[:, self.encoders.index(encoder)]]
        return mine.astype(np.str_).astype(object)

    @property
    def repeats(self) -> np.ndarray:
        """Which repeat of the plan each encoder belongs to, (E,) int64."""
        return np.array([self.repeat(name) for name in self.encoders], dtype=np.int64)

    def to_table(self) -> pa.Table:
        """Return the plan as a table: uid, group, one boolean column per encoder."""
        columns: dict[str, pa.Array] = {
            "uid": pa.array(self.uids).cast(pa.string()),
            "group": pa.array(self.group.astype(np.str_)),
        }
        for e, name in enumerate(self.encoders):
            columns[name] = pa.array(self.inclusion[:, e])
        return pa.table(columns).replace_schema_metadata({"curate.plan": self.kind})

    @classmethod
    def read(cls, path: Path, *, scratch: Path | None = None) -> Plan:
        """Read ``plan.parquet``.

        Args:
            path: The file.
            scratch: A folder to hold the arrays in; None holds them in memory.

        Raises:
            DataError: If the file is not a plan.
            ResourceError: If ``scratch`` has no room.
        """

        def empty(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
            return np.empty(shape, dtype) if scratch is None else on_disk(shape, dtype, scratch)

        with pq.ParquetFile(path, buffer_size=2**16, pre_buffer=False) as file:
            metadata = file.schema_arrow.metadata or {}
            if b"curate.plan" not in metadata:
                raise DataError(f"{path} is not a plan; make it again with 'curate train'.")
            encoders = tuple(n for n in file.schema_arrow.names if n not in ("uid", "group"))
            n = file.metadata.num_rows
            inclusion = empty((n, len(encoders)), bool)
            for e, name in enumerate(encoders):
                for rows, batch in _batches(file, name):
                    inclusion[rows, e] = batch.to_numpy(zero_copy_only=False)
            return cls(
                kind=metadata[b"curate.plan"].decode(),
                uids=_strings(file, "uid", "S", empty),
                group=_strings(file, "group", "U", empty),
                encoders=encoders,
                inclusion=inclusion,
            )

    @staticmethod
    def repeat(encoder: str) -> int:
        """Return which repeat of the plan an encoder belongs to: 0 for ``f``, 1 for ``f-1``."""
        return int(encoder.rpartition("-")[2]) if "-" in encoder else 0


def _batches(file: pq.ParquetFile, name: str) -> Iterator[tuple[slice, pa.Array]]:
    """Yield a column a few rows at a time, and which they are."""
    start = 0
    for batch in file.iter_batches(BATCH, columns=[name], use_threads=False):
        yield slice(start, start + len(batch)), batch[name]
        start += len(batch)


def _strings(
    file: pq.ParquetFile, name: str, kind: str, empty: Callable[[int, str], np.ndarray]
) -> np.ndarray:
    """Return a column of ASCII strings, (N,) bytes or str, as ``kind`` is S or U."""
    width = max((longest(batch) for _, batch in _batches(file, name)), default=1)
    out = empty(file.metadata.num_rows, f"{kind}{width}")
    for rows, batch in _batches(file, name):
        out[rows] = packed(batch, width).astype(out.dtype)
    return out
