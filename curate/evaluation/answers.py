"""Answers: how the probes of a comparison did on each test image, a bit or a number for each."""

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
    """How each probe of each arm did on each test image: right or not, or its part of a measure.

    Attributes:
        uids: By source, its I test images: (I,) bytes, sorted.
    """

    def __init__(self) -> None:
        self.uids: dict[str, np.ndarray] = {}
        self._bits: dict[tuple[str, str], np.ndarray] = {}
        self._numbers: dict[tuple[str, str], np.ndarray] = {}

    def add(self, source: str, uids: np.ndarray, name: str, of_image: np.ndarray) -> None:
        """Take in how one probe did on the test images ``uids`` (I,) of a source.

        Args:
            source: ``self`` or a SOURCE; its test images are the same for every probe.
            uids: Their uids.
            name: Of the probe, as ``probe_name`` gives it.
            of_image: (I,) bool, whether each was classified rightly; or float64 whose mean is what
                the probe measures (``measures``).
        """
        known = self.uids.setdefault(source, uids)
        assert np.array_equal(known, uids), "all arms are tested on the same images"
        if of_image.dtype == bool:
            self._bits[source, name] = np.packbits(of_image)
        else:
            self._numbers[source, name] = of_image

    def of_image(self, source: str, name: str) -> np.ndarray:
        """Return how a probe did on the test images of a source, (I,) bool or float64."""
        if (source, name) in self._numbers:
            return self._numbers[source, name]
        n = len(self.uids[source])
        return np.unpackbits(self._bits[source, name], count=n).astype(bool)

    def write(self, path: Path) -> None:
        """Write a row for each test image and a column for each probe, boolean or a number.

        A probe that a source does not have is null there.
        """
        kinds = {name: pa.bool_() for _, name in self._bits}
        kinds |= {name: pa.float64() for _, name in self._numbers}
        texts = ((name, pa.string()) for name in ABOUT)
        schema = pa.schema([*texts, *kinds.items()])
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
        for column in list(schema)[len(ABOUT) :]:
            key = source, column.name
            known = key in self._bits or key in self._numbers
            values = self.of_image(*key)[part] if known else pa.nulls(len(uids), column.type)
            columns.append(pa.array(values))
        return pa.table(columns, schema=schema)


def probe_name(strategy: str, remove: int, seed: int, kind: str) -> str:
    """Return the column of a probe of an arm, such as ``top-225-s0-linear``."""
    return f"{strategy}-{remove}-s{seed}-{kind}"
