"""tars: the kept images as shards of curate's own: WebDataset tars with an index.

webdataset and Hugging Face's ``webdataset`` builder read the tars, and curate reads the folder as a
source, ``wds:OUT``, in which an image has the uid that it had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.data.sample import Entry
from curate.data.shards import Reader
from curate.data.shards import write as write_shards
from curate.data.sources.base import Select
from curate.runtime.progress import Progress
from curate.selection.exports.subset import built, kept_rows
from curate.selection.manifest import Manifest
from curate.selection.selection import described


def write(manifest: Manifest, shards: Path, out: Path, progress: Progress) -> int:
    """Write the kept images with their labels and metadata into ``out``; returns how many.

    Raises:
        DataError: If an image, or what goes with it, is not what was written.
    """
    reader = Reader(shards)
    rows = kept_rows(manifest, reader)
    source = Kept(reader, rows, chosen={"selected": described(manifest.facts)})
    with built(out) as folder:
        write_shards(
            [(source, "train")],
            folder,
            max_bad=0.0,
            progress=lambda _, done, total: progress("export", done, total),
        )
    return len(rows)


@dataclass(frozen=True)
class Kept:
    """What a manifest keeps of a dataset, as a source of images."""

    reader: Reader
    rows: np.ndarray
    chosen: Mapping[str, str]
    name: str = "the manifest"
    split: str = "train"
    splits: tuple[str, ...] = ("train",)
    rejected: list[tuple[str, str]] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the dataset's classes, also of those of which nothing is kept."""
        return self.reader.classes

    def paths(self) -> Iterator[str]:
        """Return the paths that the images had in their source."""
        yield from self.reader.index(["path"])["path"].take(pa.array(self.rows)).to_pylist()

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the images in the order of the index, checked as they are read."""
        for sample, data, metadata in self.reader.samples(self.rows):
            if select is None or select(sample.path):
                yield Entry(sample.path, data, sample.label, metadata, sample.uid)
