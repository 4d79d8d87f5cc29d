"""The index of shards: ``index.parquet``, read whole and only as it was written."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curate.atomic import file_sha256, read_json
from curate.errors import DataError
from curate.records.sample import INDEX_SCHEMA


def read_index(folder: Path) -> pa.Table:
    """Read the index of a folder of shards, in order of shard and offset.

    Raises:
        DataError: If it is missing, or is not the one that ``dataset.json`` describes.
    """
    path = folder / "index.parquet"
    if not path.is_file():
        raise DataError(f"{path} is missing; make the shards again.")
    try:
        made = read_json(folder / "dataset.json")["index"]
        if file_sha256(path) != made["sha256"]:
            raise DataError(f"{path} changed since it was written; make the shards again.")
        with pq.ParquetFile(path) as file:  # read_table takes twice the memory
            return file.read(use_threads=False).select(INDEX_SCHEMA.names).cast(INDEX_SCHEMA)
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read ({error}); make the shards again.") from error
