"""Reader: image bytes by row of the index, each checked against its hash."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from curate.data.index import Index, open_index
from curate.data.labels import storable_text
from curate.data.sample import Sample
from curate.data.shards.tar import BLOCK, SIZE
from curate.errors import DataError
from curate.runtime.files import read_json

OPEN_SHARDS = 16
"""How many shards are held open at a time."""
BATCH = 4096
"""How many rows of the index are turned into Python values at a time."""


class Reader:
    """A folder of shards. What it holds does not grow with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def _index(self) -> Index:
        return open_index(self.folder)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Name of each class by its label; empty where labels have no names."""
        names = read_json(self.folder / "dataset.json").get("classes") or ()
        return tuple(storable_text(str(name)) for name in names)

    def __len__(self) -> int:
        """Return the number of samples; errors as for ``index``."""
        return len(self._index)

    def index(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return ``index.parquet``, or some of its columns, in order of shard and offset.

        Raises:
            DataError: If it is missing or changed.
        """
        return self._index.table(columns)

    def parts(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows of ``index`` shard by shard; errors as there."""
        return self._index.parts(columns)

    def read(self, rows: Sequence[int] | np.ndarray) -> Iterator[bytes]:
        """Yield the image bytes of rows of the index, in the order given, checked against it.

        Ascending rows read the index once; others read parts of it once for every ``BATCH``.

        Raises:
            DataError: If a shard is missing, cut short or changed; shard, offset and key are named.
        """
        opened: OrderedDict[str, BinaryIO] = OrderedDict()
        try:
            for sample in self._samples(rows):
                yield self._bytes(self._shard(sample.shard, opened), sample)
        finally:
            for stream in opened.values():
                stream.close()

    def samples(
        self, rows: Sequence[int] | np.ndarray
    ) -> Iterator[tuple[Sample, bytes, dict[str, Any]]]:
        """Yield rows of the index with their image bytes and metadata, in the order given.

        Raises:
            DataError: As for ``read``; also if a header, a label or metadata changed.
        """
        opened: OrderedDict[str, BinaryIO] = OrderedDict()
        try:
            for sample in self._samples(rows):
                stream = self._shard(sample.shard, opened)
                data = self._bytes(stream, sample)
                yield sample, data, self._metadata(stream, sample)
        finally:
            for stream in opened.values():
                stream.close()

    def one(self, sample: Sample) -> bytes:
        """Return the image bytes of a row of the index; errors as for ``read``."""
        opened: OrderedDict[str, BinaryIO] = OrderedDict()
        with contextlib.closing(self._shard(sample.shard, opened)) as stream:
            return self._bytes(stream, sample)

    def _samples(self, rows: Sequence[int] | np.ndarray) -> Iterator[Sample]:
        """Yield rows of the index in the order given."""
        held: dict[int, pa.Table] = {}  # the shard that an ascending batch goes on with
        for start in range(0, len(rows), BATCH):
            batch = np.asarray(rows[start : start + BATCH], dtype=np.int64)
            shard = np.searchsorted(self._index.starts, batch, side="right") - 1
            needed = np.unique(shard).tolist()
            missing = [s for s in needed if s not in held]
            pieces = []
            with contextlib.closing(self._index.parts(shards=missing)) as parts:
                for s in needed:
                    part = held[s] if s in held else next(parts)
                    pieces.append(part.take(pa.array(batch[shard == s] - self._index.starts[s])))
            held = {needed[-1]: part}
            order = np.argsort(np.argsort(shard, kind="stable"), kind="stable")
            for row in pa.concat_tables(pieces).take(pa.array(order)).to_pylist():
                yield Sample(**row)

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

    def _metadata(self, stream: BinaryIO, sample: Sample) -> dict[str, Any]:
        """Return what the sample's JSON has of its source, its whole record being as written."""
        where = f"shard {self.folder / sample.shard} at offset {sample.offset:,}"
        try:
            stream.seek(sample.offset - BLOCK)
            record = stream.read(BLOCK + sample.size + -sample.size % BLOCK)
            name, content = b"", b""
            while not name.endswith(b".json"):
                head = stream.read(BLOCK)
                name, size = head[:100].rstrip(b"\0"), int(head[SIZE], 8)
                content = stream.read(size + -size % BLOCK)
                record += head + content
            if zlib.crc32(record) == sample.crc32:
                return dict(json.loads(content[:size]).get("metadata", {}))
        except OSError as error:
            raise DataError(f"cannot read {where}: {error.strerror}.") from error
        except ValueError:
            pass
        raise DataError(
            f"{where} (sample {sample.key}) has another header, label or metadata than was "
            "written; restore it or make it again."
        )

    def _bytes(self, stream: BinaryIO, sample: Sample) -> bytes:
        where = f"shard {self.folder / sample.shard} at offset {sample.offset:,}"
        try:
            stream.seek(sample.offset)
            data = stream.read(sample.size)
        except OSError as error:
            raise DataError(f"cannot read {where}: {error.strerror}.") from error
        if len(data) < sample.size:
            raise DataError(
                f"{where} (sample {sample.key}) is cut short; restore it or make it again."
            )
        if hashlib.sha256(data).hexdigest() != sample.sha256:
            raise DataError(
                f"{where} (sample {sample.key}) changed since it was written; restore it or make "
                "it again."
            )
        return data
