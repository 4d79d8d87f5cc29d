"""hf: data sets of Hugging Face: saved to disk, as parquet files, or on the hub."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.sample import Entry
from curate.data.sources.base import SPLITS, Select, matching, need_split, plain, read_file
from curate.errors import DataError, UsageError

BATCH = 64
"""Rows in memory at a time."""
IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp")
LABEL_NAMES = ("label", "labels", "fine_label", "class", "target")

Batches = Callable[[list[str]], Iterator[pa.Table | pa.RecordBatch]]
"""Column names -> these columns, batch by batch."""


@dataclass(frozen=True)
class HuggingFace:
    """One split of a data set.

    Attributes:
        rows: Number of rows.
        batches: Reads columns, undecoded.
        image: Name of the column of images.
        label: Name of the column of labels, or None.
        extras: Names of the columns that travel along as metadata.
    """

    name: str
    split: str
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    rows: int
    batches: Batches
    image: str
    label: str | None
    extras: tuple[str, ...]
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def paths(self) -> Iterator[str]:
        """Return ``train/00000000`` and so on: rows have no name that is sure to be unique."""
        return (self._path(i) for i in range(self.rows))

    def _path(self, i: int) -> str:
        return f"{self.split}/{i:08d}"

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the images, their bytes untouched."""
        names = [self.image, *([self.label] if self.label else []), *self.extras]
        numbers = {name: label for label, name in enumerate(self.classes)}
        i = 0
        for batch in self.batches(names):
            for row in range(batch.num_rows):
                path = self._path(i)
                i += 1
                if select is not None and not select(path):
                    continue
                try:
                    data = _bytes(batch[self.image][row].as_py())
                except DataError as error:
                    self.rejected.append((path, str(error)))
                    continue
                label = batch[self.label][row].as_py() if self.label else None
                number = numbers[label] if isinstance(label, str) else label
                extras = {name: batch[name][row].as_py() for name in self.extras}
                known = number if number is not None and number >= 0 else None
                yield Entry(path, data, known, plain(extras))


def open_huggingface(where: str, split: str, data: Path | None) -> HuggingFace:
    """Open a folder that ``save_to_disk`` wrote, parquet files, or a data set of the hub."""
    place = str(data) if data else where
    if not place:
        raise UsageError("source hf needs a hub id or a path: write hf:NAME, or give --data PATH.")
    if any((Path(place) / f).is_file() for f in ("state.json", "dataset_dict.json")):
        return _saved(place, split)
    files = _parquet(place)
    if files:
        return _from_parquet(place, files, split)
    if Path(place).exists():
        raise DataError(f"{place} holds no data set saved by datasets, and no parquet files.")
    if data or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", place) or place.startswith("."):
        raise UsageError(f"source hf: there is nothing at {place}.")
    return _hub(place, split)


def _saved(place: str, split: str) -> HuggingFace:
    import datasets

    try:
        found = datasets.load_from_disk(place)
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise DataError(f"cannot read {place}: {_first_line(error)}.") from error
    parts = dict(found) if isinstance(found, datasets.DatasetDict) else {_name(found): found}
    need_split(split, tuple(parts), place)
    return _mapped(f"hf:{place}", split, tuple(parts), parts[split])


def _name(dataset: Any) -> str:
    """Return the split a data set was saved as; ``train[:10%]`` and no name are ``train``."""
    name = str(dataset.split or "train")
    return name if re.fullmatch(r"\w+", name) else "train"


def _hub(name: str, split: str) -> HuggingFace:
    import datasets

    try:
        builder = datasets.load_dataset_builder(name)
        splits = tuple(builder.info.splits or ())
        if splits:
            need_split(split, splits, f"hf:{name}")
        builder.download_and_prepare()
        return _mapped(f"hf:{name}", split, tuple(builder.info.splits), builder.as_dataset(split))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise DataError(
            f"cannot load hf:{name}: {_first_line(error)}. Check the name and the network, or give "
            "the path of a local copy."
        ) from error


def _mapped(name: str, split: str, splits: tuple[str, ...], dataset: Any) -> HuggingFace:
    def batches(names: list[str]) -> Iterator[pa.Table]:
        yield from dataset.select_columns(names).with_format("arrow").iter(batch_size=BATCH)

    schema = dataset.features.arrow_schema
    return _described(name, split, splits, len(dataset), batches, schema, dataset.features)


def _parquet(place: str) -> list[Path]:
    if Path(place).is_dir():
        return sorted(Path(place).rglob("*.parquet"))
    return [file for file in matching(place) if file.suffix == ".parquet"]


def _from_parquet(place: str, files: Sequence[Path], split: str) -> HuggingFace:
    import datasets

    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file), []).append(file)
    need_split(split, tuple(by_split), place)
    opened = []
    for file in by_split[split]:
        try:
            opened.append(pq.ParquetFile(file))
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"cannot read {file}: {_first_line(error)}.") from error
    schema = opened[0].schema_arrow
    for file, other in zip(by_split[split], opened, strict=True):
        if not other.schema_arrow.equals(schema):
            raise DataError(f"{file} has other columns than {by_split[split][0]}.")

    def batches(names: list[str]) -> Iterator[pa.RecordBatch]:
        for file, stream in zip(by_split[split], opened, strict=True):
            try:
                yield from stream.iter_batches(batch_size=BATCH, columns=names)
            except (OSError, pa.ArrowException) as error:
                raise DataError(f"{file} is damaged: {_first_line(error)}.") from error

    rows = sum(file.metadata.num_rows for file in opened)
    features = datasets.Features.from_arrow_schema(schema)
    return _described(f"hf:{place}", split, tuple(by_split), rows, batches, schema, features)


def _split_of(file: Path) -> str:
    """Return the split that a file name begins with, as ``test-00000-of-00001.parquet``."""
    first = re.split(r"[-_.]", file.name)[0]
    return first if first in SPLITS else "train"


def _described(
    name: str,
    split: str,
    splits: tuple[str, ...],
    rows: int,
    batches: Batches,
    schema: pa.Schema,
    features: Any,
) -> HuggingFace:
    """Find the columns of images and labels."""
    image = _image_column(schema, features)
    if image is None:
        raise DataError(f"{name} has no column of images; it has {', '.join(schema.names)}.")
    label = next((n for n in LABEL_NAMES if n in schema.names and _is_label(schema.field(n))), None)
    classes: tuple[str, ...] = ()
    if label:
        classes = tuple(getattr(features[label], "names", None) or ())
        if not classes and pa.types.is_string(schema.field(label).type):
            found: set[str] = set()
            for batch in batches([label]):
                found.update(v for v in pc.unique(batch[label]).to_pylist() if v is not None)
            classes = tuple(sorted(found))
    extras = tuple(
        f.name for f in schema if f.name not in (image, label) and _is_plain(f.type)
    )  # fmt: skip
    return HuggingFace(
        name, split, splits, classes, rows, batches, image, label, extras
    )  # fmt: skip


def _image_column(schema: pa.Schema, features: Any) -> str | None:
    declared = [n for n in schema.names if type(features.get(n)).__name__ == "Image"]
    likely = [
        f.name
        for f in schema
        if f.name in IMAGE_NAMES
        and (pa.types.is_binary(f.type) or pa.types.is_large_binary(f.type) or _is_stored(f.type))
    ]
    return next(iter(declared + likely), None)


def _is_stored(kind: pa.DataType) -> bool:
    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _is_label(column: pa.Field) -> bool:
    return bool(pa.types.is_integer(column.type) or pa.types.is_string(column.type))


def _is_plain(kind: pa.DataType) -> bool:
    plain = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_string,
    )
    return any(holds(kind) for holds in plain)


def _bytes(value: Any) -> bytes:
    """Return the bytes of an undecoded image.

    Raises:
        DataError: If there are none; the message is the reason alone.
    """
    if isinstance(value, dict):
        if value.get("bytes") is None and value.get("path"):
            return read_file(Path(value["path"]))
        value = value.get("bytes")
    if value is None:
        raise DataError("the row has no image")
    return bytes(value)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
