"""torchvision: its data sets that are arrays, and those whose splits lie in files of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from curate.data.decoding import encode_png
from curate.data.sample import Entry
from curate.data.sources.base import Choice, Select, Source, Whole, no_columns
from curate.data.sources.idx import open_idx
from curate.data.splits import find
from curate.errors import DataError, unknown
from curate.runtime.options import option

ROOT = Path("data")
"""Where data sets lie unless ``--data`` says otherwise."""
IN_IDX = ("MNIST", "FashionMNIST", "KMNIST")
"""Data sets of MNIST-format files, which torchvision would also take from a foreign ``.pt``."""
_FLAG = {"train": {"train": True}, "test": {"train": False}}
_NAME = {name: {"split": name} for name in ("train", "test", "extra", "unlabeled")}
DATASETS: dict[str, dict[str, dict[str, Any]]] = {
    **dict.fromkeys((*IN_IDX, "USPS", "CIFAR10", "CIFAR100"), _FLAG),
    "SVHN": {name: _NAME[name] for name in ("train", "test", "extra")},
    "STL10": {name: _NAME[name] for name in ("train", "test", "unlabeled")},
    # Image files: the "loader" gives their paths, so that their bytes stay as they are.
    "Food101": {name: {"split": name, "loader": Path} for name in ("train", "test")},
    "Flowers102": {name: {"split": name, "loader": Path} for name in ("train", "val", "test")},
}
"""Data sets by torchvision's name, each with what selects its splits."""


@dataclass(frozen=True)
class Torchvision(Whole):
    """One split of a torchvision data set, loaded."""

    name: str
    split: str
    splits: tuple[str, ...]
    classes: tuple[str, ...]
    dataset: Any
    rejected: list[tuple[str, str]] = field(default_factory=list)

    def paths(self) -> Iterator[str]:
        """Return ``train/00000`` and so on."""
        return (self._path(i) for i in range(len(self.dataset)))

    def _path(self, i: int) -> str:
        return f"{self.split}/{i:05d}"

    def entries(self, select: Select | None = None) -> Iterator[Entry]:
        """Yield the images: arrays as PNG, files as they are."""
        for i in range(len(self.dataset)):
            if select is None or select(self._path(i)):
                image, label = self.dataset[i]
                known = int(label) if label is not None and int(label) >= 0 else None
                if not isinstance(image, Path):
                    yield Entry(self._path(i), encode_png(np.asarray(image)), known)
                    continue
                try:
                    data = image.read_bytes()
                except OSError as error:
                    self.rejected.append((self._path(i), f"cannot be read: {error.strerror}"))
                    continue
                yield Entry(self._path(i), data, known)


def open_torchvision(where: str, choice: Choice, data: Path | None) -> Source:
    """Open a data set of ``DATASETS``; it is downloaded where it is not there.

    Raises:
        DataError: If it is not there and cannot be downloaded.
    """
    if where not in DATASETS:
        raise unknown("torchvision data set", where, DATASETS)
    splits = tuple(DATASETS[where])
    no_columns("torchvision", choice)
    split = find(choice.split, splits, f"torchvision:{where}")
    from torchvision import datasets

    root, kind = data or ROOT, getattr(datasets, where)
    classes = tuple(getattr(kind, "classes", ()))
    try:
        if where in IN_IDX:
            source = open_idx(str(_idx_folder(kind, root)), Choice(split), None)
            name = f"torchvision:{where}"
            return dataclasses.replace(source, name=name, splits=splits, classes=classes)
        # What torchvision unpickles of these (CIFAR) has passed its md5 check before.
        try:
            dataset = kind(root=root, download=False, **DATASETS[where][split])
        except (RuntimeError, FileNotFoundError):
            dataset = kind(root=root, download=True, **DATASETS[where][split])
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(
            f"torchvision:{where} is not in {root} and cannot be downloaded ({reason}). "
            f"Put it there as torchvision lays it out, or name the folder with {option(data=...)}."
        ) from error
    classes = tuple(getattr(dataset, "classes", ()))
    return Torchvision(f"torchvision:{where}", split, splits, classes, dataset)


def _idx_folder(kind: Any, root: Path) -> Path:
    """Return the folder of MNIST-format files that torchvision would use, filled if need be."""
    from torchvision.datasets.utils import download_url

    folder = root / str(kind.__name__) / "raw"
    for name, md5 in kind.resources:
        if not (folder / name).is_file() and not (folder / name.removesuffix(".gz")).is_file():
            for mirror in kind.mirrors:
                try:
                    download_url(f"{mirror}{name}", str(folder), filename=name, md5=md5)
                    break
                except (RuntimeError, OSError):
                    if mirror == kind.mirrors[-1]:
                        raise
    return folder
