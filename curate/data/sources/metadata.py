"""Metadata files beside images, as Hugging Face's ImageFolder has them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.data import labels
from curate.data.csv import check_names, read_csv
from curate.data.labels import Label
from curate.data.sources.base import Choice, plain
from curate.errors import DataError, UsageError
from curate.runtime.options import option
from curate.runtime.text import short

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME = "file_name"
"""The column that names files, unless another is said."""


@dataclass(frozen=True)
class Listed:
    """What a metadata file says of one image: its label, and all that is not its name."""

    label: Label
    extras: dict[str, Any]


@dataclass(frozen=True)
class Metadata:
    """What the metadata files of a folder say.

    Attributes:
        files: The files, by path within the root.
        rows: What they say of each image, by path within the root.
        label: The column that labels come from, or None.
        ignored: Columns that could be labels, and are not taken.
    """

    files: tuple[str, ...]
    rows: dict[str, Listed]
    label: str | None
    ignored: tuple[str, ...] = ()


def read_metadata(root: Path, folders: Iterable[str], choice: Choice, *, classes: bool) -> Metadata:
    """Read the metadata files in some folders; each is for the images beside and below it.

    Each row has a ``file_name``, relative to the file that lists it, and may have a ``label``, a
    whole number or a name.

    Args:
        root: What paths are relative to.
        folders: Where to look, as paths within ``root``.
        choice: Columns of labels and of names.
        classes: Whether folders are classes; a column not called ``label`` then is none.

    Raises:
        DataError: If a file is broken, or lists an image twice or outside of ``root``.
        UsageError: If a column that is named is not there.
    """
    tables: dict[str, tuple[Path, list[dict[str, Any]]]] = {}
    for folder in folders:
        place = root / folder
        files = [place / name for name in NAMES if (place / name).is_file()]
        if len(files) > 1:
            raise DataError(f"{place} has both {files[0].name} and {files[1].name}; leave one.")
        for file in files:
            tables[folder] = (file, list(_rows(file, choice)))
    if not tables and (choice.label or labels.NONE).lower() != labels.NONE:
        named = option(label=choice.label)
        raise UsageError(f"{named}: {root} has no metadata file with columns.")
    if not tables and choice.image is not None:
        named = option(image=choice.image)
        raise UsageError(f"{named}: {root} has no metadata file with columns.")
    name_column = choice.image or FILE_NAME
    columns = dict.fromkeys(key for _, rows in tables.values() for row in rows for key in row)
    where = str(root / next(iter(tables.values()))[0].name) if tables else f"the metadata of {root}"
    candidates = [name for name in columns if name != name_column]
    sure, others = labels.candidates(candidates)
    label, ignored = None, tuple(others)
    if not classes or sure is not None or choice.label is not None:
        label = labels.chosen_column(
            choice.label, candidates, where, lambda n: _are_labels(tables, n)
        )
        ignored = () if label or choice.label else tuple(candidates)
    listed: dict[str, Listed] = {}
    for folder, (file, rows) in tables.items():
        texts = _texts(rows, label) if file.suffix == ".csv" and label else None
        for number, row in enumerate(rows):
            name = row.pop(name_column, None)
            if not isinstance(name, str) or not name:
                raise DataError(
                    f"{file} has a row without {name_column} (row {number + 1}); its columns: "
                    f"{', '.join(map(short, row)) or 'none'} ({option(image=...)} names the one of "
                    "files)."
                )
            path = os.path.normpath(f"{folder}/{name}" if folder else name)
            if path.startswith(("../", "/")) or path == ".." or "\0" in path:
                raise DataError(
                    f"{file}: {name_column} {short(name)} (row {number + 1}) leads out of the "
                    "folder."
                )
            if path in listed:
                raise DataError(
                    f"{file} lists {short(path)[1:-1]}, which is listed before (row {number + 1})."
                )
            value = row.pop(label, None) if label else None
            if texts is not None:
                value = texts[number]
            listed[labels.storable_text(path)] = Listed(
                _label(value, file, name, number, label), plain(row)
            )
    inside = tuple(os.path.relpath(file, root) for file, _ in tables.values())
    return Metadata(inside, listed, label, ignored)


def _texts(rows: list[dict[str, Any]], label: str) -> list[Any]:
    return labels.of_texts(None if row.get(label) is None else str(row[label]) for row in rows)


def _are_labels(tables: Mapping[str, tuple[Path, list[dict[str, Any]]]], column: str) -> bool:
    """Return whether every value of a column is a label."""
    try:
        for file, rows in tables.values():
            values = [row.get(column) for row in rows]
            for value in _texts(rows, column) if file.suffix == ".csv" else values:
                labels.label_of(value)
    except ValueError:
        return False
    return True


def _rows(file: Path, choice: Choice) -> Iterator[dict[str, Any]]:
    try:
        if file.suffix == ".jsonl":
            yield from _of_json(file)
        elif file.suffix == ".csv":
            texts = {FILE_NAME, *filter(None, (choice.label, choice.image))}
            for known in (labels.LABEL, *labels.LABEL_NAMES):
                texts |= {*labels.forms(known)}
            yield from read_csv(file, texts=texts).to_pylist()
        else:
            table = pq.read_table(file, partitioning=None)
            check_names(table.column_names, file)
            yield from table.to_pylist()
    except (DataError, MemoryError):
        raise
    except Exception as error:  # a foreign file makes Arrow and json raise nearly anything
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(f"cannot read {file}: {reason[:300]}.") from error


def _of_json(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(f"cannot read {file}, line {number}: {error}.") from error
                if not isinstance(row, dict):
                    raise DataError(f"cannot read {file}, line {number}: it is no JSON object.")
                yield row


def _label(value: Any, file: Path, name: str, number: int, column: str | None) -> Label:
    """Return a label; empty, missing and negative ones are none."""
    try:
        return labels.label_of(value)
    except ValueError as error:
        raise DataError(
            f"{file}: {column} {short(value)} of {short(name)} is no whole number or name (row "
            f"{number + 1}); name another column with {option(label=...)}, or "
            f"{option(label=labels.NONE)}."
        ) from error
