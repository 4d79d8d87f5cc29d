"""Before: what shards that are there hold, so that others can be written behind them."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from curate.data.index import Index, open_index
from curate.data.sample import base_uid
from curate.data.shards.repeats import Repeats
from curate.data.shards.tar import BLOCK, SIZE
from curate.runtime.files import read_json

THERE = "already in the run"
"""Why an image is left out that shards hold already."""


@dataclass(frozen=True)
class Before:
    """Shards that are there.

    Attributes:
        folder: Where they lie.
        facts: What ``dataset.json`` says of them.
        index: Their index.
        written: Samples by role.
        extension: What images are called by in the tars.
        labelled: Whether every sample has a member for its label.
        digests: Sum of the sha256s of uid, label and split of each sample.
        contents: Counts what they hold, by the uids of contents.
    """

    folder: Path
    facts: dict[str, Any]
    index: Index
    written: Counter[str]
    extension: str
    labelled: bool
    digests: int
    contents: Repeats

    @classmethod
    def of(cls, folder: Path, scratch: Path) -> Before:
        """Read what a folder of shards holds, a shard at a time.

        Args:
            folder: Of the shards.
            scratch: What is remembered of each sample lies in this folder, without a name.

        Raises:
            DataError: If they are not what was written.
        """
        facts, index = read_json(folder / "dataset.json"), open_index(folder)
        digests, contents = 0, Repeats(scratch)
        for part in index.parts(["uid", "label", "split"]):
            for row in part.to_pylist():
                digests += row_digest(row["uid"], row["label"], row["split"])
                contents.number(base_uid(row["uid"]))
        names = _members(folder / next(iter(facts["shards"])))
        written = Counter({role: split["written"] for role, split in facts["splits"].items()})
        return cls(
            folder=folder,
            facts=facts,
            index=index,
            written=written,
            extension=names[0].rpartition(".")[2],
            labelled=names[1].endswith(".cls"),
            digests=digests,
            contents=contents,
        )

    def holds(self, sha256: str) -> bool:
        """Return whether an image of this content is there."""
        return self.contents.count(sha256) > 0

    def copy_index(self, rows: pq.ParquetWriter) -> None:
        """Write the rows of the index, a row group a shard."""
        for part in self.index.parts():
            rows.write_table(part)

    def rejected(self) -> str:
        """Return what was listed of what could not be written."""
        path = self.folder / "rejected.jsonl"
        return path.read_text(encoding="utf-8") if path.is_file() else ""


def row_digest(uid: str, label: int | None, split: str) -> int:
    """Return what a sample adds to the sum that a dataset's fingerprint is made of."""
    row = f"{uid} {'' if label is None else label} {split}"
    return int.from_bytes(hashlib.sha256(row.encode()).digest())


def _members(tar: Path) -> tuple[str, str]:
    """Return the names of the first two members of a shard."""
    with tar.open("rb") as stream:
        first = stream.read(BLOCK)
        size = int(first[SIZE], 8)
        stream.seek(BLOCK + size + -size % BLOCK)
        second = stream.read(BLOCK)
    one, two = (head[:100].rstrip(b"\0").decode() for head in (first, second))
    return one, two
