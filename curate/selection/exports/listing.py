"""list: the original path of every kept sample and its label, a line each, for readers of folders.

``torchvision.datasets.ImageFolder(ROOT, is_valid_file=...)`` takes the files of ROOT that a list
names, and ``timm.data.readers.ReaderImageFolder`` goes through its ``samples``, which are pairs of
path and label. A line is PATH, a space and LABEL; ``line.rpartition(" ")`` tells them apart.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from curate.data.shards import Reader
from curate.runtime.files import replacing
from curate.runtime.options import option
from curate.runtime.progress import Progress
from curate.selection.exports.subset import check_lines, kept_rows
from curate.selection.manifest import Manifest

NO_LABEL = -1
"""What stands for none."""


def write(manifest: Manifest, shards: Path, out: Path, progress: Progress) -> int:
    """Write a line ``PATH LABEL`` of each kept sample in index order; returns how many.

    Labels are those of the shards, which number the classes in the order of ``dataset.json``.

    Raises:
        DataError: If a path holds a line break, or bytes that are no UTF-8.
    """
    reader = Reader(shards)
    rows = kept_rows(manifest, reader)
    index = reader.index(["path", "label"]).take(pa.array(rows))
    otherwise = f"use {option(to='paths')} with {option(null=True)}, or {option(to='csv')}"
    check_lines(index["path"], otherwise=otherwise)
    done = 0
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        for batch in index.to_batches(max_chunksize=1 << 16):
            paths, labels = (batch[name] for name in ("path", "label"))
            pairs = zip(paths.to_pylist(), labels.fill_null(NO_LABEL).to_pylist(), strict=True)
            stream.writelines(f"{path} {label}\n" for path, label in pairs)
            done += len(batch)
            progress("export", done, len(rows))
    return len(rows)
