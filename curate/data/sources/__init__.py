"""Sources: where images come from, one kind a file; each yields ``Entry`` by ``Entry``."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from curate.data import addresses, cards, remote, splits
from curate.data.config import DataConfig
from curate.data.sample import Entry
from curate.data.sources import digits, folder, huggingface, idx, torchvision, webdataset
from curate.data.sources.base import EXTENSIONS, MORE_EXTENSIONS, Choice, Select, Source
from curate.data.sources.metadata import NAMES
from curate.errors import DataError, UsageError, unknown

__all__ = ["SOURCES", "Choice", "Source", "open_data", "open_source", "open_tests"]

SOURCES: dict[str, Callable[[str, Choice, Path | None], Source]] = {
    "digits": digits.open_digits,
    "folder": folder.open_folder,
    "idx": idx.open_idx,
    "torchvision": torchvision.open_torchvision,
    "hf": huggingface.open_huggingface,
    "wds": webdataset.open_webdataset,
}
"""Sources by name: (what follows the colon, what is wanted, ``--data``) -> the opened source."""
OWN = frozenset(("index.parquet", "dataset.json"))
"""Files of shards of ours."""
LOOKED_AT = 10_000
"""Files of a folder that are looked at to see what it is."""
MOSTLY = 0.9
"""Share of images that makes a folder one of images, whatever else is in it."""


def open_source(
    name: str,
    *,
    split: str = "train",
    data: Path | None = None,
    label: str | None = None,
    image: str | None = None,
    outside: bool = False,
) -> Source:
    """Open a SOURCE.

    Args:
        name: ``KIND``, ``KIND:WHERE`` with a kind of ``SOURCES``, or a path: a folder of images, a
            data set saved by datasets, parquet files or tars. WHERE and the path may be addresses
            such as ``s3://bucket/folder`` (``addresses``).
        split: Which split of it: a name, a pattern of paths, or ``all``.
        data: Where it lies on this machine, or the place of an address; replaces WHERE.
        label: Column of labels, ``none`` for no labels, or None for the one that is called so.
        image: Column of images, or None for the one that is called so.
        outside: Whether what links and rows name may lie outside of the source's folder.

    Raises:
        UsageError: For an unknown kind (the nearest is named), a place that is missing, or what can
            be read in two ways.
        DataError: If there is no such split, or what is there cannot be read.
    """
    choice = Choice(split, label, image, outside)
    kind, _, where = name.partition(":")
    if addresses.is_address(name):
        kind, where = ("", "") if data else ("", name)
    afar = data if data and remote.is_remote(data) else None
    if data is None and addresses.is_address(where):
        afar = Path(addresses.places(where))
    # Of a path the kind is told by what lies there.
    known = kind if kind in SOURCES else "" if not kind or "/" in kind else None
    if afar is not None and known is not None:
        return _from_afar(known, afar, choice)
    if not kind:
        name = str(data) if data else name
    elif kind in SOURCES:
        home = str(Path(where).expanduser()) if where.startswith("~") else where
        source = SOURCES[kind](home, choice, data)
        if kind == "folder":
            _check_images(source, data or Path(home))
        return source
    place = Path(name).expanduser()
    if name and place.exists():
        kind = kind_of(place)
        source = SOURCES[kind](str(place), choice, data)
        if kind == "folder":
            _check_images(source, data or place)
        return source
    if "/" in kind or kind.startswith("."):
        raise UsageError(f"source {name!r}: there is no such folder.")
    raise unknown("source", kind, SOURCES)


def _from_afar(kind: str, place: Path, choice: Choice) -> Source:
    """Open what lies at an address, by its path in the cache."""
    remote.forget()
    url = addresses.in_words(str(place))
    alone = remote.is_pattern(str(place)) or any(sign in url for sign in ("{", "::"))
    kind = kind or (_kind_by_name(url) if alone or remote.is_file(place) else _kind_afar(place))
    if kind in ("digits", "torchvision"):
        raise UsageError(f"source {kind} is not read from an address; get {url} first.")
    inside = [] if alone or remote.is_file(place) else remote.names(place)
    # Shards of ours and saved data sets are folders to what reads them, and so are images; tars
    # and parquet files are fetched as they are read.
    whole = kind not in ("wds", "hf") or {*inside} >= OWN or {*huggingface.SAVED} & {*inside}
    if whole:
        remote.mirror(place)
    elif cards.CARD in inside:
        remote.bring(place / cards.CARD)
    source = SOURCES[kind](str(place), choice, place if kind in ("folder", "idx") else None)
    if kind == "folder":
        _check_images(source, place)
    return cast(Source, replace(cast(Any, source), name=f"{kind}:{url}"))


def _kind_by_name(name: str) -> str:
    """Return the kind of source that files are by what their name ends in."""
    if name.endswith(webdataset.SUFFIXES):
        return "wds"
    if name.endswith(huggingface.PARQUET):
        return "hf"
    raise UsageError(f"source {name!r} is one file; give its folder.")


def _kind_afar(place: Path) -> str:
    """Return the kind of source that lies at an address, by the names of its files."""
    inside, url = remote.names(place), addresses.in_words(str(place))
    if not inside:
        raise UsageError(f"source {url!r}: there is nothing there, or nothing that may be seen.")
    if {*inside} >= OWN:
        return "wds"
    if {*huggingface.SAVED} & {*inside}:
        return "hf"
    return _one_of(_kinds(iter([path.rpartition("/")[2] for path in inside])), url)


def open_data(config: DataConfig, *, data: Path | None, split: str | None = None) -> Source:
    """Open the source of a recipe, or another split of it; arguments and errors as above."""
    return open_source(
        config.source,
        split=split or config.split,
        data=data,
        label=config.label,
        image=config.image,
        outside=config.outside,
    )


def open_tests(tests: str, source: Source, *, reopen: Callable[[str], Source]) -> Source:
    """Open what probes are tested on.

    Args:
        tests: A split of the source, a pattern of its paths, a folder, or another SOURCE.
        source: What is trained on; classes get its numbers.
        reopen: Opens another split of it.

    Raises:
        UsageError: If there is nothing of that name.
        DataError: If the tests have classes that the source has not.
    """
    kind, colon, _ = tests.partition(":")
    elsewhere = (kind in SOURCES and bool(colon)) or addresses.is_address(tests)
    elsewhere = elsewhere or (tests not in source.splits and Path(tests).is_dir())
    if not elsewhere:
        return _renumbered(reopen(tests), source)
    return _renumbered(_whole_test(tests), source)


def _whole_test(name: str) -> Source:
    """Open the test split of another source, or all of it where it has none."""
    try:
        source = open_source(name, split=splits.TEST)
    except UsageError:
        source = open_source(name)
        split = splits.for_tests(source.splits, "")
        if split:
            return open_source(name, split=split)
    return source


def _renumbered(source: Source, like: Source) -> Source:
    """Return a source whose classes have the numbers of another's."""
    if source.classes == like.classes or not source.classes or not like.classes:
        return source
    strange = sorted({*source.classes} - {*like.classes})
    if strange:
        raise DataError(
            f"{source.name} has classes that {like.name} has not: {splits.shown(strange)}."
        )
    return cast(Source, _Renumbered(source, like.classes))


@dataclass(frozen=True)
class _Renumbered:
    """A source whose classes have other numbers."""

    source: Source
    classes: tuple[str, ...]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.source, name)

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the samples with their new labels."""
        numbers = [self.classes.index(name) for name in self.source.classes]
        for entry in self.source.entries(select):
            known = entry.label is not None and 0 <= entry.label < len(numbers)
            yield replace(entry, label=numbers[entry.label or 0]) if known else entry


def kind_of(place: Path) -> str:
    """Return the kind of source that a path is.

    Raises:
        UsageError: If it can be read as two.
    """
    if place.is_file():
        return _kind_by_name(str(place))
    if all((place / name).is_file() for name in OWN):
        return "wds"
    if any((place / name).is_file() for name in huggingface.SAVED):
        return "hf"
    return _one_of(_kinds(_walked(place)), str(place))


def _one_of(kinds: Mapping[str, str], place: str) -> str:
    if len(kinds) > 1:
        both = " or ".join(f"{kind}:{place}" for kind in kinds)
        raise UsageError(
            f"{place} holds {' and '.join(kinds.values())}; say which is meant: {both}."
        )
    return next(iter(kinds), "folder")


def _walked(place: Path) -> Iterator[str]:
    """Yield the names of the files below a folder, but for hidden folders."""
    for _, folders, names in os.walk(place):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from names


def _kinds(names: Iterator[str]) -> dict[str, str]:
    """Return the kinds of source that files can be, by the first names, each with what it holds."""
    kinds: dict[str, str] = {}
    images = looked = 0
    for name in itertools.islice(names, LOOKED_AT):
        looked += 1
        suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
        if name.startswith(".") or name in NAMES:
            continue
        if suffix in EXTENSIONS or suffix in MORE_EXTENSIONS:
            kinds.setdefault("folder", "images")
            images += 1
        elif suffix == huggingface.PARQUET:
            kinds.setdefault("hf", "parquet files")
        elif name.endswith(webdataset.SUFFIXES):
            kinds.setdefault("wds", "tars")
        elif "idx3-ubyte" in name:
            kinds.setdefault("idx", "MNIST-format files")
    # An archive beside the images that came out of it is left out, and counted.
    return {"folder": "images"} if images > MOSTLY * looked else kinds


def _check_images(source: Source, place: Path) -> None:
    """Refuse a folder without images that is something else, and say what."""
    if next(iter(source.paths()), None) is not None:
        return
    other = next((kind for kind in _kinds(_walked(place)) if kind != "folder"), None)
    if any((place / name).is_file() for name in huggingface.SAVED):
        other = "hf"
    if other:
        raise UsageError(f"folder {place} holds no images; write {other}:{place}.")
