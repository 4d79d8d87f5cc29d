"""Tars whose bytes depend on nothing but names and contents."""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from collections.abc import Iterable
from typing import Protocol

BLOCK = tarfile.BLOCKSIZE
TOGETHER = 2**19
"""Bytes written at a time: each write hands the interpreter to another thread and waits for it, and
so does joining 2**20 bytes."""
IN_HAND = 5 * 2**10
"""Bytes that zlib takes without giving up the interpreter's lock, which takes longer to come back
than they take."""
SIZE, _CHECKSUM = slice(124, 135), slice(148, 156)
"""Where a header has the octal digits of its member's size, and of its own checksum."""
_EMPTY = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
"""Header of a plain file: mode 644, owner and time 0, no name, no bytes."""
_EMPTY_SUM = sum(_EMPTY) - sum(_EMPTY[SIZE]) - sum(_EMPTY[_CHECKSUM]) + 8 * ord(" ")
"""Its checksum, which takes itself for spaces, without the digits of the size."""


class Sink(Protocol):
    """What bytes are written to."""

    def write(self, data: bytes, /) -> object:
        """Take all of ``data``."""


class Tar:
    """Appends samples to a stream; ``size`` and ``sha256`` are of all that was added."""

    def __init__(self, stream: Sink) -> None:
        self.size = 0
        self._stream = stream
        self._digest = hashlib.sha256()
        self._held: list[bytes] = []
        self._flushed = 0

    @property
    def sha256(self) -> str:
        """Digest of all that was added, in hex."""
        self._flush()
        return self._digest.hexdigest()

    def add(self, members: Iterable[tuple[str, bytes]]) -> tuple[int, int]:
        """Append the members of a sample: ASCII names of at most 100 characters, and their bytes.

        Returns:
            Where the first member's bytes begin, and the crc32 of all that was appended.
        """
        pieces: list[bytes] = []
        for name, data in members:
            pieces += (header(name, len(data)), data, bytes(-len(data) % BLOCK))
        record = b"".join(pieces)
        offset = self.size + BLOCK
        self._append(record)
        return offset, _crc32(record)

    def close(self) -> None:
        """Write the end mark, filled up to a record as every tar program does."""
        self._append(bytes(2 * BLOCK))
        self._append(bytes(-self.size % tarfile.RECORDSIZE))
        self._flush()

    def _append(self, data: bytes) -> None:
        self._held.append(data)
        self.size += len(data)
        if self.size - self._flushed >= TOGETHER:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._held)
        self._stream.write(data)
        self._digest.update(data)
        self._held.clear()
        self._flushed = self.size


def _crc32(data: bytes) -> int:
    """Return zlib's crc32, in pieces too small for zlib to let another thread in meanwhile."""
    value, view = 0, memoryview(data)
    for start in range(0, len(view), IN_HAND):
        value = zlib.crc32(view[start : start + IN_HAND], value)
    return value


def header(name: str, size: int) -> bytes:
    """Return a USTAR header, as ``tarfile.TarInfo.tobuf`` does in many times the time."""
    encoded, digits = name.encode("ascii"), b"%011o" % size
    assert len(encoded) <= 100 and len(digits) == 11
    buffer = bytearray(_EMPTY)
    buffer[: len(encoded)] = encoded
    buffer[SIZE] = digits
    buffer[_CHECKSUM] = b"%06o\0 " % (_EMPTY_SUM + sum(encoded) + sum(digits))
    return bytes(buffer)
