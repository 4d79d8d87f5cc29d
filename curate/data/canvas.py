"""Images as arrays: one decoded, or all of a dataset on the canvas that every view is cut from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps

from curate.data.decoding import picture, quiet, reduced
from curate.data.sample import packed_uids
from curate.data.shards import Reader
from curate.errors import DataError
from curate.runtime.files import need_space, replacing
from curate.runtime.progress import Progress, silent
from curate.runtime.threads import in_order

Fit = Literal["crop", "pad", "stretch"]
"""How an image that is not square fills the canvas: cut at the centre, ringed in black, or bent."""
RESAMPLE = Image.Resampling.BICUBIC
"""With Pillow's antialiasing: every source pixel has its share where an image shrinks."""


def decode(data: bytes, *, channels: int) -> np.ndarray:
    """Decode an image to (C, H, W) uint8, upright, transparency on white, 16 bits as 8.

    Args:
        data: An encoded image in one of ``decoding.FORMATS``.
        channels: 1 for grey (ITU-R 601 luma), 3 for RGB.

    Raises:
        DataError: If it is no image, is damaged, or is too large.
    """
    return _array(picture(data), channels)


def _array(image: Image.Image, channels: int) -> np.ndarray:
    """Return a picture in mode L or RGB as (C, H, W) uint8."""
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


@dataclass(frozen=True)
class Canvas:
    """Every image of a dataset, decoded and brought to one size.

    Attributes:
        array: (N, C, H, W) uint8, memory-mapped, in the order of the index.
        uids: (N,) bytes, the uid of each row.
    """

    array: np.ndarray
    uids: np.ndarray

    @cached_property
    def _order(self) -> np.ndarray:
        return np.argsort(self.uids, kind="stable")

    def rows(self, uids: np.ndarray) -> np.ndarray:
        """Return the row of each uid, (n,) int64.

        Raises:
            DataError: If a uid is not in the dataset.
        """
        wanted = np.asarray(uids)
        if wanted.dtype.kind != "S":
            wanted = np.array([str(uid).encode() for uid in uids], dtype=np.bytes_)
        place = np.searchsorted(self.uids, wanted, sorter=self._order)
        rows = self._order[np.minimum(place, len(self.uids) - 1)]
        unknown = self.uids[rows] != wanted
        if unknown.any():
            first = wanted[unknown][0].decode()
            raise DataError(f"{unknown.sum()} uids are not in this dataset; the first is {first}.")
        return rows.astype(np.int64)


def build_canvas(
    shards: Path,
    path: Path,
    *,
    size: int,
    channels: int,
    fit: Fit = "crop",
    progress: Progress = silent,
) -> None:
    """Decode every image of ``shards`` once into the memory map ``path``, an (N, C, H, W) .npy.

    Args:
        shards: Folder of shards; every image is checked against its hash.
        path: Written under a temporary name and moved there when whole.
        size: Side of the canvas in pixels; an image that has it already is not resampled.
        channels: 1 or 3.
        fit: How an image that is not square fills the canvas.
        progress: Progress callback.

    Raises:
        DataError: If a shard is damaged.
        ResourceError: If the disk is too small.
    """
    reader = Reader(shards)
    n = len(reader)
    shape = (n, channels, size, size)
    need_space(path.parent, math.prod(shape), "the decoded dataset")

    def canvas(data: bytes) -> np.ndarray:
        return _array(_fitted(data, size, fit), channels)

    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with replacing(path) as temporary, temporary.open("wb") as stream, quiet():
        # Not through a memory map: that kills the process where the disk is full.
        np.lib.format.write_array_header_1_0(stream, header)
        for row, image in enumerate(in_order(canvas, reader.read(range(n)), size=len)):
            stream.write(image.data)
            progress("decode", row + 1, n)


def _fitted(data: bytes, size: int, fit: Fit) -> Image.Image:
    """Decode an image and bring it to the canvas."""
    if fit == "pad":
        return ImageOps.pad(picture(data), (size, size), RESAMPLE, color="black")
    image, (left, top, right, bottom) = reduced(data, side=size)
    if image.size == (size, size):
        return image
    if fit == "crop":
        longer = (right - left) - (bottom - top)
        across, down = max(longer, 0.0) / 2, max(-longer, 0.0) / 2
        left, top, right, bottom = left + across, top + down, right - across, bottom - down
    return image.resize((size, size), RESAMPLE, box=(left, top, right, bottom))


def open_canvas(path: Path, index: pa.Table) -> Canvas:
    """Open a canvas that ``build_canvas`` wrote for the samples of ``index``, of which uid is used.

    Raises:
        DataError: If it is missing, damaged, or of another number of samples.
    """
    return Canvas(open_pixels(path, index.num_rows), packed_uids(index["uid"]))


def open_pixels(path: Path, n: int) -> np.ndarray:
    """Return the array of the canvas at ``path``: n images, (n, C, H, W) uint8, memory-mapped.

    Raises:
        DataError: If it is missing, damaged, or of another number of samples.
    """
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"cannot read {path}: {error}; delete it, it is made again.") from error
    if array.ndim != 4 or array.dtype != np.uint8 or len(array) != n:
        raise DataError(
            f"{path} holds {array.dtype} of shape {array.shape}, not the index's {n} images; "
            "delete it, it is made again."
        )
    return array
