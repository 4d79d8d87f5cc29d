"""The lock of a run: one process at a time, told by machine, number and time.

The operating system frees it when the process dies. What it cannot free, the lock of a machine that
went away without a word to the file system that both have, is taken by deleting ``.lock``. A lock
is on the file and not on its name, so that whoever comes next locks a new one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import filelock

from curate.errors import DataError, InUseError, ResourceError
from curate.runtime.files import alive, processes_of, read_json, write_json

LOCK = ".lock"
OWNER = ".owner.json"
"""Says who holds the lock."""


def in_use(path: Path) -> bool:
    """Return whether another process holds a run directory."""
    try:
        with filelock.FileLock(path / LOCK, timeout=0):
            return False
    except filelock.Timeout:
        return True


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run directory for this process.

    Raises:
        InUseError: At once, if another process holds it; host, pid and time are named.
        ResourceError: If its file system has no locks.
    """
    path.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise InUseError(_in_use(path)) from error
    except OSError as error:
        raise ResourceError(
            f"cannot lock {path}: {error.strerror}. Use a file system that has locks, or mount it "
            "with them (docs/scale.md)."
        ) from error
    owner = path / OWNER
    me = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "processes": processes_of(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }
    try:
        write_json(owner, me)
        yield
    finally:
        # Another's, where the lock was taken from this process as from a dead one.
        with contextlib.suppress(DataError):
            if read_json(owner) == me:
                owner.unlink()
        lock.release()


def _in_use(path: Path) -> str:
    """Return who holds a run, since when, and what to do."""
    try:
        owner = read_json(path / OWNER)
        pid, host = int(owner["pid"]), owner["host"]
    except (DataError, KeyError, TypeError, ValueError):
        return f"run {path} is in use; wait for it, or stop it."
    since = f" since {owner['since']}" if "since" in owner else ""
    text = f"run {path} is in use (process {pid} on {host}{since}); wait for it, or stop it."
    if owner.get("processes") == processes_of() and alive(pid):
        return text
    return f"{text} If it is dead for good, delete {path / LOCK} and type the command again."
