"""folder: image files in class sub-folders or flat, with or without a metadata file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from curate.data import labels, splits
from curate.data.sample import Entry
from curate.data.sources.base import (
    EXTENSIONS,
    LEADS_OUT,
    MORE_EXTENSIONS,
    Choice,
    Inside,
    Select,
    head_of,
    holds_shards,
    read_file,
    refusal_by_name,
    storable,
    why_left_out,
)
from curate.data.sources.metadata import NAMES, Metadata, read_metadata
from curate.data.splits import Splits
from curate.errors import DataError, UsageError
from curate.runtime.files import is_folder
from curate.runtime.options import option

IMAGE, REJECTED, LEFT = "image", "rejected", "left"
DEEPEST = 8
"""Folders that hold one folder each, which are gone through to find splits."""
DEPTH = 200
"""Folders within folders that are gone into."""
NO_SPLIT = "in no split"


class Item(NamedTuple):  # one a file: a dataclass takes four times as long to make
    """A file or folder below the root: an image, one that is rejected, or nothing of ours."""

    kind: str
    path: str
    file: str
    reason: str = ""


@dataclass(frozen=True)
class Tree:
    """What is known of a folder once it was looked through.

    Attributes:
        root: The folder.
        inside: What lies within it, links followed.
        holding: Folders that hold images, by path within the root, sorted.
        metadata: What its metadata files say.
    """

    root: Path
    inside: Inside
    holding: tuple[str, ...]
    metadata: Metadata


@dataclass(frozen=True)
class Folder:
    """One split of a folder of images.

    Attributes:
        tree: The folder.
        within: Sub-folder of the split, or the empty string.
        pattern: What paths must fit, or None: a pattern, or the word that names begin with.
        strays: What lies beside the splits, as far as this split is to tell of it.
        by_metadata: Whether labels come from the metadata instead of the sub-folders.
    """

    name: str
    split: str
    tree: Tree
    within: str
    pattern: str | None
    splits: tuple[str, ...]
    homes: tuple[str, ...]
    strays: tuple[str, ...]
    classes: tuple[str, ...]
    by_metadata: bool
    chosen: Mapping[str, str]
    rejected: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def paths(self) -> Iterator[str]:
        """Return the paths of the images within the folder, sorted part by part."""
        met: set[str] = set()
        for item in self._items():
            if item.kind != LEFT:
                met.add(item.path) if item.path in self.tree.metadata.rows else None
                yield item.path
        yield from (path for path, _ in self._unmet(met))

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the images, their bytes untouched."""
        numbers = {name: label for label, name in enumerate(self.classes)}
        rows, met = self.tree.metadata.rows, set[str]()
        for item in self._items():
            if item.kind == LEFT:
                self.left_out.append((item.path, item.reason))
                continue
            if item.path in rows:
                met.add(item.path)
            if select is not None and not select(item.path):
                continue
            try:
                if item.kind == REJECTED:
                    raise DataError(item.reason)
                data = read_file(item.file)
            except DataError as error:
                self.rejected.append((item.path, str(error)))
                continue
            listed = rows.get(item.path)
            label: int | str | None = None
            if not self.by_metadata:
                label = _class(item.path, self.within) if self.classes else None
            elif listed:
                label = listed.label
            number = numbers[label] if isinstance(label, str) else label
            yield Entry(item.path, data, number, listed.extras if listed else {})
        self.rejected.extend(
            (path, why) for path, why in self._unmet(met) if select is None or select(path)
        )
        self.left_out.extend(self._beside())

    def _items(self) -> Iterator[Item]:
        rows = self.tree.metadata.rows
        for item in _walk(self.tree.root / self.within, self.within, rows, self.tree.inside):
            if self.pattern is None or _fits(self.pattern, item.path):
                yield item

    def _unmet(self, met: set[str]) -> Iterator[tuple[str, str]]:
        """Yield the rows of the metadata that belong to this split and to none of its images."""
        inside = f"{self.within}/" if self.within else ""
        first = self.split == self.splits[0]
        for path in sorted(self.tree.metadata.rows):
            if path in met or (self.pattern and not _fits(self.pattern, path)):
                continue
            if path.startswith(inside):
                yield path, _why_unmet(self.tree.root / path, path)
            elif first and not any(path.startswith(f"{home}/") for home in self.homes):
                yield path, f"listed, but {NO_SPLIT}"

    def _beside(self) -> Iterator[tuple[str, str]]:
        """Yield what lies beside the splits."""
        rows = self.tree.metadata.rows
        for stray in self.strays:
            place = self.tree.root / stray
            if not stray.endswith("/"):
                yield stray, NO_SPLIT
                continue
            for item in _walk(place, stray.rstrip("/"), rows, self.tree.inside):
                if item.path not in rows:
                    yield item.path, item.reason if item.kind == LEFT else NO_SPLIT


def open_folder(where: str, choice: Choice, data: Path | None) -> Folder:
    """Open a folder of images.

    Sub-folders of the folder (or of its split sub-folders) are classes, whatever lies below them,
    unless a metadata file has a ``label`` column. Class names are numbered in order over all
    splits. Hidden files are no images, and neither are files whose names do not say so, unless the
    metadata lists them.
    """
    if not (data or where):
        raise UsageError(
            f"source folder needs a folder: write folder:DIR, or give {option(data='DIR')}."
        )
    root = data or Path(where)
    if not root.is_dir():
        raise UsageError(f"source folder: there is no folder {root}.")
    inside = Inside(root, outside=choice.outside)
    folders, described = _survey(root, inside)
    everything = choice.split == splits.EVERYTHING
    laid = Splits({}, "all of it, as was said" if everything else "")
    if not everything and not splits.is_pattern(choice.split):
        laid = _layout(root, sorted(folders))
    homes = tuple(home for places in laid.of.values() for home in places)
    bare = [_below(folder, homes) for folder in folders]
    metadata = read_metadata(root, sorted(described), choice, classes=any(bare))
    holding = {*folders, *_holding_rows(root, set(folders), metadata)}
    tree = Tree(root, inside, tuple(sorted(holding)), metadata)
    if not laid.of and not everything and not splits.is_pattern(choice.split):
        laid = _by_names(tree) or laid
    return _opened(tree, choice, laid, homes)


def _holding_rows(root: Path, known: set[str], metadata: Metadata) -> Iterator[str]:
    """Yield the folders of files that are images by the metadata alone."""
    for path in metadata.rows:
        folder = path.rpartition("/")[0]
        if folder not in known and (root / path).is_file():
            yield folder


def _opened(tree: Tree, choice: Choice, laid: Splits, homes: tuple[str, ...]) -> Folder:
    """Return the split that is asked for, with the classes of all."""
    root, metadata = tree.root, tree.metadata
    within, pattern = "", None
    names: tuple[str, ...]
    if splits.is_pattern(choice.split):
        split, names, pattern = choice.split, (choice.split,), choice.split
        prefix = splits.prefix_of(pattern)
        within = prefix if (root / prefix).is_dir() else ""
    elif choice.split == splits.EVERYTHING and not laid.of:
        split, names = splits.EVERYTHING, (splits.EVERYTHING,)
    else:
        names = laid.names
        split = splits.find(choice.split, names, str(root))
        within = (laid.of.get(split) or ("",))[0]
        if laid.of and not homes:  # by the word that names begin with
            within, pattern = "", split
    by_metadata = metadata.label is not None and any(
        row.label is not None for row in metadata.rows.values()
    )
    if by_metadata:
        classes = labels.classes_of(
            (row.label for row in metadata.rows.values()), f"the metadata of {root}"
        )
    else:
        places = homes or (within,)
        named = {_class(f"{folder}/x", home) for folder in tree.holding if folder
                 for home in places if not home or f"{folder}/".startswith(f"{home}/")}  # fmt: skip
        classes = tuple(sorted(name for name in named if name))
        if choice.label is not None and choice.label.lower() == labels.NONE:
            classes = ()
    chosen = _chosen(tree, laid, split, names, by_metadata=by_metadata, classes=classes)
    return Folder(
        name=f"folder:{root}",
        split=split,
        tree=tree,
        within=within,
        pattern=pattern,
        splits=names,
        homes=homes,
        strays=laid.strays if split == names[0] else (),
        classes=classes,
        by_metadata=by_metadata,
        chosen=chosen,
    )


def _chosen(
    tree: Tree,
    laid: Splits,
    split: str,
    names: tuple[str, ...],
    *,
    by_metadata: bool,
    classes: tuple[str, ...],
) -> dict[str, str]:
    """Return what was chosen, in words."""
    out = {}
    others = [name for name in names if name != split]
    if laid.why:
        out["split"] = f"{split}, {laid.why}" + (f"; also: {', '.join(others)}" if others else "")
    metadata = tree.metadata
    if laid.strays:
        out["beside"] = f"{splits.shown(laid.strays)}, in no split"
    if by_metadata:
        out["labels"] = f"column {metadata.label} of {splits.shown(metadata.files)}"
    elif classes:
        out["labels"] = "by the names of folders"
    if metadata.ignored and not by_metadata:
        how = out.get("labels")
        out["labels"] = (
            f"{how}; not {splits.shown(metadata.ignored)} of {splits.shown(metadata.files)} "
            f"(data.label={metadata.ignored[0]})"
            if how
            else labels.none_of(metadata.ignored)
        )
    return out


# Splits and classes


def _layout(root: Path, holding: list[str]) -> Splits:
    """Return the split folders, below folders that hold one folder each, or none."""
    above = ""
    for _ in range(DEEPEST):
        tails = [_below(folder, (above,)) if above else folder for folder in holding]
        loose = [] if "" not in tails else _loose(root / above)
        names = list(dict.fromkeys(tail.partition("/")[0] for tail in tails if tail))
        nested = {tail.partition("/")[0] for tail in tails if "/" in tail}
        where = str(root / above)
        laid = splits.of_folders(names, where, loose=loose, nested=nested)
        if laid:
            inside = f"{above}/" if above else ""
            by_split = {
                split: tuple(f"{inside}{place}" for place in places)
                for split, places in laid.of.items()
            }
            in_order = {s: by_split[s] for s in sorted(by_split, key=splits.training_first)}
            return Splits(in_order, laid.why, tuple(f"{inside}{stray}" for stray in laid.strays))
        if len(names) != 1 or loose:
            _check_below(tails, where)
            return Splits({}, "")
        above = f"{above}/{names[0]}" if above else names[0]
    return Splits({}, "")


def _check_below(tails: list[str], where: str) -> None:
    """Refuse folders of classes that hold split folders: cat/train and cat/test."""
    below: dict[str, list[str]] = {}
    for tail in tails:
        parts = tail.split("/")
        if len(parts) > 1 and parts[1] not in below.setdefault(parts[0], []):
            below[parts[0]].append(parts[1])
    for name, inside in below.items():
        split_below = splits.of_folders(inside, f"{where}/{name}", loose=(), nested=())
        if split_below and len(split_below.of) > 1:
            first = next(iter(split_below.of.values()))[0]
            raise splits.ambiguous(
                where, f"{splits.shown(f'{name}/{n}' for n in inside)} can be splits",
                take=f"*/{first}/*",
            )  # fmt: skip


def _loose(folder: Path) -> list[str]:
    names = (storable(item.name) for item in _sorted(folder) if _is_file(item))
    return [name for name in names if not name.startswith(".") and _is_image(name)]


def _by_names(tree: Tree) -> Splits | None:
    """Return the splits that the names of all images begin with, or None."""
    paths = (i.path for i in _walk(tree.root, "", tree.metadata.rows, tree.inside)
             if i.kind == IMAGE)  # fmt: skip
    names = splits.of_names(paths)
    by_split = dict.fromkeys(sorted(names, key=splits.training_first), ("",))
    return Splits(by_split, "by the names of files") if names else None


def _below(path: str, homes: tuple[str, ...]) -> str:
    """Return a path within the first of some folders that it lies in, else as it is."""
    for home in homes:
        if home and (path == home or path.startswith(f"{home}/")):
            return path[len(home) + 1 :]
    return path


def _class(path: str, within: str) -> str | None:
    """Return the name of the class that a path within the root lies in, or None."""
    first, slash, _ = path.removeprefix(f"{within}/" if within else "").partition("/")
    return first if slash else None


def _fits(pattern: str, path: str) -> bool:
    if splits.is_pattern(pattern):
        return splits.matches(pattern, path)
    return splits.first_word(path) == pattern


def _why_unmet(file: Path, path: str) -> str:
    """Return why there is no image for a row of the metadata."""
    if any(part.startswith(".") for part in path.split("/")):
        return "listed in the metadata file, but hidden"
    if is_folder(file):
        return "listed in the metadata file, but a folder"
    if os.path.lexists(file):
        return "listed in the metadata file, but not read"
    return "listed in the metadata file, but missing"


# Walking


def _survey(root: Path, inside: Inside) -> tuple[list[str], list[str]]:
    """Return the folders that hold images, and those that hold metadata files."""
    holding: list[str] = []
    described: list[str] = []

    def look(folder: Path | str, path: str, above: tuple[tuple[int, int], ...]) -> None:
        facts = os.stat(folder)  # noqa: PTH116
        me = (facts.st_dev, facts.st_ino)
        if me in above:
            return
        _check_depth(folder, above)
        images = False
        below: list[tuple[str, str]] = []
        items = _scanned(folder)
        if above and holds_shards({item.name for item in items}):
            return
        for item in items:
            if item.name.startswith("."):
                continue
            if _is_folder(item):
                below.append((item.path, storable(item.name)))
            elif item.name in NAMES:
                described.append(path)
            else:
                images = images or _is_image(item.name)
        if images:
            holding.append(path)
        for place, name in sorted(below):
            if os.path.islink(place) and not inside.holds(place):  # noqa: PTH114
                # A whole class may lie there: it is no single file, to be rejected and counted.
                raise DataError(
                    f"{place} is a link to a folder outside of {root}; to follow it, say "
                    f"{option(outside=True)} (elsewhere "
                    f"{option(overrides={'data.outside': True})}), else remove it."
                )
            look(place, f"{path}/{name}" if path else name, (*above, me))

    look(root, "", ())
    return holding, list(dict.fromkeys(described))


def _walk(
    folder: Path,
    path: str,
    listed: Mapping[str, object],
    inside: Inside,
    above: tuple[tuple[int, int], ...] = (),
) -> Iterator[Item]:
    """Yield everything below a folder, sorted; links are followed, loops are not.

    Args:
        folder: Where to look.
        path: Its path within the root, as it is stored.
        listed: Files that are images whatever they are called.
        inside: What links may lead to.
        above: Device and inode of the folders that lead here.
    """
    facts = folder.stat()
    me = (facts.st_dev, facts.st_ino)
    if me in above:
        yield Item(LEFT, f"{path}/", str(folder), "a link to a folder that it lies in")
        return
    _check_depth(folder, above)
    items = _sorted(folder)
    if above and holds_shards({item.name for item in items}):
        yield Item(LEFT, f"{path}/", str(folder), "shards of curate")
        return
    for item in items:
        name = storable(item.name)
        here = f"{path}/{name}" if path else name
        if item.is_symlink() and not inside.holds(item.path) and os.path.exists(item.path):  # noqa: PTH110
            yield Item(REJECTED, here, item.path, f"a link that {LEADS_OUT}")
        elif _is_folder(item):
            if name.startswith("."):
                yield Item(LEFT, f"{here}/", item.path, "a hidden folder")
            else:
                yield from _walk(Path(item.path), here, listed, inside, (*above, me))
        elif name.startswith("."):
            if here not in listed:
                yield Item(LEFT, here, item.path, "hidden")
        elif (suffix := _suffix(name)) in EXTENSIONS:
            yield Item(IMAGE, here, item.path)
        elif suffix in MORE_EXTENSIONS or here in listed:
            reason = refusal_by_name(suffix) if suffix in MORE_EXTENSIONS else None
            yield Item(REJECTED if reason else IMAGE, here, item.path, reason or "")
        elif name not in NAMES:
            yield Item(LEFT, here, item.path, why_left_out(suffix, head_of(item.path)))


def _check_depth(folder: Path | str, above: tuple[object, ...]) -> None:
    if len(above) > DEPTH:
        raise DataError(f"folders lie more than {DEPTH} deep in each other, at {folder}.")


def _scanned(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return list(items)
    except OSError as error:
        raise DataError(f"cannot read folder {folder}: {error.strerror}.") from error


def _sorted(folder: Path) -> list[os.DirEntry[str]]:
    return sorted(_scanned(folder), key=lambda item: item.name)


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link to itself
        return False


def _is_file(item: os.DirEntry[str]) -> bool:
    return not _is_folder(item)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (a tenth of the time)


def _is_image(name: str) -> bool:
    suffix = _suffix(name)
    return suffix in EXTENSIONS or suffix in MORE_EXTENSIONS
