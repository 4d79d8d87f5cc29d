"""Tables of images: columns of parquet and Arrow data, found and read whatever their types."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from curate.data import labels, remote
from curate.data.labels import Label
from curate.errors import DataError, UsageError, unknown
from curate.runtime.options import option
from curate.runtime.text import short

BATCH = 64
"""Rows in memory at a time."""
IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo")
HIVE_NONE = "__HIVE_DEFAULT_PARTITION__"
NUMBER, NAME = "numbers", "names"

Batches = Callable[[Sequence[str]], Iterator[Mapping[str, list[Any]]]]
"""Column names -> the values of those columns that there are, batch by batch."""


@dataclass(frozen=True)
class Declared:
    """What a table says of a column: that it holds images, or the names of its classes."""

    image: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are used.

    Attributes:
        image: Name of the column of images.
        label: Name of the column of labels, or None.
        extras: Names of the columns that travel along as metadata.
        chosen: The choice in words.
    """

    image: str
    label: str | None
    extras: tuple[str, ...]
    chosen: Mapping[str, str]


def first_line(error: BaseException) -> str:
    """Return what an error says, in one line that is not too long."""
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")[:300]


def choose(
    schema: pa.Schema,
    declared: Mapping[str, Declared],
    name: str,
    *,
    image: str | None,
    label: str | None,
    more: Sequence[str] = (),
) -> Columns:
    """Find the columns of images and labels.

    Args:
        schema: Of the table; types are told by it.
        declared: What the table says of columns besides.
        name: What a message calls the table.
        image: The column of images that was said, or None.
        label: The column of labels that was said, or None.
        more: Columns that are not in the table but in the names of its folders.

    Raises:
        DataError: If there is no column of images, or labels are of a type that is none.
        UsageError: If a column is not there, or it cannot be told which one is meant.
    """
    names = list(dict.fromkeys([*schema.names, *more]))
    twice = next((n for n in schema.names if schema.names.count(n) > 1), None)
    if twice is not None:
        raise DataError(f"{name} has two columns called {short(twice)}; rename one.")
    taken, also = _image_column(schema, declared, name, image)
    others = [n for n in names if n != taken]
    label_column = labels.chosen_column(
        label, others, name, lambda n: _can_be_label(schema, declared, n)
    )
    chosen = {"images": f"column {taken}" + (f"; also there: {', '.join(also)}" if also else "")}
    if (
        label_column is not None
        and label_column in schema.names
        and not declared.get(label_column, Declared()).names
    ):
        kind = schema.field(label_column).type
        if not _is_label(kind):
            raise DataError(
                f"column {label_column!r} of {name} is of type {kind}, which is no label; name "
                f"another column with {option(label=...)}, or {option(label=labels.NONE)}."
            )
    plain = [n for n in others if n not in schema.names or _is_label(schema.field(n).type)]
    chosen["labels"] = f"column {label_column}" if label_column else labels.none_of(plain)
    extras = tuple(
        f.name for f in schema if f.name not in (taken, label_column) and _is_plain(f.type)
    )
    return Columns(taken, label_column, extras, chosen)


def _image_column(
    schema: pa.Schema, declared: Mapping[str, Declared], name: str, image: str | None
) -> tuple[str, list[str]]:
    """Return the column of images, and the others that hold some."""
    if image is not None and image not in schema.names:
        raise UsageError(
            f"{option(image=...)}: {unknown(f'column of {name}', image, schema.names)}"
        )
    by_type = [f.name for f in schema if _holds_bytes(f.type)]
    can = [n for n in schema.names if declared.get(n, Declared()).image and n in by_type]
    can += [n for n in by_type if n not in can and (n.lower() in IMAGE_NAMES or _is_stored(
        schema.field(n).type))]  # fmt: skip
    if image is not None:
        if image not in by_type:
            raise DataError(
                f"column {image!r} of {name} is of type {schema.field(image).type}, and holds no "
                "encoded images."
            )
        return image, [n for n in can if n != image]
    if not can and len(by_type) == 1:
        can = by_type  # the only bytes that there are
    if not can:
        have = ", ".join(short(n)[1:-1] for n in schema.names[:20])
        raise DataError(f"{name} has no column of images; it has {have or 'no columns'}.")
    lower = {n.lower(): n for n in reversed(can)}
    best = next((lower[n] for n in IMAGE_NAMES if n in lower), None)
    if best is None and len(can) > 1:
        raise UsageError(
            f"{name} has images in {len(can)} columns, {', '.join(can)}; say which: "
            f"{option(image=can[0])} (in a recipe data.image)."
        )
    taken = best or can[0]
    return taken, [n for n in can if n != taken]


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
        or pa.types.is_fixed_size_binary(kind)
    )


def _is_stored(kind: pa.DataType) -> bool:
    """Return whether a type is what datasets stores images as."""
    if not pa.types.is_struct(kind):
        return False
    at = kind.get_field_index("bytes")
    return at >= 0 and (_is_bytes(kind.field(at).type) or pa.types.is_null(kind.field(at).type))


def _holds_bytes(kind: pa.DataType) -> bool:
    return _is_bytes(kind) or _is_stored(kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_label(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_label(kind.value_type)
    if _is_list(kind):
        return _is_label(kind.value_type)
    return _is_number(kind) or _is_text(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)


def _can_be_label(schema: pa.Schema, declared: Mapping[str, Declared], name: str) -> bool:
    """Return whether a column that nobody named is labels: whole numbers or names by its type."""
    if name not in schema.names or declared.get(name, Declared()).names:
        return True
    kind = schema.field(name).type
    while pa.types.is_dictionary(kind) or _is_list(kind):
        kind = kind.value_type
    return _is_text(kind) or bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_plain(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_plain(kind.value_type)
    return _is_number(kind) or pa.types.is_boolean(kind) or _is_text(kind)


def values_of(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return a column as Python values; what Arrow cannot give so is None."""
    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError, pa.ArrowException, UnicodeDecodeError):
        values = [_value(column, row) for row in range(len(column))]
    return values


def _value(column: pa.Array | pa.ChunkedArray, row: int) -> Any:
    try:
        return column[row].as_py()
    except (ValueError, OverflowError, pa.ArrowException, UnicodeDecodeError):
        return None


def names_of(
    batches: Batches, column: str, declared: Declared, where: str, *, typed: bool
) -> tuple[str, ...]:
    """Return the class names of a column: those declared, else what stands there, in order.

    Args:
        batches: Reads columns.
        column: The column of labels.
        declared: What the table says of it.
        where: What a message calls the table.
        typed: Whether the type says that all of them are whole numbers, so that none is looked at.

    Raises:
        DataError: If a value is no label, or some are numbers and some names.
    """
    if declared.names or typed:
        return declared.names
    distinct: set[Label] = set()
    row = 0
    for batch in batches([column]):
        for value in batch.get(column, ()):
            try:
                distinct.add(labels.label_of(value))
            except ValueError as error:
                raise DataError(
                    f"column {column!r} of {where}, row {row}: {error}; name another column with "
                    f"{option(label=...)}, or {option(label=labels.NONE)}."
                ) from error
            row += 1
    return labels.classes_of(distinct, f"column {column!r} of {where}")


def declared_by(metadata: Mapping[bytes, bytes] | None) -> dict[str, Declared]:
    """Return what datasets wrote of the columns; what it does not say, or nobody knows, is left."""
    try:
        content = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        features = content["info"]["features"].items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    out = {}
    for name, feature in features:
        kind = feature.get("_type") if isinstance(feature, dict) else None
        names = feature.get("names") if kind == "ClassLabel" else None
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            names = []
        out[name] = Declared(kind == "Image", tuple(map(labels.storable_text, names)))
    return out


# Parquet files


@dataclass(frozen=True)
class Parquet:
    """Parquet files as one table, schemas reconciled column by column.

    Attributes:
        root: The folder that they lie in.
        files: Their paths within it.
        schema: Every column of any of them, the first type that is not null of each.
        declared: What datasets wrote of the columns.
        hive: Columns in the names of folders, ``label=cat``, by file.
        rows: Number of rows.
    """

    root: Path
    files: tuple[str, ...]
    schema: pa.Schema
    declared: Mapping[str, Declared]
    hive: Mapping[str, Mapping[str, str | None]]
    rows: int

    def batches(
        self, names: Sequence[str], rows_each: int = BATCH
    ) -> Iterator[Mapping[str, list[Any]]]:
        """Yield values of columns, so many rows at a time; a file may lack some of them."""
        for path in self.files:
            with _file(self.root / path) as file:
                present = [n for n in names if n in file.schema_arrow.names]
                constant = {
                    n: v for n, v in self.hive[path].items() if n in names and n not in present
                }
                rows = 0
                try:
                    # A file that has none of them has rows all the same.
                    read = present or file.schema_arrow.names[:1]
                    for batch in file.iter_batches(batch_size=rows_each, columns=read):
                        rows += batch.num_rows
                        columns = {n: values_of(batch.column(n)) for n in present}
                        yield columns | {n: [v] * batch.num_rows for n, v in constant.items()}
                except (OSError, ValueError, pa.ArrowException) as error:
                    raise DataError(
                        f"{self.root / path} is damaged after row {rows:,}: {first_line(error)}."
                    ) from error


def _file(path: Path) -> pq.ParquetFile:
    afar = remote.opened(path) if remote.is_remote(path) else None
    try:
        return pq.ParquetFile(afar or path, pre_buffer=False)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise DataError(f"cannot read {path}: {first_line(error)}.") from error


def open_parquet(root: Path, files: Sequence[str]) -> Parquet:
    """Open parquet files as one table.

    Raises:
        DataError: If one cannot be read.
    """
    fields: dict[str, pa.Field] = {}
    declared: dict[str, Declared] = {}
    rows = 0
    for path in files:
        with _file(root / path) as file:
            rows += file.metadata.num_rows
            schema = file.schema_arrow
            for name, declaration in declared_by(schema.metadata).items():
                before = declared.setdefault(name, declaration)
                if declaration.names and before.names and declaration.names != before.names:
                    raise DataError(
                        f"{root / path}: the classes of column {name!r} are others than those of "
                        f"{root / files[0]}."
                    )
            for item in schema:
                known = fields.get(item.name)
                if known is None or pa.types.is_null(known.type):
                    fields[item.name] = item
            twice = next((n for n in schema.names if schema.names.count(n) > 1), None)
            if twice is not None:
                raise DataError(f"{root / path} has two columns called {short(twice)}.")
    hive = {path: _hive(path) for path in files}
    return Parquet(root, tuple(files), pa.schema(list(fields.values())), declared, hive, rows)


def check_columns(table: Parquet, columns: Columns) -> None:
    """Check that the columns that are used are there, and of one kind, in every file.

    Raises:
        DataError: If not; the message names file, column and types.
    """
    first = table.root / table.files[0]
    for path in table.files:
        with _file(table.root / path) as file:
            schema = file.schema_arrow
        for name in (columns.image, columns.label):
            if name is None or name in table.hive[path]:
                continue
            if name not in schema.names:
                raise DataError(f"{table.root / path} has no column {name!r}, and others have.")
            mine, theirs = schema.field(name).type, table.schema.field(name).type
            kinds = {_kind(mine), _kind(theirs)} - {"null"}
            if len(kinds) > 1:
                raise DataError(
                    f"column {name!r} is of type {mine} in {table.root / path}, and {theirs} in "
                    f"{first}."
                )


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind) or _is_list(kind):
        return _kind(kind.value_type)
    if _holds_bytes(kind):
        return "bytes"
    if pa.types.is_null(kind):
        return "null"
    return NUMBER if _is_number(kind) else NAME if _is_text(kind) else str(kind)


def whole_numbers(schema: pa.Schema, name: str) -> bool:
    """Return whether a column's type says that all its values are whole numbers."""
    return name in schema.names and bool(pa.types.is_integer(schema.field(name).type))


def _hive(path: str) -> dict[str, str | None]:
    """Return the columns in the names of a file's folders."""
    out: dict[str, str | None] = {}
    for part in path.split("/")[:-1]:
        key, sign, value = part.partition("=")
        if sign and key:
            out[unquote(key)] = None if value == HIVE_NONE else unquote(value)
    return out
