"""idx: MNIST-format files, gzipped or not."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from curate.data.decoding import MAX_PIXELS, encode_png
from curate.data.sample import Entry
from curate.data.sources.base import Choice, Select, Whole, no_columns
from curate.data.splits import find
from curate.errors import DataError, UsageError
from curate.runtime.options import option

STEMS = {"train": "train", "test": "t10k"}
"""What the file names of each split begin with."""
UINT8 = 8


@dataclass(frozen=True)
class Idx(Whole):
    """One split of an MNIST-format folder.

    Attributes:
        images: File of (N, H, W) uint8.
        labels: File of (N,) uint8, or None.
    """

    name: str
    split: str
    splits: tuple[str, ...]
    images: Path
    labels: Path | None
    classes: tuple[str, ...] = ()
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def paths(self) -> Iterator[str]:
        """Return ``train/00000`` and so on."""
        with _opened(self.images) as stream:
            n, _, _ = _shape(stream, self.images, 3)
        return (self._path(i) for i in range(n))

    def _path(self, i: int) -> str:
        return f"{self.split}/{i:05d}"

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the images as grey PNG.

        Raises:
            DataError: If a file is cut short, or images and labels are not equally many.
        """
        with _opened(self.images) as stream:
            n, height, width = _shape(stream, self.images, 3)
            labels = self._labels(n)
            for i in range(n):
                pixels = _read(stream, height * width, self.images)
                if select is None or select(self._path(i)):
                    image = np.frombuffer(pixels, np.uint8).reshape(height, width)
                    yield Entry(self._path(i), encode_png(image), labels[i] if labels else None)
            _at_end(stream, self.images)

    def _labels(self, n: int) -> bytes | None:
        if self.labels is None:
            return None
        with _opened(self.labels) as stream:
            (count,) = _shape(stream, self.labels, 1)
            if count != n:
                raise DataError(f"{self.labels} has {count:,} labels for {n:,} images.")
            labels = _read(stream, count, self.labels)
            _at_end(stream, self.labels)
        return labels


def open_idx(where: str, choice: Choice, data: Path | None) -> Idx:
    """Open ``train-images-idx3-ubyte`` and its like in a folder."""
    no_columns("idx", choice)
    if not (data or where):
        raise UsageError(f"source idx needs a folder: write idx:DIR, or give {option(data='DIR')}.")
    folder = data or Path(where)
    if not folder.is_dir():
        raise UsageError(f"source idx: there is no folder {folder}.")
    files = {name: _file(folder, f"{stem}-images", 3) for name, stem in STEMS.items()}
    splits = tuple(name for name, file in files.items() if file)
    if not splits:
        raise DataError(f"{folder} holds no train-images-idx3-ubyte or t10k-images-idx3-ubyte.")
    split = find(choice.split, splits, str(folder))
    images = cast(Path, files[split])
    return Idx(f"idx:{folder}", split, splits, images, _file(folder, f"{STEMS[split]}-labels", 1))


def _file(folder: Path, stem: str, dimensions: int) -> Path | None:
    names = (f"{stem}{dot}idx{dimensions}-ubyte{end}" for dot in "-." for end in ("", ".gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _opened(path: Path) -> BinaryIO:
    try:
        return cast(BinaryIO, gzip.open(path) if path.suffix == ".gz" else path.open("rb"))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}.") from error


def _shape(stream: BinaryIO, path: Path, dimensions: int) -> tuple[int, ...]:
    """Read the header: two zeros, the type, the number of dimensions, and each dimension."""
    head = _read(stream, 4 + 4 * dimensions, path)
    if head[:4] != bytes((0, 0, UINT8, dimensions)):
        raise DataError(f"{path} is no idx file of bytes in {dimensions} dimensions.")
    shape = struct.unpack(f">{dimensions}I", head[4:])
    if dimensions == 3 and not 0 < shape[1] * shape[2] <= MAX_PIXELS:
        raise DataError(f"{path} claims images of {shape[1]} x {shape[2]} pixels.")
    return shape


def _read(stream: BinaryIO, size: int, path: Path) -> bytes:
    try:
        data = stream.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}.") from error
    if len(data) < size:
        raise DataError(f"{path} is cut short; get it again.")
    return data


def _at_end(stream: BinaryIO, path: Path) -> None:
    try:
        more = stream.read(1)  # for gzip, this is what checks the sum of everything before it
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}.") from error
    if more:
        raise DataError(f"{path} is longer than its header says; get it again.")
