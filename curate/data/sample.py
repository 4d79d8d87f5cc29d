"""Sample: one image of a dataset, identified by its content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

INDEX_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("key", pa.string()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("sha256", pa.string()),
        ("crc32", pa.uint32()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("label", pa.int64()),
        ("path", pa.string()),
        ("split", pa.string()),
    ]
)
"""Columns of ``shards/index.parquet``: offset and size locate the image bytes in the tar, sha256 is
of them; crc32 is of the sample's whole record, from its first member's header to the next sample's:
headers, image, label, metadata and what they are filled up with."""


@dataclass(frozen=True)
class Entry:
    """What a source yields: the encoded bytes of one image and what is known of it.

    Attributes:
        path: Where it came from, as the source names it (unique within a source).
        data: Encoded image bytes (PNG, JPEG, ...), exactly as the source has them.
        label: Class index, or None where the source has no label for it.
        metadata: JSON-serialisable extras that travel with the sample.
        uid: The one that it has already, where it comes from shards; None gives it one.
    """

    path: str
    data: bytes
    label: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    uid: str | None = None


@dataclass(frozen=True)
class Sample:
    """One image in the shards: a row of ``shards/index.parquet`` (see ``INDEX_SCHEMA``)."""

    uid: str
    key: str
    shard: str
    offset: int
    size: int
    sha256: str
    crc32: int
    width: int
    height: int
    label: int | None
    path: str
    split: str


def packed_uids(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return a column of uids as an (N,) bytes array, which takes no object a sample."""
    out = np.empty(len(column), dtype=f"S{longest(column)}")
    for start in range(0, len(column), 2**14):
        part = column.slice(start, 2**14)
        whole = part if isinstance(part, pa.Array) else part.combine_chunks()
        out[start : start + len(whole)] = packed(whole, out.itemsize)
    return out


def packed(texts: pa.Array, width: int) -> np.ndarray:
    """Return ASCII strings of at most ``width`` characters as an (n,) bytes array."""
    padded = pc.utf8_rpad(texts, width, padding="\0")
    return np.frombuffer(padded.buffers()[2], dtype=f"S{width}", count=len(padded))


def longest(texts: pa.Array | pa.ChunkedArray) -> int:
    """Return the length of the longest of some strings in bytes, at least 1."""
    return pc.max(pc.binary_length(texts)).as_py() or 1


def uid_of(sha256: str) -> str:
    """Return the uid of an image by its sha256: the first 128 bits, as 32 hex digits."""
    return sha256[:32]


def content_uid(data: bytes) -> str:
    """Return the uid of image bytes."""
    return uid_of(hashlib.sha256(data).hexdigest())


def base_uid(uid: str) -> str:
    """Return a uid without its repeat suffix: equal for exact duplicates."""
    return uid[:32]
