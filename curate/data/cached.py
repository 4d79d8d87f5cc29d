"""Room in the local cache of files that lie elsewhere: its size, what goes first, what stays."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import threading
from pathlib import Path
from typing import BinaryIO, NoReturn

import filelock

from curate.data.addresses import address, cache
from curate.errors import ResourceError, UsageError
from curate.runtime.files import TEMPORARY, need_space, sweep, writing

GIB = 100.0
"""Size of the cache unless ``CURATE_CACHE_GIB`` says another."""
_HELD: dict[Path, int] = {}
"""Bytes in each cache, as far as this process knows."""
_LOCK = threading.Lock()
_PINNED: dict[Path, BinaryIO] = {}
"""Folders that this process reads as they are; the lock of each keeps others from emptying it."""


def bound() -> int:
    """Return how many bytes the cache may hold.

    Raises:
        UsageError: If ``CURATE_CACHE_GIB`` is no size.
    """
    text = os.environ.get("CURATE_CACHE_GIB", str(GIB))
    try:
        size = float(text) * 2**30
        return int(size) if size > 0 else _no_size(text)
    except (ValueError, OverflowError):
        return _no_size(text)


def _no_size(text: str) -> NoReturn:
    raise UsageError(f"CURATE_CACHE_GIB={text}: write a number of GiB above 0.") from None


def facts_of(path: Path) -> Path:
    """Return where the cache keeps what it knows of a file."""
    digest = hashlib.sha256(str(address(path)).encode()).hexdigest()
    return cache() / "facts" / digest[:2] / f"{digest[2:32]}.json"


def make_room(size: int) -> None:
    """Remove what was not used for longest, until as many bytes fit into the cache.

    Raises:
        ResourceError: If they cannot.
    """
    most, home = bound(), cache()
    if size > most:
        raise ResourceError(
            f"{size / 2**30:.1f} GiB do not fit into the cache {home}, which takes "
            f"{most / 2**30:.1f}; set CURATE_CACHE_GIB."
        )
    with _LOCK:
        held = _HELD.get(home)
        if held is None or held + size > most:
            with writing(str(home)):
                home.mkdir(parents=True, exist_ok=True)
                with filelock.FileLock(home / ".lock"):
                    held = _emptied(home, most - size)
        _HELD[home] = held + size
    need_space(home, size, "what is fetched")


def _emptied(home: Path, most: int) -> int:
    """Remove files until the cache has at most ``most`` bytes; returns how many it has."""
    sweep((home / "arriving").glob(f".*{TEMPORARY}"))
    pinned = _pinned_by_anyone(home)
    entries: list[tuple[float, int, Path]] = []
    held = 0
    for folder, _, inside in os.walk(home / "files"):
        for name in inside:
            path = Path(folder, name)
            with contextlib.suppress(OSError):
                size = path.stat().st_size
                held += size
                if not any(path == root or root in path.parents for root in pinned):
                    facts = facts_of(path)
                    used = facts.stat().st_mtime if facts.exists() else 0.0
                    entries.append((used, size, path))
    for _, size, path in sorted(entries):
        if held <= most:
            break
        path.unlink(missing_ok=True)
        facts_of(path).unlink(missing_ok=True)
        held -= size
    if held > most:
        raise ResourceError(
            f"the cache {home} is full of what is being read; set CURATE_CACHE_GIB, or wait."
        )
    return held


def pin(root: Path) -> None:
    """Keep a folder whole for as long as this process is there."""
    if root in _PINNED:
        return
    pins = cache() / "pins"
    with writing(str(pins)):
        pins.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(cache() / ".lock"):
            pin = (pins / hashlib.sha256(str(root).encode()).hexdigest()[:32]).open("a+b")
            fcntl.flock(pin, fcntl.LOCK_SH)
            if not pin.tell():
                pin.write(os.fsencode(root))
                pin.flush()
    _PINNED[root] = pin


def _pinned_by_anyone(home: Path) -> list[Path]:
    """Return the folders that processes keep; forgets those of processes that are gone."""
    pinned = []
    for path in (home / "pins").glob("*"):
        with path.open("rb") as pin:
            try:
                fcntl.flock(pin, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            except OSError:
                pinned.append(Path(os.fsdecode(pin.read())))
    return pinned
