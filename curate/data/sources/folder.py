"""folder: image files in class sub-folders or flat, with or without a metadata file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from curate.data.sample import Entry
from curate.data.sources.base import EXTENSIONS, SPLITS, Select, need_split, read_file, storable
from curate.data.sources.metadata import Listed, read_metadata
from curate.errors import DataError, UsageError


@dataclass(frozen=True)
class Folder:
    """One split of a folder of images.

    Attributes:
        root: The folder.
        within: Sub-folder of the split, or the empty string.
        listed: Content of the metadata files by path within ``root``.
        by_metadata: Whether labels come from the metadata instead of the sub-folders.
    """

    name: str
    root: Path
    within: str
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    listed: Mapping[str, Listed]
    by_metadata: bool
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def paths(self) -> Iterator[str]:
        """Return the paths of the images within the folder, sorted part by part."""
        yield from (path for path, _ in _images(self.root / self.within, self.within, self.listed))
        yield from self._missing()

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the images, their bytes untouched."""
        numbers = {name: label for label, name in enumerate(self.classes)}
        for path, file in _images(self.root / self.within, self.within, self.listed):
            if select is not None and not select(path):
                continue
            try:
                data = read_file(file)
            except DataError as error:
                self.rejected.append((path, str(error)))
                continue
            listed = self.listed.get(path)
            label: int | str | None = None
            if not self.by_metadata:
                label = _class(path, self.within)
            elif listed:
                label = listed.label
            number = numbers[label] if isinstance(label, str) else label
            yield Entry(path, data, number, listed.extras if listed else {})
        self.rejected.extend(
            (path, "listed in the metadata file, but missing")
            for path in self._missing()
            if select is None or select(path)
        )

    def _missing(self) -> Iterator[str]:
        inside = f"{self.within}/" if self.within else ""
        for path in sorted(self.listed):
            if path.startswith(inside) and not os.path.lexists(self.root / path):
                yield path


def open_folder(where: str, split: str, data: Path | None) -> Folder:
    """Open a folder of images.

    Sub-folders of the folder (or of its split sub-folders) are classes, whatever lies below them,
    unless a metadata file has a ``label`` column. Class names are numbered in order over all
    splits. Hidden files are no images, and neither are files whose names do not say so, unless the
    metadata lists them.
    """
    if not (data or where):
        raise UsageError("source folder needs a folder: write folder:DIR, or give --data DIR.")
    root = data or Path(where)
    if not root.is_dir():
        raise UsageError(f"source folder: there is no folder {root}.")
    splits = _splits(root)
    need_split(split, splits or ("train",), str(root))
    listed = read_metadata(root, splits)
    labels = {row.label for row in listed.values()} - {None}
    names = {label for label in labels if isinstance(label, str)}
    if names and len(names) < len(labels):
        raise DataError(f"the metadata of {root} mixes labels that are numbers and names.")
    if not labels:
        names = {name for within in splits or ("",) for name in _classes(root, within, listed)}
    return Folder(
        name=f"folder:{root}",
        root=root,
        within=split if splits else "",
        splits=splits or ("train",),
        classes=tuple(sorted(names)),
        listed=listed,
        by_metadata=bool(labels),
    )


def _splits(root: Path) -> tuple[str, ...]:
    """Return the split sub-folders, or none where images lie outside of such."""
    found = []
    for item in _sorted(root):
        if not _is_folder(item):
            if _is_image(item.name):
                return ()
        elif any(True for _ in _images(Path(item.path), item.name, {})):
            if item.name.lower() not in SPLITS:
                return ()
            found.append(item.name)
    return tuple(found)


def _classes(root: Path, within: str, listed: Mapping[str, Listed]) -> Iterator[str]:
    """Yield the names of the sub-folders that hold images."""
    for item in _sorted(root / within):
        name = storable(item.name)
        inside = f"{within}/{name}" if within else name
        if _is_folder(item) and any(True for _ in _images(Path(item.path), inside, listed)):
            yield name


def _class(path: str, within: str) -> str | None:
    """Return the name of the class that a path within the root lies in, or None."""
    first, slash, _ = path.removeprefix(f"{within}/" if within else "").partition("/")
    return first if slash else None


def _images(
    folder: Path,
    path: str,
    listed: Mapping[str, Listed],
    above: tuple[tuple[int, int], ...] = (),
) -> Iterator[tuple[str, str]]:
    """Yield path and file of every image, sorted; links are followed, loops are not.

    Args:
        folder: Where to look.
        path: Its path within the root, as it is stored.
        listed: Files that are images whatever they are called.
        above: Device and inode of the folders that lead here.
    """
    facts = folder.stat()
    me = (facts.st_dev, facts.st_ino)
    if me in above:
        return
    for item in _sorted(folder):
        name = storable(item.name)
        inside = f"{path}/{name}" if path else name
        if _is_folder(item):
            yield from _images(Path(item.path), inside, listed, (*above, me))
        elif _is_image(item.name) or inside in listed:
            yield inside, item.path


def _sorted(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return sorted((i for i in items if not i.name.startswith(".")), key=lambda i: i.name)
    except OSError as error:
        raise DataError(f"cannot read folder {folder}: {error.strerror}.") from error


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link to itself
        return False


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122 (a tenth of the time)
