"""Arrays in files without a name: what grows with a dataset and is not to stay in memory."""

from __future__ import annotations

import math
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from curate.atomic import REFUSED
from curate.errors import ResourceError

CHUNK = 2**20


def on_disk(shape: int | tuple[int, ...], dtype: Any, folder: Path) -> np.ndarray:
    """Return an array of zeros that lies in a file, whose pages the system takes back as it needs.

    The file has no name and is gone with the array, or with the process, however that ends.

    Args:
        shape: As for ``numpy.zeros``, and so is ``dtype``.
        dtype: No objects.
        folder: Where there is room; it is made.

    Raises:
        ResourceError: If there is not.
    """
    kind, sizes = np.dtype(dtype), (shape,) if isinstance(shape, int) else shape
    size = math.prod(sizes) * kind.itemsize
    if not size:
        return np.zeros(sizes, kind)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            # Written, not only sized: a page that finds no room later kills the process.
            for start in range(0, size, CHUNK):
                _write(file.fileno(), bytes(min(CHUNK, size - start)))
            return np.asarray(np.memmap(file, kind, "r+", shape=sizes))
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        what = f"{size:,} bytes of working space in {folder}"
        raise ResourceError(f"cannot write {what}: {os.strerror(error.errno)}.") from error


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
