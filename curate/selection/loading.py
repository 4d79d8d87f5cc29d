"""Loading: what a manifest keeps, as a dataset of PyTorch, straight from the shards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image
from torch.utils.data import Dataset

from curate.data.canvas import decode
from curate.data.sample import Sample, base_uid, content_uid
from curate.data.shards import Reader
from curate.errors import DataError
from curate.runtime.files import read_json

Transform = Callable[[Image.Image], Any]
NO_LABEL = -1
"""Label of a sample without one."""


class Subset(Dataset[tuple[Any, int]]):
    """Some samples of a dataset as (image, label), as torchvision's ImageFolder gives them.

    An image is a PIL image in mode RGB, upright, or what ``transform`` makes of it. A label is that
    of ``classes``; -1 stands for none. Every image is held against its digest as it is read.

    Attributes:
        classes: Name of each class by its label; empty where labels have none.
        uids: (n,) uids, in the order of the index.
    """

    def __init__(self, shards: Path, rows: np.ndarray, transform: Transform | None = None) -> None:
        """Take samples from a folder of shards.

        Args:
            shards: The folder.
            rows: (n,) positions in its index, ascending.
            transform: What to make of an image; None leaves it.

        Raises:
            DataError: If the index is missing or changed.
        """
        self._reader, self._transform = Reader(shards), transform
        self._index = self._reader.index().take(pa.array(rows))
        self.classes = self._reader.classes
        self.uids = self._index["uid"].to_pylist()

    def __len__(self) -> int:
        """Return the number of samples."""
        return int(self._index.num_rows)

    def __getitem__(self, place: int) -> tuple[Any, int]:
        """Return image and label of one sample.

        Raises:
            DataError: If the shard is missing, cut short or changed.
        """
        (row,) = self._index.slice(range(len(self))[place], 1).to_pylist()
        return self._shown(self._reader.one(Sample(**row)), row["label"])

    def stream(self, *, shuffle: int = 0) -> Any:
        """Return the samples as a ``webdataset.WebDataset`` of (image, label), tar by tar.

        Tars are read from the beginning to the end, which suits disks and networks; workers of a
        DataLoader and ranks share the tars among them. Chain its methods (``.batched``,
        ``.with_length``...) as with any other.

        Args:
            shuffle: Samples to hold and draw from, which shuffles the tars as well; 0 keeps the
                order.

        Raises:
            DataError: If a tar is missing or has another size than it had: what reads tars one
                after the other would stop early without a word. While reading: if an image changed.
        """
        import webdataset

        shards = read_json(self._reader.folder / "dataset.json")["shards"]
        tars = []
        for name in dict.fromkeys(self._index["shard"].to_pylist()):
            tar = self._reader.folder / name
            size = tar.stat().st_size if tar.is_file() else None
            if size != shards[name]["size"]:
                actual = "missing" if size is None else f"of {size:,} bytes"
                raise DataError(f"{tar} is {actual}; {shards[name]['size']:,} were written.")
            tars.append(str(tar))
        kept = _Kept(frozenset(self._index["key"].to_pylist()), self._shown)
        dataset = webdataset.WebDataset(
            tars,
            shardshuffle=len(tars) if shuffle else False,
            nodesplitter=webdataset.split_by_node,
            empty_check=False,
        )
        dataset = dataset.compose(kept)
        return dataset.shuffle(shuffle) if shuffle else dataset

    def _shown(self, data: bytes, label: int | None) -> tuple[Any, int]:
        image = Image.fromarray(decode(data, channels=3).transpose(1, 2, 0))
        shown = image if self._transform is None else self._transform(image)
        return shown, NO_LABEL if label is None else label


class _Kept:
    """Picks the kept samples out of a stream of curate's tars; workers can be sent it."""

    def __init__(
        self, keys: frozenset[str], shown: Callable[[bytes, int | None], tuple[Any, int]]
    ) -> None:
        self.keys, self.shown = keys, shown

    def __call__(self, samples: Iterator[dict[str, Any]]) -> Iterator[tuple[Any, int]]:
        for sample in samples:
            if sample["__key__"] not in self.keys:
                continue
            uid = json.loads(sample["json"])["uid"]
            image = next(
                value
                for name, value in sample.items()
                if name not in ("json", "cls") and not name.startswith("__")
            )
            if content_uid(image) != base_uid(uid):
                where = f"{sample['__url__']} (sample {sample['__key__']})"
                raise DataError(f"{where} changed since it was written.")
            yield self.shown(image, int(sample.get("cls", NO_LABEL)))
