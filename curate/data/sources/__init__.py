"""Sources: where images come from, one kind a file; each yields ``Entry`` by ``Entry``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from curate.data.sources import digits, folder, huggingface, idx, torchvision, webdataset
from curate.data.sources.base import Source
from curate.errors import UsageError, unknown

__all__ = ["SOURCES", "Source", "open_source"]

SOURCES: dict[str, Callable[[str, str, Path | None], Source]] = {
    "digits": digits.open_digits,
    "folder": folder.open_folder,
    "idx": idx.open_idx,
    "torchvision": torchvision.open_torchvision,
    "hf": huggingface.open_huggingface,
    "wds": webdataset.open_webdataset,
}
"""Sources by name: (what follows the colon, split, ``--data``) -> the opened source."""


def open_source(name: str, *, split: str, data: Path | None = None) -> Source:
    """Open a SOURCE.

    Args:
        name: ``KIND``, ``KIND:WHERE`` with a kind of ``SOURCES``, or the path of a folder.
        split: Which split of it.
        data: Where it lies on this machine; replaces WHERE.

    Raises:
        UsageError: For an unknown kind (the nearest is named), or a place that is missing.
        DataError: If there is no such split, or what is there cannot be read.
    """
    kind, _, where = name.partition(":")
    if kind in SOURCES:
        home = str(Path(where).expanduser()) if where.startswith("~") else where
        return SOURCES[kind](home, split, data)
    if name and Path(name).is_dir():
        return folder.open_folder(name, split, data)
    if "/" in kind or kind.startswith("."):
        raise UsageError(f"source {name!r}: there is no such folder.")
    raise unknown("source", kind, SOURCES)
