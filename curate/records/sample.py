"""Sample: one image of a dataset, identified by its content."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

INDEX_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("key", pa.string()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("label", pa.int64()),
        ("path", pa.string()),
        ("split", pa.string()),
    ]
)
"""Columns of ``shards/index.parquet``; offset and size locate the image bytes in the tar."""


@dataclass(frozen=True)
class Entry:
    """What a source yields: the encoded bytes of one image and what is known of it.

    Attributes:
        path: Where it came from, as the source names it (unique within a source).
        data: Encoded image bytes (PNG, JPEG, ...), exactly as the source has them.
        label: Class index, or None where the source has no label for it.
        metadata: JSON-serialisable extras that travel with the sample.
    """

    path: str
    data: bytes
    label: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One image in the shards: a row of ``shards/index.parquet`` (see ``INDEX_SCHEMA``)."""

    uid: str
    key: str
    shard: str
    offset: int
    size: int
    sha256: str
    width: int
    height: int
    label: int | None
    path: str
    split: str


def content_uid(data: bytes) -> str:
    """Return the first 128 bits of the sha256 of the image bytes, as 32 hex digits."""
    return hashlib.sha256(data).hexdigest()[:32]


def base_uid(uid: str) -> str:
    """Return a uid without its repeat suffix: equal for exact duplicates."""
    return uid[:32]
