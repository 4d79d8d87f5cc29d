"""Answers: which test images the probes of a comparison classified rightly, a bit for each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.runtime.files import replacing

ROWS = 2**14
"""Test images that are written at a time."""
ABOUT = ("source", "uid")
"""The columns beside those of the probes."""


class Answers:
    """Which test images each probe of each arm had right.

    Attributes:
        uids: By source, its I test images: (I,) bytes, sorted.
    """

    def __init__(self) -> None:
        self.uids: dict[str, np.ndarray] = {}
        self._bits: dict[tuple[str, str], np.ndarray] = {}

    def add(self, source: str, uids: np.ndarray, name: str, right: np.ndarray) -> None:
        """Take in which test images ``uids`` (I,) of a source one probe had ``right`` (I,) bool.

        Args:
            source: ``self`` or a SOURCE; its test images are the same for every probe.
            uids: Their uids.
            name: Of the probe, as ``probe_name`` gives it.
            right: Whether each was classified rightly.
        """
        known = self.uids.setdefault(source, uids)
        assert np.array_equal(known, uids), "all arms are tested on the same images"
        self._bits[source, name] = np.packbits(right)

    def right(self, source: str, name: str) -> np.ndarray:
        """Return which test images of a source a probe had right, (I,) bool."""
        n = len(self.uids[source])
        return np.unpackbits(self._bits[source, name], count=n).astype(bool)

    def write(self, path: Path) -> None:
        """Write a row for each test image and a boolean column for each probe.

        A probe that a source does not have is null there.
        """
        names = list(dict.fromkeys(name for _, name in self._bits))
        texts, bits = ((name, pa.string()) for name in ABOUT), ((n, pa.bool_()) for n in names)
        schema = pa.schema([*texts, *bits])
        with (
            replacing(path) as temporary,
            pq.ParquetWriter(temporary, schema, compression="zstd") as out,
        ):
            for source, uids in self.uids.items():
                for start in range(0, len(uids), ROWS):
                    out.write_table(self._rows(source, slice(start, start + ROWS), schema))

    def _rows(self, source: str, part: slice, schema: pa.Schema) -> pa.Table:
        uids = self.uids[source][part]
        columns = [pa.array([source] * len(uids)), pa.array(uids).cast(pa.string())]
        for name in schema.names[len(ABOUT) :]:
            known = (source, name) in self._bits
            found = self.right(source, name)[part] if known else pa.nulls(len(uids), pa.bool_())
            columns.append(pa.array(found))
        return pa.table(columns, schema=schema)


def probe_name(strategy: str, remove: int, seed: int, kind: str) -> str:
    """Return the column of a probe of an arm, such as ``top-225-s0-linear``."""
    return f"{strategy}-{remove}-s{seed}-{kind}"
