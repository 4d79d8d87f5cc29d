"""What every source offers."""

from __future__ import annotations

import glob
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from curate.data.decoding import MAX_BYTES
from curate.data.sample import Entry
from curate.errors import DataError, UsageError

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "pnm"),
    )
)
"""What the name of an image ends in, in lower case; its content decides what it is."""
SPLITS = ("train", "training", "validation", "valid", "val", "dev", "test", "testing", "eval")
"""Names by which a folder or a file says that it is a split."""

READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""How images are opened: without waiting for whoever may write to a pipe. ``Path.read_bytes`` makes
twice as many system calls, at each of which the threads that decode take the interpreter over."""

Select = Callable[[str], bool]
"""Whether the sample of this path is wanted."""


class Source(Protocol):
    """One split of a collection of images. Nothing in it depends on the order of files on disk.

    Attributes:
        name: What the source is called in messages.
        splits: Every split the collection has, this one included.
        classes: Name of each class by its label, over all splits; empty where labels have none.
        rejected: (path, reason) of every sample that could not be read; grows with ``entries``.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def splits(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def rejected(self) -> list[tuple[str, str]]: ...  # noqa: D102

    def paths(self) -> Iterable[str]:
        """Return the unique path of every sample, without reading its image."""
        ...

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the samples, or those whose path is selected, a few in memory at a time."""
        ...


def need_split(split: str, have: Sequence[str], where: str) -> None:
    """Check that ``split`` is among the splits a source has.

    Raises:
        UsageError: If it is not; the message names those there are.
    """
    if split not in have:
        known = ", ".join(have) or "none"
        raise UsageError(f"{where} has no split {split!r}; it has: {known}.")


def plain(extras: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata as JSON can hold it: no values that are None, numbers that are finite."""
    text = json.dumps({k: v for k, v in extras.items() if v is not None}, default=str)
    found: dict[str, Any] = json.loads(text, parse_constant=lambda name: None)
    return found


def storable(name: str) -> str:
    """Return a file name as text that can be stored; bytes that are no UTF-8 are spelled out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def matching(pattern: str) -> list[Path]:
    """Return the files that a glob pattern, or their own path, names, sorted."""
    if Path(pattern).is_file():
        return [Path(pattern)]
    found = glob.glob(pattern, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
    return sorted(path for path in map(Path, found) if path.is_file())


def read_file(path: str | Path) -> bytes:
    """Read an image file.

    Raises:
        DataError: If it cannot be read; the message is the reason alone.
    """
    try:
        handle = os.open(path, READING)
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise DataError("not a plain file")
            if found.st_size > MAX_BYTES:
                raise DataError(f"{found.st_size:,} bytes are more than the {MAX_BYTES:,} allowed")
            data = os.read(handle, found.st_size)
            while len(data) < found.st_size and (more := os.read(handle, found.st_size)):
                data += more
            return data
        finally:
            os.close(handle)
    except OSError as error:
        if not Path(path).is_file():
            what = "a link to nowhere" if Path(path).is_symlink() else "not a plain file"
            raise DataError(what) from error
        raise DataError(f"cannot be read: {error.strerror}") from error
