"""Metadata files beside images, as Hugging Face's ImageFolder has them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from curate.data.sources.base import plain
from curate.errors import DataError

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


@dataclass(frozen=True)
class Listed:
    """What a metadata file says of one image: its label, and all that is not its name."""

    label: int | str | None
    extras: dict[str, Any]


def read_metadata(root: Path, splits: tuple[str, ...]) -> dict[str, Listed]:
    """Read the metadata files in ``root`` and in its split sub-folders.

    Each row has a ``file_name``, relative to the file that lists it, and may have a ``label``, a
    whole number or a name.

    Returns:
        Rows by path within ``root``.

    Raises:
        DataError: If a file is broken, or lists an image twice or outside of ``root``.
    """
    listed: dict[str, Listed] = {}
    for folder in (root, *(root / split for split in splits)):
        files = [folder / name for name in NAMES if (folder / name).is_file()]
        if len(files) > 1:
            raise DataError(f"{folder} has both {files[0].name} and {files[1].name}; leave one.")
        for file in files:
            for row in _rows(file):
                name = row.pop("file_name", None)
                if not isinstance(name, str) or not name:
                    raise DataError(f"{file} has a row without file_name.")
                path = os.path.normpath((folder.relative_to(root) / name).as_posix())
                if path.startswith(("../", "/")):
                    raise DataError(f"{file}: file_name {name!r} leads out of the folder.")
                if path in listed:
                    raise DataError(f"{file} lists {path}, which is listed before.")
                listed[path] = Listed(_label(row.pop("label", None), file, name), plain(row))
    return listed


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        if file.suffix == ".jsonl":
            with file.open(encoding="utf-8") as lines:
                for line in lines:
                    if line.strip():
                        yield dict(json.loads(line))
        elif file.suffix == ".csv":
            as_text = pyarrow.csv.ConvertOptions(column_types={"file_name": pa.string()})
            yield from pyarrow.csv.read_csv(file, convert_options=as_text).to_pylist()
        else:
            yield from pq.read_table(file).to_pylist()
    except (OSError, ValueError, TypeError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise DataError(f"cannot read {file}: {reason}.") from error


def _label(value: Any, file: Path, name: str) -> int | str | None:
    """Return a label; empty, missing and negative ones are none."""
    if isinstance(value, float):
        value = None if value != value else int(value) if value.is_integer() else value
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise DataError(f"{file}: label {value!r} of {name} is no whole number or name.")
    return None if isinstance(value, int) and value < 0 else value
