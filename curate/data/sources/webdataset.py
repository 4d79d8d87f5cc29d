"""wds: tars that others wrote, or shards of ours; nothing is extracted and nothing unpickled.

Tars are read by the standard library: webdataset and datasets end early at damage, without a word.
Every image member is a sample of its own, so that ``x.v1.jpg`` and ``x.v2.jpg`` do not merge. Its
label and metadata are the ``.cls``, ``.json`` and ``.txt`` members of the same stem, wherever they
stand in the tar; those of its key (the name up to the first dot) serve where the stem has none.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import pyarrow.compute as pc

from curate.data.decoding import MAX_BYTES
from curate.data.index import Index, open_index
from curate.data.sample import Entry
from curate.data.sources.base import EXTENSIONS, Select, matching, need_split, plain, storable
from curate.errors import DataError, UsageError
from curate.runtime.files import read_json

SUFFIXES = (".tar", ".tar.gz", ".tgz")
COMPANIONS = (".cls", ".json", ".txt")
MAX_COMPANION = 2**20
"""Largest label or metadata member in bytes."""
MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\x00", b"MM\x00*")
"""What a member without an extension begins with where it is an image."""
APPLE_DOUBLE = b"\0\5\x16\7"


@dataclass(frozen=True)
class Member:
    """An image in a tar, and what its companions say."""

    path: str
    offset: int
    size: int
    label: int | str | None
    metadata: dict[str, Any]


@dataclass(frozen=True)
class Tars:
    """Tars that others wrote."""

    name: str
    tars: tuple[Path, ...]
    classes: tuple[str, ...]
    splits: tuple[str, ...] = ("train",)
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def paths(self) -> Iterator[str]:
        """Return ``TAR/MEMBER`` of every image that is not refused by its name."""
        for label, tar in _labels(self.tars):
            yield from (member.path for member in _scan(tar, label)[0])

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the images in the order of the tars.

        Raises:
            DataError: If a tar is cut short or damaged.
        """
        numbers = {name: label for label, name in enumerate(self.classes)}
        for name, tar in _labels(self.tars):
            members, refused = _scan(tar, name)
            self.rejected.extend(r for r in refused if select is None or select(r[0]))
            with _opened(tar) as stream:
                for member in members:
                    if select is not None and not select(member.path):
                        continue
                    data = _at(stream, member.offset, member.size, tar)
                    label = member.label
                    number = numbers[label] if isinstance(label, str) else label
                    yield Entry(member.path, data, number, member.metadata)


@dataclass(frozen=True)
class Own:
    """One role of shards that ``curate shard`` wrote."""

    name: str
    folder: Path
    split: str
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    index: Index
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def paths(self) -> Iterator[str]:
        """Return the paths that the images had in their own source."""
        for part in self.index.parts(["path", "split"]):
            yield from part.filter(pc.equal(part["split"], self.split))["path"].to_pylist()

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the images in the order of the index, each checked against its hash.

        Raises:
            DataError: If a shard is missing, cut short or changed.
        """
        for part in self.index.parts():
            for row in part.filter(pc.equal(part["split"], self.split)).to_pylist():
                if select is None or select(row["path"]):
                    tar = self.folder / row["shard"]
                    with _opened(tar) as stream:
                        data = _at(stream, row["offset"], row["size"], tar)
                    if hashlib.sha256(data).hexdigest() != row["sha256"]:
                        where = f"{tar} at offset {row['offset']:,}"
                        raise DataError(f"{where} (sample {row['key']}) changed since written.")
                    yield Entry(row["path"], data, row["label"])


def open_webdataset(where: str, split: str, data: Path | None) -> Tars | Own:
    """Open tars by glob or folder; every tar is looked through before any is used."""
    place = str(data) if data else where
    if not place:
        raise UsageError("source wds needs tars: write wds:GLOB, or give --data FOLDER.")
    if (Path(place) / "index.parquet").is_file():
        return _own(Path(place), split)
    found = sorted(Path(place).iterdir()) if Path(place).is_dir() else matching(place)
    tars = tuple(tar for tar in found if tar.name.endswith(SUFFIXES) and tar.is_file())
    if not tars:
        raise UsageError(f"source wds: no tar file at {place}.")
    need_split(split, ("train",), f"wds:{place}")
    names: set[str] = set()
    numbered = False
    for name, tar in _labels(tars):
        for member in _scan(tar, name)[0]:
            if isinstance(member.label, str):
                names.add(member.label)
            numbered |= isinstance(member.label, int)
    if names and numbered:
        raise DataError(f"wds:{place} mixes labels that are numbers and names ({min(names)!r}).")
    return Tars(f"wds:{place}", tars, tuple(sorted(names)))


def _own(folder: Path, split: str) -> Own:
    index = open_index(folder)
    found = (pc.unique(part["split"]).to_pylist() for part in index.parts(["split"]))
    splits = tuple(dict.fromkeys(split for some in found for split in some))
    need_split(split, splits, str(folder))
    classes = tuple(read_json(folder / "dataset.json")["classes"])
    return Own(f"wds:{folder}", folder, split, splits, classes, index)


def _labels(tars: tuple[Path, ...]) -> Iterator[tuple[str, Path]]:
    """Yield a unique short name of each tar with its path."""
    root = os.path.commonpath([tar.parent for tar in tars])
    for tar in tars:
        yield storable(os.path.relpath(tar, root)), tar


# Reading a tar


class _Bounded:
    """A file that reads no more at once than an image may have: headers can claim any length."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_BYTES:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        return self.stream.read(size)


def _opened(tar: Path) -> BinaryIO:
    try:
        zipped = tar.suffix in (".gz", ".tgz")
        return cast(BinaryIO, gzip.open(tar) if zipped else tar.open("rb"))
    except OSError as error:
        raise DataError(f"cannot read {tar}: {error.strerror}.") from error


def _at(stream: BinaryIO, offset: int, size: int, tar: Path) -> bytes:
    try:
        stream.seek(offset)
        data = stream.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{tar} is damaged at offset {offset:,}: {error}.") from error
    if len(data) < size:
        raise DataError(f"{tar} is cut short at offset {offset + len(data):,}; get it again.")
    return data


def _scan(tar: Path, name: str) -> tuple[list[Member], list[tuple[str, str]]]:
    """Return the images of a tar in order, and (path, reason) of the members refused.

    Raises:
        DataError: If the tar is cut short or damaged.
    """
    images: dict[str, tuple[int, int]] = {}
    companions: dict[str, bytes] = {}
    refused: list[tuple[str, str]] = []
    with _opened(tar) as stream:
        for info in _members(stream, tar):
            inside = storable(info.name).removeprefix("./")
            base = inside.rpartition("/")[2]
            suffix = PurePosixPath(inside).suffix.lower()
            reason = _refusal(info, inside)
            if info.isdir() or _is_of_macos(stream, info, base, tar):
                continue
            if reason is None and suffix in COMPANIONS:
                if info.size > MAX_COMPANION:
                    reason = f"{info.size:,} bytes of label or metadata"
                else:
                    content = _at(stream, info.offset_data, info.size, tar)
                    companions.setdefault(inside[: -len(suffix)] + suffix, content)
            elif reason is None and (suffix in EXTENSIONS or _is_image(stream, info, base, tar)):
                if inside in images:
                    reason = "the name is repeated in its tar; the first is taken"
                else:
                    images[inside] = (info.offset_data, info.size)
            if reason:
                refused.append((f"{name}/{inside}", reason))
    members = []
    for inside, (offset, size) in images.items():
        try:
            label, metadata = _described(inside, companions)
        except DataError as error:
            refused.append((f"{name}/{inside}", str(error)))
            continue
        members.append(Member(f"{name}/{inside}", offset, size, label, metadata))
    return members, refused


def _members(stream: BinaryIO, tar: Path) -> Iterator[tarfile.TarInfo]:
    """Yield every member's header, and make sure that the last one was the last."""
    try:
        with tarfile.open(fileobj=cast(BinaryIO, _Bounded(stream)), mode="r:") as archive:
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every one
                yield info
            end = archive.offset
        stream.seek(end)
        rest = stream.read(tarfile.BLOCKSIZE)
        whole = len(rest) == tarfile.BLOCKSIZE
        while rest:
            if rest.strip(b"\0"):
                raise DataError(f"{tar} is damaged at offset {end:,}; get it again.")
            rest = stream.read(2**20)
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise DataError(f"{tar} is cut short or damaged: {error}.") from error
    if not whole:
        raise DataError(f"{tar} is cut short at offset {end:,}: the end mark is missing.")


def _refusal(info: tarfile.TarInfo, inside: str) -> str | None:
    """Return why a member is not read, or None."""
    if inside.startswith("/") or ".." in inside.split("/"):
        return "the name leads out of the tar"
    if info.issym() or info.islnk():
        return f"a link to {storable(info.linkname)}"
    if info.issparse() or not info.isreg():
        return "not a plain file"
    if info.size > MAX_BYTES:
        return f"{info.size:,} bytes are more than the {MAX_BYTES:,} allowed"
    return None


def _is_image(stream: BinaryIO, info: tarfile.TarInfo, base: str, tar: Path) -> bool:
    """Return whether a member without an extension, which webdataset drops, is an image."""
    if "." in base.lstrip("."):
        return False
    return _at(stream, info.offset_data, min(info.size, 4), tar).startswith(MAGIC)


def _is_of_macos(stream: BinaryIO, info: tarfile.TarInfo, base: str, tar: Path) -> bool:
    """Return whether a member is what macOS writes as ._x beside x; an image may be called so."""
    if not base.startswith("._") or not info.isreg():
        return False
    return _at(stream, info.offset_data, min(info.size, 4), tar) == APPLE_DOUBLE


def _described(
    inside: str, companions: dict[str, bytes]
) -> tuple[int | str | None, dict[str, Any]]:
    """Return label and metadata of an image member.

    Raises:
        DataError: If a companion cannot be read; the message is the reason alone.
    """
    folder, slash, base = inside.rpartition("/")
    own = inside.removesuffix(PurePosixPath(inside).suffix)
    stems = (own, folder + slash + base.partition(".")[0])

    def companion(suffix: str) -> str | None:
        found = next((companions[s + suffix] for s in stems if s + suffix in companions), None)
        try:
            return None if found is None else found.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"its {suffix} member is no text") from error

    label: int | str | None = None
    metadata: dict[str, Any] = {}
    if (text := companion(".json")) is not None:
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError("its .json member is no JSON") from error
        if isinstance(content, dict):
            metadata |= content
            found = content.get("label")
            if isinstance(found, (int, str)) and not isinstance(found, bool):
                label = metadata.pop("label")
    if (text := companion(".txt")) is not None:
        metadata["text"] = text
    if (text := companion(".cls")) is not None:
        text = text.strip()
        label = int(text) if text.lstrip("-").isdecimal() else text or None
    return (None if isinstance(label, int) and label < 0 else label), plain(metadata)
