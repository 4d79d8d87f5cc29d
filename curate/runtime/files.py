"""Atomic files: the old content or the new, never a mix, and never a part under a final name.

Also arrays in files without a name, which go when their array does.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import DataError, ResourceError

TEMPORARY = ".tmp"
"""Ending of files that are being written; nobody reads them."""
REFUSED = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
)
"""What the system says when a file cannot be written there."""
NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)
"""What file systems say that sync no folders, such as some that go over a network."""
ABANDONED = 24 * 3600
"""Seconds after which a temporary file that nobody writes to is taken for left behind, whoever
began it: of a process on another machine, or in another container, nobody here knows more."""


def is_folder(path: str | Path) -> bool:
    """Return whether a name from outside leads to a folder; one that no file can have does not."""
    return os.path.isdir(path)  # noqa: PTH112 (Path.is_dir raises for a name that is too long)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it, durably, when the block succeeds.

    Raises:
        ResourceError: If there is no space or no permission.
    """
    # Not tempfile's, which nobody else may read: what the umask says goes for what we write, too.
    temporary = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        raise ResourceError(f"cannot write {path}: {os.strerror(error.errno)}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def beside(path: Path) -> Path:
    """Return a new temporary name beside a path, which says who it belongs to (``stale``)."""
    return path.with_name(f".{path.name}.{owner()}{TEMPORARY}")


def owner() -> str:
    """Return a name that nobody else gives: this machine or container, this process, and chance."""
    return f"{processes_of()}-{os.getpid()}-{secrets.token_hex(4)}"


@functools.cache
def processes_of() -> str:
    """Return 8 hex digits of what process numbers are unique in: this boot, this container."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        known = f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 (no path)
    except OSError:
        known = socket.gethostname()
    return hashlib.sha256(known.encode()).hexdigest()[:8]


def alive(pid: int) -> bool:
    """Return whether a process of this machine (``processes_of``) is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def stale(temporary: Path) -> bool:
    """Return whether a temporary file or folder was left by a process that is no more.

    One of this machine that is dead, by its number; one of another machine may be at work, so that
    what it writes is let alone until it was not written to for ``ABANDONED`` seconds.
    """
    said = re.search(
        rf"\.([0-9a-f]{{8}})-(\d+)-[0-9a-f]{{8}}{re.escape(TEMPORARY)}$", temporary.name
    )
    if said and said[1] == processes_of() and not alive(int(said[2])):
        return True
    try:
        touched = temporary.lstat().st_mtime
    except OSError:  # gone meanwhile
        return False
    return time.time() - touched > ABANDONED


def sweep(found: Iterable[Path]) -> None:
    """Remove those of some temporary files and folders that are ``stale``."""
    for path in found:
        if not stale(path):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


class WrittenBack:
    """A stream whose bytes go to disk while more are written, so that the last sync is short."""

    EVERY = 2**23
    """Bytes between two syncs; none begins before the last has ended."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._due = self.EVERY
        self._pool = ThreadPoolExecutor(1)
        self._sync: Future[None] | None = None

    def write(self, data: bytes, /) -> None:
        """Write to the stream.

        Raises:
            OSError: If this or an earlier write failed; no later sync would tell of the earlier.
        """
        self._stream.write(data)
        self._due -= len(data)
        if self._due > 0 or not (self._sync is None or self._sync.done()):
            return
        if self._sync is not None:
            self._sync.result()
        self._stream.flush()
        self._sync = self._pool.submit(os.fdatasync, self._stream.fileno())
        self._due = self.EVERY

    def __enter__(self) -> WrittenBack:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown()
        if kind is None and self._sync is not None:
            self._sync.result()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # The file itself is on the disk; when its name is, such a file system decides alone.
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys, so that equal content is equal bytes."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_table(path: Path, table: pa.Table, *, group: int | None = None) -> None:
    """Write a parquet file atomically, in row groups of ``group`` rows (Arrow's default)."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", row_group_size=group)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; one that is sealed is held against its checksum, which is left out.

    Raises:
        DataError: If the file is missing, is no JSON object, or changed since it was sealed.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {path}: {error}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a JSON object.")
    if "checksum" in content and sealed(content) != content:
        raise DataError(
            f"{path} changed since it was written; put back what it was, or have it made again."
        )
    return {key: value for key, value in content.items() if key != "checksum"}


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a JSON object with the checksum of its other content, by which a change shows."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return {**rest, "checksum": hashlib.sha256(text.encode()).hexdigest()[:32]}


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def need_space(folder: Path, needed: int, what: str) -> None:
    """Check that ``needed`` bytes fit on the disk of ``folder``.

    Raises:
        ResourceError: If they do not.
    """
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise ResourceError(
            f"{what} needs {needed / 2**30:.1f} GiB in {folder}, where {free / 2**30:.1f} are free."
        )


CHUNK = 2**20


def on_disk(shape: int | tuple[int, ...], dtype: Any, folder: Path) -> np.ndarray:
    """Return an array of zeros that lies in a file, whose pages the system takes back as it needs.

    The file has no name and is gone with the array, or with the process, however that ends.

    Args:
        shape: As for ``numpy.zeros``, and so is ``dtype``.
        dtype: No objects.
        folder: Where there is room; it is made.

    Raises:
        ResourceError: If there is not.
    """
    kind, sizes = np.dtype(dtype), (shape,) if isinstance(shape, int) else shape
    size = math.prod(sizes) * kind.itemsize
    if not size:
        return np.zeros(sizes, kind)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            # Written, not only sized: a page that finds no room later kills the process.
            for start in range(0, size, CHUNK):
                _write(file.fileno(), bytes(min(CHUNK, size - start)))
            return np.asarray(np.memmap(file, kind, "r+", shape=sizes))
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        what = f"{size:,} bytes of working space in {folder}"
        raise ResourceError(f"cannot write {what}: {os.strerror(error.errno)}.") from error


def nameless(folder: Path) -> BinaryIO:
    """Return a new file in a folder, which is made, that has no name and is gone when closed.

    Raises:
        ResourceError: If it cannot be written there.
    """
    with writing(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))


@contextlib.contextmanager
def writing(what: str) -> Iterator[None]:
    """Turn what the system says when something cannot be written into an error that names it.

    Raises:
        ResourceError: If there is no space or no permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        raise ResourceError(f"cannot write {what}: {os.strerror(error.errno)}.") from error


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
