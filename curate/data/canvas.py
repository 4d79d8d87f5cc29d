"""Images as arrays: one decoded, or all of a dataset on the canvas that every view is cut from."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from PIL import Image, ImageOps

from curate.data.decoding import Box, picture, quiet, reduced
from curate.data.sample import packed_uids
from curate.data.shards import Reader
from curate.errors import DataError
from curate.runtime.files import need_space, replacing
from curate.runtime.progress import Progress, silent
from curate.runtime.threads import in_order

Fit = Literal["crop", "pad", "stretch"]
"""How an image that is not square fills the canvas: cut at the centre, ringed in black, or bent."""
BLOCK_BYTES = 2**20
"""Decoded images are checked in blocks of about this size."""
Interpolation = Literal["bicubic", "bilinear", "nearest"]
RESAMPLE = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}
"""With Pillow's antialiasing, but for the last: every source pixel has its share where an image
shrinks."""


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
        requested = np.asarray(uids)
        if requested.dtype.kind != "S":
            requested = np.array([str(uid).encode() for uid in uids], dtype=np.bytes_)
        place = np.searchsorted(self.uids, requested, sorter=self._order)
        rows = self._order[np.minimum(place, len(self.uids) - 1)]
        unknown = self.uids[rows] != requested
        if unknown.any():
            first = requested[unknown][0].decode()
            raise DataError(f"{unknown.sum()} uids are not in this dataset; the first is {first}.")
        return rows.astype(np.int64)


def build_canvas(
    shards: Path,
    path: Path,
    *,
    size: int,
    channels: int,
    fit: Fit = "crop",
    interpolation: Interpolation = "bicubic",
    progress: Progress = silent,
) -> list[str]:
    """Decode every image of ``shards`` once into the memory map ``path``, an (N, C, H, W) .npy.

    Args:
        shards: Folder of shards; every image is checked against its hash.
        path: Written under a temporary name and moved there when whole.
        size: Side of the canvas in pixels; an image that has it already is not resampled.
        channels: 1 or 3.
        fit: How an image that is not square fills the canvas.
        interpolation: How images are brought to its size.
        progress: Progress callback.

    Returns:
        The sha256 of each block of images (``block_rows``), for ``open_pixels``.

    Raises:
        DataError: If a shard is damaged.
        ResourceError: If the disk is too small.
    """
    reader = Reader(shards)
    n = len(reader)
    shape = (n, channels, size, size)
    need_space(path.parent, math.prod(shape), "the decoded dataset")

    def canvas(data: bytes) -> np.ndarray:
        return on_canvas(data, size=size, channels=channels, fit=fit, interpolation=interpolation)

    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with replacing(path) as temporary, temporary.open("wb") as stream, quiet():
        # Not through a memory map: that kills the process where the disk is full.
        np.lib.format.write_array_header_1_0(stream, header)
        blocks = [hashlib.sha256() for _ in range(0, n, block_rows(shape))]
        for row, image in enumerate(in_order(canvas, reader.read(range(n)), size=len)):
            stream.write(image.data)
            blocks[row // block_rows(shape)].update(image.data)
            progress("decode", row + 1, n)
    return [block.hexdigest() for block in blocks]


def on_canvas(
    data: bytes, *, size: int, channels: int, fit: Fit, interpolation: Interpolation = "bicubic"
) -> np.ndarray:
    """Decode an image and bring it to a canvas, (C, size, size) uint8; arguments as above.

    Raises:
        DataError: As ``decode``.
    """
    return _array(_fitted(data, size, fit, RESAMPLE[interpolation]), channels)


def numbers_on_canvas(values: np.ndarray, *, size: int, fit: Fit, outside: float) -> np.ndarray:
    """Bring one number a pixel to a canvas as ``on_canvas`` brings the image: (size, size).

    The nearest number is taken, and none is made up between two.

    Args:
        values: (H, W), of any type.
        size: Side of the canvas in pixels.
        fit: How an image that is not square fills it.
        outside: What stands where a canvas that was padded shows no image.
    """
    height, width = values.shape
    top = left = 0.0
    down, across = (float(height), float(width))
    if fit == "crop":
        side = min(down, across)
        top, left, down, across = (down - side) / 2, (across - side) / 2, side, side
    longest = max(height, width)
    rows, columns = (
        max(1, round(n / longest * size)) if fit == "pad" else size for n in (height, width)
    )
    row = np.clip(top + (np.arange(rows) + 0.5) * down / rows, 0, height - 1).astype(np.int64)
    column = np.clip(left + (np.arange(columns) + 0.5) * across / columns, 0, width - 1)
    sampled = values[row[:, None], column.astype(np.int64)[None]]
    if fit != "pad":
        return sampled
    out = np.full((size, size), outside, dtype=values.dtype)
    above, before = round((size - rows) * 0.5), round((size - columns) * 0.5)
    out[above : above + rows, before : before + columns] = sampled
    return out


def block_rows(shape: tuple[int, ...]) -> int:
    """Return how many images of an array (N, C, H, W) are checked at a time."""
    return max(1, BLOCK_BYTES // max(1, math.prod(shape[1:])))


def _fitted(data: bytes, size: int, fit: Fit, by: Image.Resampling) -> Image.Image:
    """Decode an image and bring it to the canvas."""

    def padded(whole: Image.Image) -> Image.Image:
        # Where a short side rounds to nothing, Pillow 12 fails and 13 shows black.
        inside = [max(1, round(side / max(whole.size) * size)) for side in whole.size]
        image = whole.resize((inside[0], inside[1]), by)
        return ImageOps.pad(image, (size, size), by, color="black")

    def filled(image: Image.Image, box: Box) -> Image.Image:
        left, top, right, bottom = box
        if image.size == (size, size):
            return image
        if fit == "crop":
            longer = (right - left) - (bottom - top)
            across, down = max(longer, 0.0) / 2, max(-longer, 0.0) / 2
            left, top, right, bottom = left + across, top + down, right - across, bottom - down
        return image.resize((size, size), by, box=(left, top, right, bottom))

    return picture(data, padded) if fit == "pad" else reduced(data, filled, side=size)


def open_canvas(path: Path, index: pa.Table, blocks: Sequence[str] | None = None) -> Canvas:
    """Open a canvas that ``build_canvas`` wrote for the samples of ``index``, of which uid is used.

    Args:
        path: The canvas.
        index: Its samples, in their order.
        blocks: As in ``open_pixels``.

    Raises:
        DataError: If it is missing, damaged, or of another number of samples.
    """
    return Canvas(open_pixels(path, index.num_rows, blocks), packed_uids(index["uid"]))


def open_pixels(path: Path, n: int, blocks: Sequence[str] | None = None) -> np.ndarray:
    """Return the array of the canvas at ``path``: n images, (n, C, H, W) uint8, memory-mapped.

    Args:
        path: The canvas.
        n: How many images it has.
        blocks: What ``build_canvas`` returned: a block is held against its digest when one of its
            images is first read, and one that changed is a DataError. None checks nothing.

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
    return array if blocks is None else _Checked.of(array, path, blocks)


class _Checked(np.ndarray):
    """Images in a memory map, whose blocks are checked when they are first read."""

    path: Path
    blocks: Sequence[str]
    unread: np.ndarray

    @classmethod
    def of(cls, array: np.ndarray, path: Path, blocks: Sequence[str]) -> _Checked:
        """Return an array whose blocks have these digests."""
        checked = array.view(cls)
        checked.path, checked.blocks = path, blocks
        checked.unread = np.ones(len(blocks), dtype=bool)
        return checked

    def __getitem__(self, key: Any) -> Any:
        plain = self.view(np.ndarray)
        if self.unread.any():
            rows = key[0] if isinstance(key, tuple) else key
            if isinstance(rows, slice):
                rows = np.arange(*rows.indices(len(self)))
            size = block_rows(self.shape)
            # Counted from the end, a row is negative; a mask is as long as the array.
            places = np.arange(len(self))[rows] if np.asarray(rows).dtype == bool else rows
            touched = np.unique(np.asarray(places) % max(1, len(self)) // size)
            for block in touched[self.unread[touched]]:
                part = plain[block * size : (block + 1) * size]
                if hashlib.sha256(part.tobytes()).hexdigest() != self.blocks[block]:
                    raise DataError(
                        f"{self.path} changed since it was made (images {block * size} and on); "
                        "delete it, it is made again."
                    )
                self.unread[block] = False
        return plain[key]
