"""What every source offers."""

from __future__ import annotations

import glob
import hashlib
import heapq
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from curate.data import remote
from curate.data.decoding import MAX_BYTES, decodes, install, looks_like
from curate.data.labels import storable_text
from curate.data.sample import Entry
from curate.errors import DataError, UsageError
from curate.runtime.options import option
from curate.runtime.text import short

EXTENSIONS = frozenset(
    f".{name}"
    for name in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif", "bmp", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "pnm"),
    )
)
"""What the name of an image ends in, in lower case; its content decides what it is."""
MORE_EXTENSIONS = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIF"),
    ".avif": "AVIF",
    ".jxl": "JXL",
}
"""Endings of images that are decoded where what decodes them is installed."""

READING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
"""How images are opened: without waiting for whoever may write to a pipe. ``Path.read_bytes`` makes
twice as many system calls, at each of which the threads that decode take the interpreter over."""

Select = Callable[[str], bool]
"""Whether the sample of this path is wanted."""


@dataclass(frozen=True)
class Choice:
    """What of a collection is wanted.

    Attributes:
        split: A split by its name, ``all``, or a pattern of paths (``splits.is_pattern``).
        label: Column of labels, or ``none``; None for the one that is called so.
        image: Column of images, for tars the ending of their members; None as for labels.
        outside: Whether what links and rows name may lie outside of the collection's folder.
    """

    split: str = "train"
    label: str | None = None
    image: str | None = None
    outside: bool = False


class Source(Protocol):
    """One split of a collection of images. Nothing in it depends on the order of files on disk.

    Attributes:
        name: What the source is called in messages.
        split: Which split it is.
        splits: Every split the collection has, this one included.
        classes: Name of each class by its label, over all splits; empty where labels have none.
        rejected: (path, reason) of every sample that could not be read; grows with ``entries``.
        left_out: (path, reason) of everything that lies there and is no sample; grows with
            ``entries``, and whoever reads them may empty it.
        chosen: What was chosen, and why, for people: how splits were told, columns, and so on.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def split(self) -> str: ...  # noqa: D102
    @property
    def splits(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def classes(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def rejected(self) -> list[tuple[str, str]]: ...  # noqa: D102
    @property
    def left_out(self) -> list[tuple[str, str]]: ...  # noqa: D102
    @property
    def chosen(self) -> Mapping[str, str]: ...  # noqa: D102

    def paths(self) -> Iterable[str]:
        """Return the path of every sample, rejected ones included, without reading its image."""
        ...

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the samples, or those whose path is selected, a few in memory at a time."""
        ...


class Whole:
    """What a source says that chooses nothing and leaves nothing out."""

    @property
    def left_out(self) -> list[tuple[str, str]]:
        """Nothing is left out."""
        return []

    @property
    def chosen(self) -> Mapping[str, str]:
        """Nothing is chosen."""
        return {}


def no_columns(kind: str, choice: Choice) -> None:
    """Check that no columns are named for a source that has none.

    Raises:
        UsageError: If one is.
    """
    if choice.label is not None:
        named = option(label=choice.label)
    elif choice.image is not None:
        named = option(image=choice.image)
    else:
        return
    raise UsageError(f"source {kind} has no columns; leave out {named}.")


def chosen_by_hash(paths: Iterable[str], most: int) -> tuple[list[str], int]:
    """Return at most ``most`` of the paths, and how many there are in all.

    A hash chooses them, so that it does not matter where they lie on disk. Memory is bounded by
    ``most``.
    """
    count = 0

    def counted() -> Iterator[str]:
        nonlocal count
        for path in paths:
            count += 1
            yield path

    def order(path: str) -> tuple[bytes, str]:
        return hashlib.sha256(path.encode()).digest(), path

    return heapq.nsmallest(most, counted(), key=order), count


def plain(extras: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata as JSON can hold it: no values that are None, numbers that are finite."""
    try:
        text = json.dumps({str(k): v for k, v in extras.items() if v is not None}, default=_as_text)
    except (ValueError, TypeError, RecursionError):  # too deep, or keys of another kind
        return {str(k): short(v) for k, v in extras.items() if v is not None}
    content: dict[str, Any] = json.loads(text, parse_constant=lambda name: None)
    return _whole_text(content) if "\\ud" in text else content


def _as_text(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # a number of too many digits, or whatever else is outside
        return short(value)


def _whole_text(value: Any) -> Any:
    """Return JSON without halves of characters, which no table or file of text can hold."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, list):
        return [_whole_text(item) for item in value]
    if isinstance(value, dict):
        return {storable_text(key): _whole_text(item) for key, item in value.items()}
    return value


def storable(name: str) -> str:
    """Return a file name as text that can be stored; bytes that are no UTF-8 are spelled out."""
    if name.isascii():
        return name
    try:
        return os.fsencode(name).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a character, which no file is called by
        return storable_text(name)


def matching(pattern: str) -> list[Path]:
    """Return the files that a glob pattern, or their own path, names, sorted."""
    if remote.is_remote(Path(pattern)):
        return remote.matching(pattern)
    if Path(pattern).is_file():
        return [Path(pattern)]
    names = glob.glob(pattern, recursive=True)  # noqa: PTH207 (Path.glob takes no absolute pattern)
    return sorted(path for path in map(Path, names) if path.is_file())


def read_file(path: str | Path) -> bytes:
    """Read an image file.

    Raises:
        DataError: If it cannot be read; the message is the reason alone.
    """
    try:
        handle = os.open(path, READING)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise DataError("not a plain file")
            if status.st_size > MAX_BYTES:
                raise DataError(f"{status.st_size:,} bytes are more than the {MAX_BYTES:,} allowed")
            data = os.read(handle, status.st_size)
            while len(data) < status.st_size and (more := os.read(handle, status.st_size)):
                data += more
            return data
        finally:
            os.close(handle)
    except OSError as error:
        if not Path(path).is_file():
            problem = "a link to nowhere" if Path(path).is_symlink() else "not a plain file"
            raise DataError(problem) from error
        raise DataError(f"cannot be read: {error.strerror}") from error


HEAD = 32
"""Bytes of a file that tell what it is."""


def refusal_by_name(suffix: str) -> str | None:
    """Return why an image with this ending cannot be decoded here, or None where it can.

    Args:
        suffix: In lower case, with its dot; one of ``MORE_EXTENSIONS``.
    """
    kind = MORE_EXTENSIONS[suffix]
    return None if decodes(kind) else f"{kind}: {install(kind)}"


def why_left_out(suffix: str, head: bytes) -> str:
    """Return why a file is no sample, by its ending and first bytes."""
    ending = f"ending {suffix}" if suffix else "no ending"
    kind = looks_like(head)
    return f"an image ({kind}) with another ending, {ending}" if kind else f"no image: {ending}"


def head_of(path: str) -> bytes:
    """Return the first bytes of a file, or none where it cannot be read."""
    try:
        handle = os.open(path, READING)
        try:
            plain_file = stat.S_ISREG(os.fstat(handle).st_mode)
            return os.read(handle, HEAD) if plain_file else b""
        finally:
            os.close(handle)
    except OSError:
        return b""


OF_SHARDS = ({".unfinished"}, {"index.parquet", "dataset.json"})
"""Names of which a folder of our own shards has one set: no part of a source that it lies in."""


def holds_shards(names: set[str]) -> bool:
    """Return whether a folder is one of our own shards, by the names in it."""
    return any(required <= names for required in OF_SHARDS)


def files_below(root: Path) -> Iterator[str]:
    """Yield the paths, within a folder, of all files in it, sorted; shards of ours as a folder."""
    if remote.is_remote(root):
        yield from _below_afar(remote.names(root))
        return
    for place, folders, names in os.walk(root):
        folders.sort()
        inside = os.path.relpath(place, root)
        if inside != "." and holds_shards({*names}):
            folders.clear()
            yield f"{inside}/"
            continue
        yield from (os.path.normpath(f"{inside}/{name}") for name in sorted(names))


def _below_afar(names: Sequence[str]) -> Iterator[str]:
    inside: dict[str, set[str]] = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        inside.setdefault(folder, set()).add(file)
    shards = {folder for folder, files in inside.items() if folder and holds_shards(files)}
    seen = set()
    for name in names:
        parts = name.split("/")
        above = ("/".join(parts[:n]) for n in range(1, len(parts)))
        whole = next((folder for folder in above if folder in shards), None)
        if whole is None:
            yield name
        elif whole not in seen:
            seen.add(whole)
            yield f"{whole}/"


def is_place(path: Path) -> bool:
    """Return whether a path is a folder, here or in the store of its address."""
    return remote.is_folder(path) if remote.is_remote(path) else path.is_dir()


class Inside:
    """Whether places lie within a folder, links followed."""

    def __init__(self, root: str | Path, *more: str | Path, outside: bool = False) -> None:
        """Take one or more folders; ``outside`` lets everything pass."""
        self.outside = outside
        self._roots = [os.path.join(os.path.realpath(r), "") for r in (root, *more)]  # noqa: PTH118

    def holds(self, path: str | Path) -> bool:
        """Return whether a path leads to something within."""
        if self.outside:
            return True
        place = os.path.realpath(path)
        return any(place.startswith(r) or place == r.rstrip(os.sep) for r in self._roots)


LEADS_OUT = "leads out of the folder (data.outside=true follows it)"
"""What is said of a link, or of a name in a row; it is stored, and so it names the setting."""
