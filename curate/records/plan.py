"""Plan: which encoder is trained on which sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import DataError


@dataclass(frozen=True)
class Plan:
    """The inclusion matrix of a run.

    Attributes:
        kind: ``pair``, ``halves``, ``folds`` or ``subsets``.
        uids: (N,) sorted uids, held-out extra samples included.
        group: (N,) ``S C I E`` for pairs, ``f``/``g`` for halves, the fold number for folds,
            ``-`` for subsets; a held-out extra sample is ``E`` everywhere.
        encoders: Names of the E encoders, e.g. ``("f", "g")``.
        inclusion: (N, E) bool; ``inclusion[i, e]`` where encoder e was trained on sample i.
    """

    kind: str
    uids: np.ndarray
    group: np.ndarray
    encoders: tuple[str, ...]
    inclusion: np.ndarray

    def members(self, encoder: str) -> np.ndarray:
        """Return the uids that ``encoder`` is trained on, sorted."""
        return self.uids[self.inclusion[:, self.encoders.index(encoder)]]

    @property
    def repeats(self) -> np.ndarray:
        """Which repeat of the plan each encoder belongs to, (E,) int64."""
        return np.array([self.repeat(name) for name in self.encoders], dtype=np.int64)

    def to_table(self) -> pa.Table:
        """Return the plan as a table: uid, group, one boolean column per encoder."""
        columns: dict[str, pa.Array] = {
            "uid": pa.array(self.uids.tolist(), pa.string()),
            "group": pa.array(self.group.tolist(), pa.string()),
        }
        for e, name in enumerate(self.encoders):
            columns[name] = pa.array(self.inclusion[:, e])
        return pa.table(columns).replace_schema_metadata({"curate.plan": self.kind})

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read ``plan.parquet``.

        Raises:
            DataError: If the file is not a plan.
        """
        table = pq.read_table(path)
        metadata = table.schema.metadata or {}
        if b"curate.plan" not in metadata:
            raise DataError(f"{path} is not a plan; make it again with 'curate train'.")
        encoders = tuple(n for n in table.column_names if n not in ("uid", "group"))
        inclusion = np.stack([table[n].to_numpy() for n in encoders], axis=1).astype(bool)
        return cls(
            kind=metadata[b"curate.plan"].decode(),
            uids=np.array(table["uid"].to_pylist(), dtype=object),
            group=np.array(table["group"].to_pylist(), dtype=object),
            encoders=encoders,
            inclusion=inclusion,
        )

    @staticmethod
    def repeat(encoder: str) -> int:
        """Return which repeat of the plan an encoder belongs to: 0 for ``f``, 1 for ``f-1``."""
        return int(encoder.rpartition("-")[2]) if "-" in encoder else 0
