"""ScoreTable: every sample of a plan with its memorization and what that was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.chunks import one_chunk
from curate.data.labels import class_column
from curate.data.ordering import repeats, sorted_by_uid
from curate.errors import DataError

SCORE_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("key", pa.string()),
        ("shard", pa.string()),
        ("label", pa.int64()),
        ("class", pa.string()),
        ("path", pa.string()),
        ("group", pa.string()),
        ("memorization", pa.float64()),
        ("se", pa.float64()),
        ("se_views", pa.float64()),
        ("se_encoders", pa.float64()),
        ("raw", pa.float64()),
        ("delta", pa.float64()),
        ("align_in", pa.float64()),
        ("align_out", pa.float64()),
        ("n_in", pa.int32()),
        ("n_out", pa.int32()),
        ("n_views", pa.int32()),
        ("rank", pa.int64()),
        ("expected", pa.float64()),
        ("expected_se", pa.float64()),
        ("weight", pa.float64()),
    ]
)
"""Columns of ``scores.parquet``; what is undefined for a sample is null. ``class`` is the name of
its label, ``path`` where it came from, as the source named it."""

_MEASURED = (
    "memorization",
    "se",
    "se_views",
    "se_encoders",
    "raw",
    "delta",
    "align_in",
    "align_out",
)
_EXPECTED = ("expected", "expected_se", "weight")


class Measured(Protocol):
    """What the estimator gives: (N,) arrays by the names of the columns, NaN where undefined."""

    @property
    def memorization(self) -> np.ndarray:
        """Scores; higher = more memorized."""

    @property
    def n_in(self) -> np.ndarray:
        """Encoders trained on each sample."""

    @property
    def n_out(self) -> np.ndarray:
        """Encoders not trained on each sample."""


@dataclass(frozen=True)
class ScoreTable:
    """Scores of the N samples of a plan, sorted by uid; higher memorization = more memorized.

    Attributes:
        table: Columns as in ``SCORE_SCHEMA``. ``memorization`` is in units of the alignment
            distance (``l2``: -2 to 2), ``rank`` is 1 for the most memorized; both are null where
            the plan leaves a sample unscored. ``expected`` is in the same units, and null as well
            where errors are not known (``posterior.py``).
    """

    table: pa.Table

    @classmethod
    def build(
        cls,
        index: pa.Table,
        uids: np.ndarray,
        group: np.ndarray,
        measured: Measured,
        ranks: np.ndarray,
        n_views: int,
        expected: Mapping[str, np.ndarray] | None = None,
        *,
        classes: Sequence[str] = (),
    ) -> ScoreTable:
        """Return the table of what was measured.

        Args:
            index: ``shards/index.parquet``, or the part of it that has the samples: uid, key,
                shard, label and path are used.
            uids: (N,) the plan's uids, bytes or strings, any order.
            group: (N,) the plan's groups.
            measured: The estimator's (N,) columns, NaN where undefined.
            ranks: (N,) int64, 1 the most memorized, 0 where unscored.
            n_views: Views that alignments were measured with.
            expected: ``expected``, ``expected_se`` and ``weight``, (N,) each, NaN where undefined;
                None leaves them null.
            classes: Name of each class by its label; empty where labels have no names.

        Raises:
            DataError: If a uid of the plan is not in the index.
        """
        names = one_chunk(pa.array(uids).cast(pa.string()))
        rows = pc.index_in(names, value_set=one_chunk(index["uid"]))
        if rows.null_count:
            missing = names.filter(rows.is_null())[0].as_py()
            raise DataError(f"sample {missing} of the plan is not in the shards' index.")
        known = index.select(["key", "shard", "label", "path"]).take(rows)
        nothing = np.full(len(uids), np.nan)
        columns: dict[str, pa.Array | pa.ChunkedArray] = {
            "uid": names,
            **{name: known[name] for name in known.column_names},
            "class": class_column(classes, known["label"]),
            "group": pa.array(group, pa.string()),
            **{name: _nullable(getattr(measured, name)) for name in _MEASURED},
            "n_in": pa.array(np.asarray(measured.n_in).astype(np.int32)),
            "n_out": pa.array(np.asarray(measured.n_out).astype(np.int32)),
            "n_views": pa.array(np.full(len(uids), n_views, dtype=np.int32)),
            "rank": pa.array(ranks, pa.int64(), mask=ranks == 0),
            **{
                name: _nullable(nothing if expected is None else expected[name])
                for name in _EXPECTED
            },
        }
        ordered = sorted_by_uid({name: columns[name] for name in SCORE_SCHEMA.names})
        return cls(ordered.cast(SCORE_SCHEMA))

    @classmethod
    def read(cls, path: Path, columns: Sequence[str] | None = None) -> ScoreTable:
        """Read ``scores.parquet``, whose rows lie shard by shard.

        Args:
            path: The file.
            columns: Names in ``SCORE_SCHEMA``, besides ``uid``, which is always read; None for all.

        Raises:
            DataError: If it is missing, is no parquet file, lacks a column, or repeats a uid.
        """
        chosen = SCORE_SCHEMA.names if columns is None else ("uid", *columns)
        names = [name for name in SCORE_SCHEMA.names if name in chosen]
        try:
            have = pq.read_schema(path).names
            lacking = [name for name in SCORE_SCHEMA.names if name not in have]
            table = None if lacking else pq.read_table(path, columns=names)
        except (OSError, pa.ArrowInvalid) as error:
            line = str(error).splitlines()[0]
            raise DataError(f"cannot read scores from {path}: {line}.") from error
        if table is None:
            raise DataError(
                f"{path} is not a table of scores: it lacks {', '.join(lacking)}; score the run "
                "again."
            )
        table = table.select(names).cast(pa.schema([SCORE_SCHEMA.field(name) for name in names]))
        if table["uid"].null_count:
            raise DataError(f"{path} lacks a uid; score the run again.")
        left = dict(zip(names, table, strict=True))
        del table
        pa.default_memory_pool().release_unused()
        ordered = sorted_by_uid(left)
        if repeats(ordered["uid"]):
            raise DataError(f"{path} repeats a uid; score the run again.")
        pa.default_memory_pool().release_unused()
        return cls(ordered)

    def scored(self) -> pa.Table:
        """Return the rows that have a score."""
        return self.table.filter(self.table["memorization"].is_valid())

    @property
    def n_scored(self) -> int:
        """How many samples have a score."""
        return int(self.table.num_rows - self.table["memorization"].null_count)


def _nullable(values: np.ndarray) -> pa.Array:
    """Return float64 values with null for NaN."""
    return pa.array(np.asarray(values, dtype=np.float64), from_pandas=True)
