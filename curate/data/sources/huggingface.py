"""hf: data sets of Hugging Face: saved to disk, as parquet files, or on the hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.data import cards, labels, splits, tables
from curate.data.sample import Entry
from curate.data.sources.base import (
    LEADS_OUT,
    Choice,
    Inside,
    Select,
    files_below,
    is_place,
    matching,
    plain,
    read_file,
    storable,
)
from curate.data.splits import Splits
from curate.data.tables import Batches, Columns, Declared
from curate.errors import CurateError, DataError, UsageError
from curate.runtime.options import option
from curate.runtime.text import short

PARQUET = ".parquet"
SAVED = ("state.json", "dataset_dict.json")
"""Files that datasets writes into what it saves."""


@dataclass(frozen=True)
class HuggingFace:
    """One split of a data set.

    Attributes:
        rows: Number of rows.
        batches: Reads columns, undecoded.
        columns: Which columns are used.
        home: What names of files in rows are relative to.
        inside: What they may lead to.
        others: (path, reason) of what lies there besides.
    """

    name: str
    split: str
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    rows: int
    batches: Batches
    columns: Columns
    home: Path
    inside: Inside
    others: tuple[tuple[str, str], ...]
    chosen: Mapping[str, str]
    rejected: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def paths(self) -> Iterator[str]:
        """Return ``train/00000000`` and so on: rows have no name that is sure to be unique."""
        return (self._path(i) for i in range(self.rows))

    def _path(self, i: int) -> str:
        return f"{self.split}/{i:08d}"

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the images, their bytes untouched."""
        used = self.columns
        names = [used.image, *([used.label] if used.label else []), *used.extras]
        numbers = {name: label for label, name in enumerate(self.classes)}
        i = 0
        for batch in self.batches(names):
            for row in range(max(map(len, batch.values()), default=0)):
                path = self._path(i)
                i += 1
                if select is not None and not select(path):
                    continue
                value = {name: values[row] for name, values in batch.items()}
                try:
                    data = self._bytes(value.get(used.image))
                    label = labels.label_of(value.get(used.label)) if used.label else None
                except (DataError, ValueError) as error:
                    self.rejected.append((path, str(error)))
                    continue
                if isinstance(label, str) and label not in numbers:
                    self.rejected.append((path, f"its label {short(label)} is none of the classes"))
                    continue
                number = numbers[label] if isinstance(label, str) else label
                extras = {name: value.get(name) for name in used.extras}
                yield Entry(path, data, number, plain(extras))
        self.left_out.extend(self.others)

    def _bytes(self, value: Any) -> bytes:
        """Return the bytes of an undecoded image.

        Raises:
            DataError: If there are none; the message is the reason alone.
        """
        if isinstance(value, dict):
            named = value.get("path")
            if value.get("bytes") is None and isinstance(named, str) and named:
                return self._named(named)
            value = value.get("bytes")
        if not isinstance(value, bytes):
            raise DataError("the row has no image")
        return value

    def _named(self, named: str) -> bytes:
        shown = short(named)
        if "://" in named:
            raise DataError(f"the row names an address, which is not fetched: {shown}")
        place = self.home / named
        if "\0" in named or not self.inside.holds(place):
            raise DataError(f"the row names a file that {LEADS_OUT}: {shown}")
        if not os.path.exists(place):  # noqa: PTH110 (Path.exists raises for a name too long)
            raise DataError(f"the row names a file that is not there: {shown}")
        try:
            return read_file(place)
        except DataError as error:
            raise DataError(f"the row names a file that is no image: {shown}, {error}") from error


def open_huggingface(where: str, choice: Choice, data: Path | None) -> HuggingFace:
    """Open a folder that ``save_to_disk`` wrote, parquet files, or a data set of the hub."""
    place = str(data) if data else where
    if not place:
        raise UsageError(
            f"source hf needs a hub id or a path: write hf:NAME, or give {option(data='PATH')}."
        )
    if any((Path(place) / f).is_file() for f in SAVED):
        return _saved(place, choice)
    root, files, others = _parquet(place)
    if files:
        return _from_parquet(place, root, files, others, choice)
    if Path(place).exists():
        raise DataError(f"{place} holds no data set saved by datasets, and no parquet files.")
    if data or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", place) or place.startswith("."):
        raise UsageError(f"source hf: there is nothing at {place}.")
    return _hub(place, choice)


def _saved(place: str, choice: Choice) -> HuggingFace:
    import datasets

    try:
        saved = datasets.load_from_disk(place)
    except MemoryError:
        raise
    except Exception as error:  # what others wrote makes datasets raise nearly anything
        raise DataError(f"cannot read {place}: {tables.first_line(error)}.") from error
    parts = dict(saved) if isinstance(saved, datasets.DatasetDict) else {_name(saved): saved}
    inside = Inside(place, outside=choice.outside)
    return _mapped(f"hf:{place}", place, parts, choice, inside)


def _name(dataset: Any) -> str:
    """Return the split a data set was saved as; ``train[:10%]`` and no name are ``train``."""
    name = str(dataset.split or "train")
    return name if re.fullmatch(r"\w+", name) else "train"


def _hub(name: str, choice: Choice) -> HuggingFace:
    import datasets

    try:
        builder = datasets.load_dataset_builder(name)
        have = tuple(builder.info.splits or ())
        if have:
            splits.find(choice.split, have, f"hf:{name}")
        builder.download_and_prepare()
        parts = {split: builder.as_dataset(split) for split in builder.info.splits}
    except (CurateError, MemoryError):
        raise
    except Exception as error:  # network, hub and loading scripts raise nearly anything
        advice = "Check the name and the network, or give the path of a local copy."
        if "config" in str(error).lower():
            advice = "Download one configuration, and give the path of its parquet files."
        raise DataError(f"cannot load hf:{name}: {tables.first_line(error)}. {advice}") from error
    caches = (datasets.config.HF_DATASETS_CACHE, datasets.config.HF_CACHE_HOME)
    inside = Inside(*map(str, caches), outside=choice.outside)
    return _mapped(f"hf:{name}", str(caches[0]), parts, choice, inside)


def _mapped(
    name: str, home: str, parts: Mapping[str, Any], choice: Choice, inside: Inside
) -> HuggingFace:
    """Describe a split of data sets that datasets has opened."""
    have = tuple(parts)
    split = splits.find(choice.split, have, name.removeprefix("hf:") if home in name else name)
    dataset = parts[split]
    declared = {
        column: Declared(
            type(feature).__name__ == "Image",
            tuple(map(labels.storable_text, getattr(feature, "names", None) or ())),
        )
        for column, feature in dataset.features.items()
    }

    def batches(names: Sequence[str]) -> Iterator[Mapping[str, list[Any]]]:
        present = [n for n in names if n in dataset.column_names]
        try:
            chunks = (
                dataset.select_columns(present).with_format("arrow").iter(batch_size=tables.BATCH)
            )
            for batch in chunks:
                yield {n: tables.values_of(batch[n]) for n in present}
        except (OSError, ValueError) as error:
            raise DataError(f"{name} is damaged: {tables.first_line(error)}.") from error

    schema = dataset.features.arrow_schema
    columns = tables.choose(schema, declared, name, image=choice.image, label=choice.label)
    classes = _classes(columns, batches, declared, schema, name)
    for other, part in parts.items():
        theirs = getattr(part.features.get(columns.label), "names", None) if columns.label else None
        if theirs and tuple(map(labels.storable_text, theirs)) != classes:
            raise DataError(f"{name}: {other} and {split} differ in their classes.")
    also = [other for other in have if other != split]
    chosen = {"split": f"{split}, by name" + (f"; also: {', '.join(also)}" if also else "")}
    return HuggingFace(
        name=name,
        split=split,
        splits=have,
        classes=classes,
        rows=len(dataset),
        batches=batches,
        columns=columns,
        home=Path(home),
        inside=inside,
        others=(),
        chosen=chosen | dict(columns.chosen),
    )


def _classes(
    columns: Columns, batches: Batches, declared: Mapping[str, Declared], schema: Any, name: str
) -> tuple[str, ...]:
    if columns.label is None:
        return ()
    declaration = declared.get(columns.label, Declared())
    typed = tables.whole_numbers(schema, columns.label)
    return tables.names_of(batches, columns.label, declaration, name, typed=typed)


# Parquet files


def _parquet(place: str) -> tuple[Path, list[str], list[tuple[str, str]]]:
    """Return the folder of parquet files, their paths within it, and what lies there besides."""
    others: list[tuple[str, str]] = []
    if is_place(Path(place)):
        root, paths = Path(place), []
        for inside in files_below(root):
            path, name = root / inside, storable(inside)
            if inside.endswith("/"):
                others.append((name, "shards of curate"))
                continue
            hidden = any(part.startswith(".") for part in name.split("/"))
            if path.suffix == PARQUET and not hidden:
                paths.append(path)
            else:
                why = "hidden" if hidden else f"no parquet: ending {path.suffix.lower() or 'none'}"
                others.append((name, why))
    else:
        paths = [file for file in matching(place) if file.suffix == PARQUET]
        root = Path(os.path.commonpath([file.parent for file in paths])) if paths else Path()
    return root, [os.path.relpath(file, root) for file in paths], others


def _from_parquet(
    place: str,
    root: Path,
    files: Sequence[str],
    others: Sequence[tuple[str, str]],
    choice: Choice,
) -> HuggingFace:
    if splits.is_pattern(choice.split):
        chosen = tuple(file for file in files if splits.matches(choice.split, file))
        if not chosen:
            pattern = option(split=choice.split, quoted=True)
            raise UsageError(f"{place}: {pattern} fits no parquet file.")
        laid = Splits({choice.split: chosen}, "by the pattern")
        others = [*others, *((f, "does not fit data.split") for f in files if f not in chosen)]
    elif choice.split == splits.EVERYTHING:
        laid = Splits({choice.split: tuple(files)}, "all of it, as was said")
    else:
        laid = cards.splits_of(root, files) or splits.of_files(files, place)
    split = splits.find(choice.split, laid.names, place)
    first = split == laid.names[0] or splits.WORDS.get(split) == splits.TRAIN
    beside = [*others, *((stray, "in no split") for stray in laid.strays)] if first else []
    # Class names are numbered over all splits, so that all are looked at.
    everything = tables.open_parquet(root, [f for paths in laid.of.values() for f in paths])
    mine = tables.open_parquet(root, laid.of[split])
    name = f"hf:{place}"
    more = dict.fromkeys(key for keys in everything.hive.values() for key in keys)
    columns = tables.choose(
        mine.schema, everything.declared, name, image=choice.image, label=choice.label,
        more=list(more),
    )  # fmt: skip
    tables.check_columns(mine, columns)
    classes = _over_all(everything, columns, name)
    also = [other for other in laid.names if other != split]
    why = f"{split}, {laid.why}" + (f"; also: {', '.join(also)}" if also else "")
    return HuggingFace(
        name=name,
        split=split,
        splits=laid.names,
        classes=classes,
        rows=mine.rows,
        batches=_numbered(mine, columns),
        columns=columns,
        home=root,
        inside=Inside(root, outside=choice.outside),
        others=tuple(beside),
        chosen={"split": why, **columns.chosen},
    )


def _over_all(table: tables.Parquet, columns: Columns, name: str) -> tuple[str, ...]:
    """Return the classes of all splits; one that has no labels takes nothing from the others."""
    if columns.label is None:
        return ()
    if columns.label not in table.schema.names:  # in the names of folders
        texts = [labels_.get(columns.label) for labels_ in table.hive.values()]
        return labels.classes_of(map(labels.label_of, labels.of_texts(texts)), name)
    return _classes(columns, table.batches, table.declared, table.schema, name)


def _numbered(table: tables.Parquet, columns: Columns) -> Batches:
    """Return what reads a table, with numbers in the names of folders as numbers."""
    if columns.label is None or columns.label in table.schema.names:
        return table.batches
    label = columns.label
    texts = [values.get(label) for values in table.hive.values()]
    numbers = dict(zip(texts, labels.of_texts(texts), strict=True))

    def batches(names: Sequence[str]) -> Iterator[Mapping[str, list[Any]]]:
        for batch in table.batches(names):
            if label in batch:
                yield {**batch, label: [numbers.get(text) for text in batch[label]]}
            else:
                yield batch

    return batches
