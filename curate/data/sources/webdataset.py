"""wds: tars that others wrote, or shards of ours; nothing is extracted and nothing unpickled.

Every image member is a sample of its own, so that ``x.v1.jpg`` and ``x.v2.jpg`` do not merge. Its
label and metadata are the ``.cls``, ``.json`` and ``.txt`` members of the same stem, wherever they
stand in the tar; those of its key (the name up to the first dot) serve where the stem has none.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from curate.data import cards, members, splits
from curate.data.index import Index, open_index
from curate.data.labels import NONE
from curate.data.members import Found, Scan
from curate.data.sample import Entry
from curate.data.shards.reader import Reader
from curate.data.sources.base import (
    Choice,
    Select,
    files_below,
    is_place,
    matching,
    storable,
)
from curate.data.splits import Splits
from curate.errors import DataError, UsageError
from curate.runtime.files import read_json
from curate.runtime.options import option
from curate.runtime.text import short

SUFFIXES = (".tar", ".tar.gz", ".tgz")
MOST = 1_000_000
"""Tars that braces may stand for."""


@dataclass(frozen=True)
class Tars:
    """Tars that others wrote, of one split.

    Attributes:
        tars: The tars.
        found: What they hold, in a file.
        odd: Labels of samples that are rejected: no whole numbers where others are.
        others: (path, reason) of what lies beside the tars.
    """

    name: str
    split: str
    splits: tuple[str, ...]
    tars: tuple[Path, ...]
    mine: frozenset[int]
    found: Found
    classes: tuple[str, ...]
    odd: frozenset[str]
    others: tuple[tuple[str, str], ...]
    chosen: Mapping[str, str]
    rejected: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def paths(self) -> Iterator[str]:
        """Return ``TAR/MEMBER`` of every image, those refused by their names included."""
        for member in self.found:
            if member.tar in self.mine and not member.left_out:
                yield member.path

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the images in the order of the tars.

        Raises:
            DataError: If a tar is cut short or damaged.
        """
        numbers = {name: label for label, name in enumerate(self.classes)}
        mine = (member for member in self.found if member.tar in self.mine)
        for number, inside in itertools.groupby(mine, key=lambda member: member.tar):
            tar = self.tars[number]
            with members.opened(tar) as stream:
                for member in inside:
                    if member.left_out:
                        self.left_out.append((member.path, member.left_out))
                        continue
                    if select is not None and not select(member.path):
                        continue
                    label, reason = member.label, member.rejected
                    if isinstance(label, str) and label in self.odd:
                        reason = f"its label {short(label)} is no whole number, as others are"
                    if reason:
                        self.rejected.append((member.path, reason))
                        continue
                    data = members.at(stream, member.offset, member.size, tar)
                    known = numbers[label] if isinstance(label, str) else label
                    yield Entry(member.path, data, known, member.metadata)
        self.left_out.extend(self.others)


@dataclass(frozen=True)
class Own:
    """One role of shards that ``curate shard`` wrote."""

    name: str
    folder: Path
    split: str
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    index: Index
    chosen: Mapping[str, str] = field(default_factory=dict)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def paths(self) -> Iterator[str]:
        """Return the paths that the images had in their own source."""
        for part in self.index.parts(["path", "split"]):
            yield from part.filter(pc.equal(part["split"], self.split))["path"].to_pylist()

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the images in the order of the index, with their uids, checked as they are read.

        Raises:
            DataError: If a shard is missing, cut short or changed.
        """
        reader, start = Reader(self.folder), 0
        for part in self.index.parts(["path", "split"]):
            mine = pc.equal(part["split"], self.split).to_numpy()
            if select is not None:
                mine &= np.fromiter(map(select, part["path"].to_pylist()), bool, len(part))
            for sample, data, metadata in reader.samples(start + np.flatnonzero(mine)):
                yield Entry(sample.path, data, sample.label, metadata, sample.uid)
            start += len(part)


def open_webdataset(where: str, choice: Choice, data: Path | None) -> Tars | Own:
    """Open tars by glob, braces or folder; every tar is looked through before any is used."""
    place = str(data) if data else where
    if not place:
        raise UsageError(f"source wds needs tars: write wds:GLOB, or give {option(data='FOLDER')}.")
    if (Path(place) / "index.parquet").is_file():
        return _own(Path(place), choice)
    tars, others = _tars(place)
    if not tars:
        raise UsageError(f"source wds: no tar file at {place}.")
    named = list(_labels(tuple(tars)))
    laid = _laid(named, choice, place)
    split = splits.find(choice.split, laid.names, f"wds:{place}")
    first = split == laid.names[0] or splits.WORDS.get(split) == splits.TRAIN
    beside = [*others, *((stray, "in no split") for stray in laid.strays)] if first else []
    used = [item for item in named if item[0] not in laid.strays]
    looked = members.scan(used, label=choice.label, image=choice.image)
    odd = _check_labels(looked, place)
    numbers = {name: number for number, (name, _) in enumerate(used)}
    return Tars(
        name=f"wds:{place}",
        split=split,
        splits=laid.names,
        tars=tuple(path for _, path in used),
        mine=frozenset(numbers[name] for name in laid.of[split]),
        found=looked.found,
        classes=tuple(sorted(looked.names if looked.numbered else looked.names | looked.odd)),
        odd=odd,
        others=tuple(beside),
        chosen=_chosen(looked, laid, split, choice),
    )


def _laid(named: list[tuple[str, Path]], choice: Choice, place: str) -> Splits:
    names = [name for name, _ in named]
    if splits.is_pattern(choice.split):
        fit = tuple(name for name in names if splits.matches(choice.split, name))
        if not fit:
            pattern = option(split=choice.split, quoted=True)
            raise UsageError(f"wds:{place}: {pattern} fits no tar.")
        strays = tuple(name for name in names if name not in fit)
        return Splits({choice.split: fit}, "by the pattern", strays)
    if choice.split == splits.EVERYTHING:
        return Splits({choice.split: tuple(names)}, "all of it, as was said")
    if is_place(Path(place)):
        inside = {os.path.relpath(path, place): name for name, path in named}
        by_card = cards.splits_of(Path(place), [*inside])
        if by_card is not None:
            by_split = {
                split: tuple(inside[path] for path in paths) for split, paths in by_card.of.items()
            }
            return replace(
                by_card, of=by_split, strays=tuple(inside[path] for path in by_card.strays)
            )
    return splits.of_files(names, f"wds:{place}")


def _check_labels(looked: Scan, place: str) -> frozenset[str]:
    """Return the labels that are rejected, where others are numbers.

    Raises:
        DataError: If labels are numbers and names.
    """
    if looked.names and looked.numbered:
        raise DataError(
            f"wds:{place} mixes labels that are numbers and names ({short(min(looked.names))}); "
            f"name others with {option(label=...)}, or {option(label=NONE)}."
        )
    return frozenset(looked.odd if looked.numbered else ())


def _chosen(looked: Scan, laid: Splits, split: str, choice: Choice) -> dict[str, str]:
    also = [name for name in laid.names if name != split]
    why = f"{split}, {laid.why}" + (f"; also: {', '.join(also)}" if also else "")
    most = sorted(looked.endings.items(), key=lambda item: -item[1])
    out = {"split": why, "images": "members " + splits.shown(f"{e} ({n:,})" for e, n in most)}
    if looked.names or looked.numbered or looked.odd:
        out["labels"] = f"{choice.label or '.cls, or label of .json'}"
    return out


def _own(folder: Path, choice: Choice) -> Own:
    index = open_index(folder)
    per_part = (pc.unique(part["split"]).to_pylist() for part in index.parts(["split"]))
    have = tuple(dict.fromkeys(split for names in per_part for split in names))
    split = splits.find(choice.split, have, str(folder))
    classes = read_json(folder / "dataset.json").get("classes")
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise DataError(f"{folder / 'dataset.json'} has no list of classes; make it again.")
    return Own(f"wds:{folder}", folder, split, have, tuple(classes), index)


# Places


def _tars(place: str) -> tuple[list[Path], list[tuple[str, str]]]:
    """Return the tars at a place, and (path, reason) of what lies beside them in a folder."""
    if not is_place(Path(place)):
        paths = [path for one in _alternatives(place) for path in _named(one, place)]
        return [path for path in dict.fromkeys(paths) if path.name.endswith(SUFFIXES)], []
    root = Path(place)
    every = list(files_below(root))
    tars = [name for name in every if name.endswith(SUFFIXES)]
    here = [name for name in tars if "/" not in name]
    used = set(here or tars)
    left = []
    for name in every:
        if name not in used:
            why = f"no tar: ending {Path(name).suffix or 'none'}"
            if name.endswith(SUFFIXES):
                why = "a tar in a folder below"
            left.append((storable(name), "shards of curate" if name.endswith("/") else why))
    return [root / name for name in sorted(used)], left


def _named(one: str, place: str) -> list[Path]:
    paths = matching(one)
    if not paths and "{" in place:
        raise UsageError(f"source wds: {place} stands for {one}, which is not there.")
    return paths


def _alternatives(place: str) -> list[str]:
    """Return what braces stand for, as webdataset reads them: ``{000..123}`` and ``{a,b}``.

    Raises:
        UsageError: If they stand for too many.
    """
    if "{" not in place or Path(place).exists():
        return place.split("::") if "::" in place and not Path(place).exists() else [place]
    return [name for part in place.split("::") for name in _expanded(part)]


def _expanded(place: str) -> list[str]:
    braces = re.search(r"\{([^{}]*)\}", place)
    if not braces:
        return [place]
    inside = braces[1]
    run = re.fullmatch(r"(\d{1,12})\.\.(\d{1,12})", inside)
    if run:
        first, last, width = int(run[1]), int(run[2]), len(run[1])
        if not first <= last < first + MOST:
            raise UsageError(f"source wds: {{{inside}}} stands for no tars, or too many.")
        values = [f"{i:0{width}d}" for i in range(first, last + 1)]
    else:
        values = inside.split(",")
    head, tail = place[: braces.start()], _expanded(place[braces.end() :])
    if len(values) * len(tail) > MOST:
        raise UsageError(f"source wds: {short(place)} stands for more than {MOST:,} tars.")
    return [f"{head}{value}{ending}" for value in values for ending in tail]


def _labels(tars: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    """Yield a unique short name of each tar with its path."""
    root = os.path.commonpath([tar.parent for tar in tars])
    for tar in tars:
        yield storable(os.path.relpath(tar, root)), tar
