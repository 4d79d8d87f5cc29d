"""Members of tars that others wrote: headers read once, nothing extracted, nothing taken on trust.

Tars are read by the standard library: webdataset and datasets end early at damage, without a word.
What headers may claim is bounded, and what is found goes to a file without a name, so that no more
is held than one tar's names.
"""

from __future__ import annotations

import gzip
import json
import os
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from curate.data import labels, remote
from curate.data.decoding import MAX_BYTES, looks_like
from curate.data.labels import Label
from curate.data.sources.base import (
    EXTENSIONS,
    HEAD,
    MORE_EXTENSIONS,
    plain,
    refusal_by_name,
    storable,
    why_left_out,
)
from curate.errors import DataError
from curate.runtime.text import short

COMPANIONS = (".cls", ".json", ".txt")
MAX_COMPANION = 2**20
"""Largest label or metadata member in bytes."""
MAX_COMPANIONS = 2**29
"""Largest sum of them in one tar."""
MAX_HEADER = 2**20
"""Largest extended header in bytes: names, and what else PAX says of a member."""
MAX_GLOBAL = 1000
"""Most things that PAX says of all members."""
MAX_END = 2**26
"""Most zeros behind the end mark."""
MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*\x00", b"MM\x00*")
"""What a member without an extension begins with where it is an image."""
APPLE_DOUBLE = b"\0\5\x16\7"


@dataclass(frozen=True)
class Member:
    """An image in a tar, and what its companions say; or why it is none."""

    tar: int
    path: str
    offset: int
    size: int
    label: Label
    metadata: dict[str, Any]
    rejected: str = ""
    left_out: str = ""


class Found:
    """Members in a file without a name, in the order of the tars; read as often as wanted."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (it is gone with this object)
        self._size = 0

    def add(self, member: Member) -> None:
        """Append one."""
        fields = (
            member.tar, member.path, member.offset, member.size, member.label, member.metadata,
            member.rejected, member.left_out,
        )  # fmt: skip
        self._size += self._file.write(json.dumps(fields).encode() + b"\n")

    def __iter__(self) -> Iterator[Member]:
        self._file.flush()
        place, tail = 0, b""
        while place < self._size:
            block = os.pread(self._file.fileno(), 2**20, place)
            if not block:
                break
            place += len(block)
            *lines, tail = (tail + block).split(b"\n")
            for line in lines:
                yield Member(*json.loads(line))


@dataclass
class Scan:
    """What tars hold.

    Attributes:
        found: Every member that is a sample, or is counted as none.
        names: Labels that are names.
        numbered: Whether there are labels that are numbers.
        odd: Labels that are neither where others are numbers, such as ``--5``.
        endings: How many images have which ending, from the first dot of their names on.
    """

    found: Found
    names: set[str] = field(default_factory=set)
    numbered: bool = False
    odd: set[str] = field(default_factory=set)
    endings: dict[str, int] = field(default_factory=dict)


def scan(tars: list[tuple[str, Path]], *, label: str | None, image: str | None) -> Scan:
    """Look through tars, each once.

    Args:
        tars: A unique short name of each, and its path.
        label: A key of the .json members, an ending of members, or ``none``.
        image: The ending of members that are images; None for every image.

    Raises:
        DataError: If a tar is cut short or damaged.
    """
    out = Scan(Found())
    for number, (name, tar) in enumerate(tars):
        for member in _scan(number, name, tar, label, image):
            out.found.add(member)
            if member.rejected or member.left_out:
                continue
            if isinstance(member.label, str):
                odd = member.label[:1] in "+-.0123456789"
                (out.odd if odd else out.names).add(member.label)
            out.numbered |= isinstance(member.label, int)
            ending = _ending(member.path)
            out.endings[ending] = out.endings.get(ending, 0) + 1
    return out


def opened(tar: Path) -> BinaryIO:
    """Open a tar, packed by gzip or not; one of an address is fetched."""
    try:
        stream = remote.opened(tar) if remote.is_remote(tar) else tar.open("rb")
        zipped = tar.suffix in (".gz", ".tgz")
        return cast(BinaryIO, gzip.GzipFile(fileobj=stream)) if zipped else stream
    except OSError as error:
        raise DataError(f"cannot read {tar}: {error.strerror}.") from error


def at(stream: BinaryIO, offset: int, size: int, tar: Path) -> bytes:
    """Return bytes of a tar.

    Raises:
        DataError: If they are not there.
    """
    try:
        stream.seek(offset)
        data = stream.read(size)
    except (OSError, EOFError, zlib.error, ValueError, OverflowError) as error:
        raise DataError(f"{tar} is damaged at offset {offset:,}: {error}.") from error
    if len(data) < size:
        raise DataError(f"{tar} is cut short at offset {offset + len(data):,}; get it again.")
    return data


class _Bounded:
    """A file that reads no more at once than headers may have: they can claim any length."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_HEADER:
            raise tarfile.ReadError(f"a header claims {size:,} bytes")
        return self.stream.read(size)


def _ending(path: str) -> str:
    base = path.rpartition("/")[2]
    return base[base.find(".", 1) :].lower() if "." in base[1:] else "none"


def _scan(
    number: int, name: str, tar: Path, label: str | None, image: str | None
) -> Iterator[Member]:
    """Yield the members of a tar: images in order, then what is none of them."""
    images: dict[str, tuple[int, int]] = {}
    companions: dict[str, bytes] = {}
    suffixes = (*COMPANIONS, *([f".{label.lstrip('.').lower()}"] if label else []))
    held, order = 0, 0
    with opened(tar) as stream:

        def none(inside: str, *, rejected: str = "", left_out: str = "") -> Member:
            return Member(number, f"{name}/{inside}", 0, 0, None, {}, rejected, left_out)

        for info in _members(stream, tar):
            order += 1
            inside = storable(info.name).removeprefix("./")
            base = inside.rpartition("/")[2]
            suffix = PurePosixPath(inside).suffix.lower()
            if info.isdir():
                continue
            if _is_of_macos(stream, info, base, tar):
                yield none(inside, left_out="what macOS writes beside files")
                continue
            reason = _refusal(info, inside)
            if reason is None and suffix in suffixes:
                held += info.size
                if info.size > MAX_COMPANION:
                    reason = f"{info.size:,} bytes of label or metadata"
                elif held > MAX_COMPANIONS:
                    raise DataError(
                        f"{tar} has more than {MAX_COMPANIONS:,} bytes of labels and metadata."
                    )
                else:
                    content = at(stream, info.offset_data, info.size, tar)
                    companions.setdefault(inside[: -len(suffix)] + suffix, content)
                    continue
            if reason is not None:
                yield none(inside, rejected=reason)
            elif image is not None and not _has_ending(base, image):
                yield none(inside, left_out=f"no .{image.lstrip('.')} (data.image)")
            elif suffix in MORE_EXTENSIONS and refusal_by_name(suffix):
                yield none(inside, rejected=str(refusal_by_name(suffix)))
            elif image is not None or suffix in EXTENSIONS or suffix in MORE_EXTENSIONS or (
                _is_image(stream, info, base, tar)
            ):  # fmt: skip
                if inside in images:
                    yield none(
                        inside, rejected="the name is repeated in its tar; the first is taken"
                    )
                else:
                    images[inside] = (info.offset_data, info.size)
            else:
                head = at(stream, info.offset_data, min(info.size, HEAD), tar)
                yield none(inside, left_out=why_left_out(suffix, head))
    used: set[str] = set()
    for inside, (offset, size) in images.items():
        try:
            found, metadata = _described(inside, companions, label, used)
        except DataError as error:
            yield Member(number, f"{name}/{inside}", offset, size, None, {}, str(error))
            continue
        yield Member(number, f"{name}/{inside}", offset, size, found, metadata)
    for inside in companions:
        if inside not in used:
            yield Member(
                number, f"{name}/{inside}", 0, 0, None, {},
                left_out=f"{PurePosixPath(inside).suffix or '.' + inside.rpartition('.')[2]} of no "
                "image",
            )  # fmt: skip


def _has_ending(base: str, ending: str) -> bool:
    return base.lower().endswith(f".{ending.lstrip('.').lower()}") and (
        base.lower().partition(".")[2] == ending.lstrip(".").lower() or "." not in ending
    )


def _members(stream: BinaryIO, tar: Path) -> Iterator[tarfile.TarInfo]:
    """Yield every member's header, and make sure that the last one was the last."""
    try:
        with tarfile.open(fileobj=cast(BinaryIO, _Bounded(stream)), mode="r:") as archive:
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every one
                if info.size < 0 or archive.offset < info.offset_data:
                    raise tarfile.ReadError(f"a header claims {info.size:,} bytes")
                if len(archive.pax_headers) > MAX_GLOBAL:
                    raise tarfile.ReadError(f"{len(archive.pax_headers):,} global PAX headers")
                yield info
            end = archive.offset
        stream.seek(end)
        block = stream.read(tarfile.BLOCKSIZE)
        whole = len(block) == tarfile.BLOCKSIZE
        passed = 0
        while block:
            passed += len(block)
            if block.strip(b"\0"):
                raise DataError(f"{tar} is damaged at offset {end:,}; get it again.")
            if passed > MAX_END:
                raise DataError(f"{tar} goes on for more than {MAX_END:,} zeros behind its end.")
            block = stream.read(2**20)
    except (DataError, MemoryError):
        raise
    except Exception as error:  # hostile headers make tarfile raise nearly anything
        reason = str(error) or type(error).__name__
        raise DataError(f"{tar} is cut short or damaged: {reason[:200]}.") from error
    if not whole:
        raise DataError(f"{tar} is cut short at offset {end:,}: the end mark is missing.")


def _refusal(info: tarfile.TarInfo, inside: str) -> str | None:
    """Return why a member is not read, or None."""
    if inside.startswith("/") or ".." in inside.split("/"):
        return "the name leads out of the tar"
    if info.issym() or info.islnk():
        return f"a link to {storable(info.linkname)[:200]}"
    if info.issparse() or not info.isreg():
        return "not a plain file"
    if info.size > MAX_BYTES:
        return f"{info.size:,} bytes are more than the {MAX_BYTES:,} allowed"
    return None


def _is_image(stream: BinaryIO, info: tarfile.TarInfo, base: str, tar: Path) -> bool:
    """Return whether a member without an extension, which webdataset drops, is an image."""
    if "." in base.lstrip("."):
        return False
    head = at(stream, info.offset_data, min(info.size, HEAD), tar)
    return head.startswith(MAGIC) or looks_like(head) is not None


def _is_of_macos(stream: BinaryIO, info: tarfile.TarInfo, base: str, tar: Path) -> bool:
    """Return whether a member is what macOS writes as ._x beside x; an image may be called so."""
    if not base.startswith("._") or not info.isreg():
        return False
    return at(stream, info.offset_data, min(info.size, 4), tar) == APPLE_DOUBLE


def _described(
    inside: str, companions: dict[str, bytes], requested: str | None, used: set[str]
) -> tuple[Label, dict[str, Any]]:
    """Return label and metadata of an image member; adds the companions it has to ``used``.

    Raises:
        DataError: If a companion cannot be read; the message is the reason alone.
    """
    folder, slash, base = inside.rpartition("/")
    stem = inside.removesuffix(PurePosixPath(inside).suffix)
    stems = (stem, folder + slash + base.partition(".")[0])

    def companion(suffix: str) -> str | None:
        name = next((s + suffix for s in stems if s + suffix in companions), None)
        if name is None:
            return None
        used.add(name)
        try:
            return companions[name].decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"its {suffix} member is no text") from error

    label: Label = None
    metadata: dict[str, Any] = {}
    if (text := companion(".json")) is not None:
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError("its .json member is no JSON") from error
        if isinstance(content, dict):
            metadata |= content
            key = requested if requested is not None and requested in content else "label"
            value = content.get(key)
            if requested != labels.NONE and _can_be(value, said=key == requested):
                try:
                    label = labels.label_of(value)
                except ValueError as error:
                    raise DataError(f"its {key} {error}") from error
                del metadata[key]
    if (text := companion(".txt")) is not None:
        metadata["text"] = text
    endings = (".cls",) if requested is None else (f".{requested.lstrip('.').lower()}",)
    for ending in (*endings, ".cls"):
        if (text := companion(ending)) is not None and ending in endings:
            label = _of_text(text)
    if requested == labels.NONE:
        label = None
    return label, plain(metadata)


def _can_be(value: Any, *, said: bool) -> bool:
    """Return whether a value of a .json member is a label; what is said to be one must be."""
    if value is None or isinstance(value, dict):
        return False
    return said or not isinstance(value, bool)


def _of_text(text: str) -> Label:
    text = labels.storable_text(text.strip())
    if len(text) <= labels.DIGITS and text.lstrip("-").isdecimal() and text.count("-") <= 1:
        return labels.label_of(int(text))
    return short(text)[1:-1] if len(text) > 1000 else text or None
