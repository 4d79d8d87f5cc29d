"""Files of object stores and web servers, read only, by way of a local cache of bounded size.

A file is fetched whole under another name, block by block, each block again where the connection is
cut. Its sha256 is kept beside it and held against the file before it is used again, and what the
store says of its bytes (size, MD5, sha256) is held against what came. What was not used for longest
makes room. Credentials are the environment's business, as its libraries read them.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

from curate.data.addresses import WEB, address, cache, redacted
from curate.data.cached import bound, facts_of, make_room, pin
from curate.data.cards import fits
from curate.data.stores import again, system_of
from curate.errors import DataError, ResourceError, UsageError
from curate.runtime.files import beside, file_sha256, read_json, write_json, writing

log = logging.getLogger("curate")

BLOCK = 2**24
"""Bytes that are asked for at once."""
DEEPEST = 20
"""Folders that lists of a web server are followed into."""
AT_ONCE = 16
"""Files of a folder that are fetched side by side."""


@dataclass(frozen=True)
class About:
    """What a store says of a file.

    Attributes:
        size: Its bytes; None where nobody says.
        tag: What changes with its content, as the store has it.
        md5: 32 hex digits, where the store says that.
        sha256: 64 hex digits, likewise.
        parts: Whether the store gives parts of it.
    """

    size: int | None
    tag: str
    md5: str | None
    sha256: str | None
    parts: bool

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> About:
        """Take what fsspec has of a file."""
        tag = str(info.get("ETag") or info.get("etag") or info.get("blob_id") or "").strip('"')
        when = info.get("LastModified") or info.get("Last-Modified") or info.get("updated") or ""
        kept = info.get("lfs")
        sha256 = kept.get("sha256") if isinstance(kept, dict) else getattr(kept, "sha256", None)
        md5 = info.get("md5Hash") or info.get("Content-MD5")
        if md5:
            md5 = base64.b64decode(md5).hex()
        elif "StorageClass" in info and len(tag) == 32:  # of S3; of several parts it has a dash
            md5 = tag
        size = info.get("size")
        parts = info.get("partial", True) is not False
        return cls(None if size is None else int(size), tag or str(when), md5, sha256, parts)


_LISTED: dict[Path, list[str]] = {}
"""The files below a place, as they were when its source was opened."""
_KNOWN: dict[Path, About | None] = {}
"""What the store said of files then; None where there is no file."""
_CHECKED: dict[Path, tuple[int, int, int]] = {}
"""Files that this process has held against their digests, by inode, size and time."""


def is_remote(path: Path) -> bool:
    """Return whether a path is in the cache, and its file in a store."""
    return address(path) is not None


def forget() -> None:
    """Look anew at what lies where, for a source that is opened."""
    _LISTED.clear()
    _KNOWN.clear()


def is_file(path: Path) -> bool:
    """Return whether there is a file at an address.

    Raises:
        DataError: If the store cannot be reached.
    """
    return _about(path) is not None


def is_folder(path: Path) -> bool:
    """Return whether an address is of a folder: neither a pattern nor a file."""
    return not (is_pattern(str(path)) or "{" in str(path) or is_file(path))


def names(root: Path, *, depth: int | None = None) -> list[str]:
    """Return the paths of all files below a place, in the order of a walk through folders.

    Args:
        root: The place.
        depth: How many folders deep; None for all.

    Raises:
        DataError: If the store cannot be reached, or names what no file here can be called.
    """
    if root in _LISTED:
        return _LISTED[root]
    url, out = str(address(root)), []
    for inside, about in (_linked if url.partition(":")[0] in WEB else _found)(url, depth):
        if any(part in ("", ".", "..") or "\0" in part for part in inside.split("/")):
            log.warning("%s is left out: no file can be called so.", redacted(f"{url}/{inside}"))
            continue
        out.append(inside)
        if about is not None:
            _KNOWN[root / inside] = about
    out.sort(key=_as_walked)
    if depth is None:
        _LISTED[root] = out
    return out


def _found(url: str, depth: int | None) -> Iterator[tuple[str, About]]:
    """Yield the paths of the files in an object store below an address, and facts of them."""
    system = system_of(url)
    system.invalidate_cache()
    home = system._strip_protocol(url).rstrip("/")
    try:
        listing = again(lambda: system.find(url, maxdepth=depth, detail=True), url)
    except FileNotFoundError:
        return
    for name, info in listing.items():
        if info["type"] == "file" and name.startswith(f"{home}/"):
            yield name[len(home) + 1 :], About.of(info)


def _linked(url: str, depth: int | None, inside: str = "") -> Iterator[tuple[str, None]]:
    """Yield the paths of the files that a web server lists below an address, by its links."""
    system = system_of(url)
    here = f"{url}/{inside}"
    try:
        links = again(lambda: system.ls(here, detail=False), here)
    except FileNotFoundError:
        return
    for link in links:
        name = link[len(here) :]
        if not link.startswith(here) or not name or re.search("[?#]", name):
            continue
        if not name.endswith("/"):
            yield unquote(inside + name), None
        elif inside.count("/") < (DEEPEST if depth is None else depth - 1):
            yield from _linked(url, depth, inside + name)


def digest_of(place: Path) -> str:
    """Return a digest of the names of all files at a place, and of what changes with their content.

    Raises:
        DataError: If the store cannot be reached.
    """
    forget()
    paths = matching(str(place)) or [place / name for name in names(place)]
    facts = [(address(path), about.size, about.tag) for path in paths if (about := _about(path))]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _as_walked(name: str) -> list[tuple[bool, str]]:
    *folders, file = name.split("/")
    return [*((True, folder) for folder in folders), (False, file)]


def matching(pattern: str) -> list[Path]:
    """Return the files that a pattern of paths in the cache, or a path of one, names; sorted."""
    path = Path(pattern)
    if not is_pattern(pattern):
        return [path] if is_file(path) else []
    fixed = next(n for n, part in enumerate(path.parts) if is_pattern(part))
    root, variable = Path(*path.parts[:fixed]), path.parts[fixed:]
    if address(root) is None or "/" not in str(address(root)).partition("://")[2] + "/":
        raise UsageError(f"{address(path)}: name the bucket in full.")
    deep = None if "**" in variable else len(variable)
    return sorted(root / name for name in names(root, depth=deep) if fits("/".join(variable), name))


def is_pattern(text: str) -> bool:
    """Return whether a path stands for those that fit it."""
    return any(sign in text for sign in "*?[")


def _about(path: Path) -> About | None:
    """Return what the store says of a file; None where there is none."""
    if path not in _KNOWN:
        url = str(address(path))
        if url.partition(":")[0] in WEB and "." not in path.name:
            return None  # a web server has no folders; what has no ending is taken for one
        system = system_of(url)
        try:
            info = again(lambda: system.info(url), url)
        except FileNotFoundError:
            info = {"type": "none"}
        _KNOWN[path] = About.of(info) if info["type"] == "file" else None
    return _KNOWN[path]


# Fetching


def opened(path: Path) -> BinaryIO:
    """Open a file of the cache, fetched if it is not there as it was.

    It stays whole while it is open, whoever makes room meanwhile.

    Raises:
        DataError: If it cannot be fetched.
        ResourceError: If the cache or the disk has no room for it.
    """
    while True:
        bring(path)
        with contextlib.suppress(FileNotFoundError):  # another process made room
            return path.open("rb")


def bring(path: Path) -> None:
    """Fetch a file into the cache, unless it is there and is what was fetched; errors as above."""
    about, url = _about(path), str(address(path))
    if about is None:
        raise DataError(f"{url}: there is no such file.")
    facts = facts_of(path)
    if _is_held(path, facts, about):
        with contextlib.suppress(OSError):
            os.utime(facts)  # what was used last goes last
        return
    make_room(about.size or 0)
    _fetch(path, facts, url, about)


def mirror(root: Path) -> None:
    """Fetch all files below a place, or the file there, to be read as a folder.

    Raises:
        DataError: If they cannot be fetched.
        ResourceError: If they do not all fit into the cache, or on the disk.
    """
    url = str(address(root))
    inside = [""] if is_file(root) else names(root)
    if not inside:
        raise UsageError(f"{url}: there is nothing.")
    files = [root / name for name in inside]
    pin(root)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sizes = list(
            pool.map(lambda path: (about.size or 0) if (about := _about(path)) else 0, files)
        )
        if sum(sizes) > bound():
            raise ResourceError(
                f"{url} holds {sum(sizes) / 2**30:.1f} GiB in {len(files):,} files, which must all "
                f"be there at once, and the cache {cache()} takes {bound() / 2**30:.1f}; set "
                "CURATE_CACHE_GIB, or pack them into tars, which are read one by one."
            )
        current = set(files)
        for old in [p for p in root.rglob("*") if p.is_file() and p not in current]:
            old.unlink()  # no longer in the store
        make_room(sum(n for n, path in zip(sizes, files, strict=True) if not path.exists()))
        for _ in pool.map(_bring_one, files):
            pass


def _bring_one(path: Path) -> None:
    about, facts = _about(path), facts_of(path)
    assert about is not None, "it was listed"
    if not _is_held(path, facts, about):
        _fetch(path, facts, str(address(path)), about)


def _is_held(path: Path, facts: Path, about: About) -> bool:
    """Return whether the cache has a file as the store has it, by its digest."""
    try:
        stat, known = path.stat(), read_json(facts)
        at = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if [known["size"], known["tag"]] != [about.size, about.tag]:
            return False
        if _CHECKED.get(path) == at:
            return True
        if file_sha256(path) != known["sha256"]:
            log.warning("%s changed since it was fetched; it is fetched again.", path)
            return False
    except (OSError, DataError, KeyError):
        return False
    _CHECKED[path] = at
    return True


def _fetch(path: Path, facts: Path, url: str, about: About) -> None:
    """Fetch a file; it is under its name when all of it is there and is what the store says."""
    # Nobody takes what is under way for a file of the source.
    arriving = cache() / "arriving"
    for last in (False, True):
        temporary = beside(arriving / hashlib.sha256(url.encode()).hexdigest()[:32])
        try:
            with writing(str(arriving)):
                arriving.mkdir(parents=True, exist_ok=True)
                digests = _download(temporary, url, about)
            wrong = _differs(url, about, digests)
            if wrong is None:
                facts.unlink(missing_ok=True)
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(path)
                write_json(
                    facts, {"size": about.size, "tag": about.tag, "sha256": digests["sha256"]}
                )
                stat = path.stat()
                _CHECKED[path] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
                return
        except FileNotFoundError:
            raise DataError(f"{url}: the file is there no more.") from None
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            raise DataError(
                f"{url}: the store has a file and a folder of one name, which no disk can hold."
            ) from None
        finally:
            temporary.unlink(missing_ok=True)
        if last:
            raise DataError(
                f"{url} came with another {wrong} than its store says, twice: it is damaged there, "
                "or is being written; put it there again."
            )
        log.warning("%s came with another %s than its store says; fetching it again.", url, wrong)
        _KNOWN.pop(path, None)
        about = _about(path) or about


def _download(to: Path, url: str, about: About) -> dict[str, str]:
    """Write a file of a store to a path; returns the digests of what came."""
    system = system_of(url)
    if about.size is None or not about.parts:
        again(lambda: system.get_file(url, str(to)), url)
        return _digests(to)
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with to.open("wb") as file:
        for start in range(0, about.size, BLOCK):
            end = min(start + BLOCK, about.size)
            part = functools.partial(_part, system, url, start, end, about.size)
            data = again(part, url, f" at byte {start:,} of {about.size:,}")
            if data is None:  # the server gives no parts after all
                again(lambda: system.get_file(url, str(to)), url)
                return _digests(to)
            for digest in (md5, sha256):
                digest.update(data)
            file.write(data)
    return {"md5": md5.hexdigest(), "sha256": sha256.hexdigest()}


def _part(system: Any, url: str, start: int, end: int, size: int) -> bytes | None:
    """Return bytes of a file; None where a server sends all of it, whatever it is asked for."""
    data = cast(bytes, system.cat_file(url, start=start, end=end))
    if len(data) == end - start:
        return data
    if len(data) == size:
        return None
    raise ConnectionError(f"{len(data):,} of {end - start:,} bytes came")


def _digests(path: Path) -> dict[str, str]:
    digests = {}
    for kind in ("md5", "sha256"):
        with path.open("rb") as stream:
            digests[kind] = hashlib.file_digest(stream, kind).hexdigest()
    return digests


def _differs(url: str, about: About, digests: Mapping[str, str]) -> str | None:
    """Return which digest of what came is not what the store says; None where none is known so."""
    if about.sha256 not in (None, digests["sha256"]):
        return "sha256"
    if about.md5 not in (None, digests["md5"]) and not _is_encrypted(url):
        return "MD5"
    return None


def _is_encrypted(url: str) -> bool:
    """Return whether S3 encrypts a file by a key, so that its tag is no MD5."""
    if not url.startswith("s3://"):
        return False
    bucket, _, key = url.removeprefix("s3://").partition("/")
    system = system_of(url)
    head = again(lambda: system.call_s3("head_object", Bucket=bucket, Key=key), url)
    kind = str(head.get("ServerSideEncryption", ""))
    return kind.startswith("aws:") or "SSECustomerAlgorithm" in head
