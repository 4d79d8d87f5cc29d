"""Reader: image bytes by row of the index, each checked against its hash."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from curate.errors import DataError
from curate.records.index import read_index

OPEN_SHARDS = 16
"""How many shards are held open at a time."""
BATCH = 4096
"""How many rows of the index are turned into Python values at a time."""


class Reader:
    """A folder of shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def index(self) -> pa.Table:
        """``index.parquet``, in order of shard and offset.

        Raises:
            DataError: If it is missing or changed.
        """
        return read_index(self.folder)

    @cached_property
    def _checked(self) -> np.ndarray:
        return np.zeros(self.index.num_rows, dtype=bool)

    def read(self, rows: Sequence[int] | np.ndarray) -> Iterator[bytes]:
        """Yield the image bytes of rows of the index, in the order given.

        Bytes are checked against the index the first time this reader reads them.

        Raises:
            DataError: If a shard is missing, cut short or changed; shard, offset and key are named.
        """
        opened: OrderedDict[str, BinaryIO] = OrderedDict()
        try:
            for start in range(0, len(rows), BATCH):
                batch = np.asarray(rows[start : start + BATCH], dtype=np.int64)
                found = self.index.take(pa.array(batch)).to_pylist()
                for row, sample in zip(batch.tolist(), found, strict=True):
                    yield self._bytes(self._shard(sample["shard"], opened), row, sample)
        finally:
            for stream in opened.values():
                stream.close()

    def _shard(self, name: str, opened: OrderedDict[str, BinaryIO]) -> BinaryIO:
        if name not in opened:
            if len(opened) >= OPEN_SHARDS:
                opened.popitem(last=False)[1].close()
            try:
                opened[name] = (self.folder / name).open("rb")
            except OSError as error:
                path = self.folder / name
                raise DataError(f"cannot open shard {path}: {error.strerror}.") from error
        opened.move_to_end(name)
        return opened[name]

    def _bytes(self, stream: BinaryIO, row: int, sample: dict[str, Any]) -> bytes:
        where = f"shard {self.folder / sample['shard']} at offset {sample['offset']:,}"
        try:
            stream.seek(sample["offset"])
            data = stream.read(sample["size"])
        except OSError as error:
            raise DataError(f"cannot read {where}: {error.strerror}.") from error
        if len(data) < sample["size"]:
            raise DataError(
                f"{where} (sample {sample['key']}) is cut short; restore it or make it again."
            )
        if not self._checked[row]:
            if hashlib.sha256(data).hexdigest() != sample["sha256"]:
                raise DataError(
                    f"{where} (sample {sample['key']}) changed since it was written; restore it or "
                    "make it again."
                )
            self._checked[row] = True
        return data
