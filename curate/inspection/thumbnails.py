"""Thumbnails: what is kept of each image to find its copies, a little over a kilobyte."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from curate.data.decoding import Box
from curate.inspection.triage import luma
from curate.runtime.files import nameless, on_disk, writing
from curate.runtime.progress import Progress, silent

SIDE = 32
"""Side of the grey image that is compared; smaller images are enlarged to it."""
COLOURS = 8
"""Side of the colour image that tells what was recoloured."""
BLOCK = 256


@dataclass(frozen=True)
class Thumbnails:
    """Small versions of N images.

    Attributes:
        grey: (N, SIDE, SIDE) uint8, may be memory-mapped.
        colour: (N, 3, COLOURS, COLOURS) uint8, may be memory-mapped.
        detail: (N,) float32 in (0, 1], the share of grey's pixels that the image itself had.
    """

    grey: np.ndarray
    colour: np.ndarray
    detail: np.ndarray

    @classmethod
    def empty(cls, n: int, folder: Path | None = None) -> Thumbnails:
        """Return room for n images, in a nameless file in ``folder`` or in memory.

        Raises:
            ResourceError: If the disk is too small.
        """
        grey, colour = (n, SIDE, SIDE), (n, 3, COLOURS, COLOURS)
        if folder is None:
            arrays = (np.zeros(grey, np.uint8), np.zeros(colour, np.uint8))
        else:
            arrays = (on_disk(grey, np.uint8, folder), on_disk(colour, np.uint8, folder))
        return cls(*arrays, np.ones(n, np.float32))

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.detail)

    def take(self, rows: np.ndarray) -> Thumbnails:
        """Return those of some rows, in their order, in memory."""
        return Thumbnails(self.grey[rows], self.colour[rows], self.detail[rows])

    def digests(self) -> np.ndarray:
        """Return (N,) 16 bytes each, equal for equal thumbnails."""
        out = np.empty(len(self), dtype="V16")
        for i in range(len(self)):
            digest = hashlib.blake2b(self.grey[i].tobytes(), digest_size=16)
            digest.update(self.colour[i].tobytes())
            out[i] = np.void(digest.digest())
        return out


def shrunk(image: Image.Image, box: Box | None = None) -> Image.Image:
    """Return an image in mode RGB at SIDE x SIDE, whatever its size and aspect.

    Args:
        image: In mode L or RGB.
        box: The part of it that is the picture; None for all.
    """
    whole = image.convert("RGB")
    if whole.size == (SIDE, SIDE):
        return whole
    return whole.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)


def pixels(image: Image.Image) -> np.ndarray:
    """Return the colours of an image from ``shrunk``, (3, SIDE, SIDE) uint8."""
    return np.asarray(image).transpose(2, 0, 1)


def detail(width: int, height: int) -> float:
    """Return the share of a thumbnail's pixels that an image of a size has itself, in (0, 1]."""
    return min(1.0, width * height / SIDE**2)


def of_small(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return grey and colour of images (B, 3, SIDE, SIDE) uint8, as ``Thumbnails`` has them."""
    grey = _bytes(luma(images)[:, 0])
    return grey, _bytes(F.adaptive_avg_pool2d(images.float() / 255, COLOURS))


class Growing:
    """Thumbnails that come one after another, in a nameless file in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._file = nameless(folder)
        self._held: list[np.ndarray] = []
        self._detail: list[float] = []

    def add(self, pixels: np.ndarray, width: int, height: int) -> None:
        """Add an image (3, SIDE, SIDE) uint8, from ``small``, that has a size itself."""
        self._held.append(pixels)
        self._detail.append(detail(width, height))
        if len(self._held) == BLOCK:
            self._write()

    def _write(self) -> None:
        grey, colour = of_small(torch.from_numpy(np.stack(self._held)))
        rows = np.concatenate([part.reshape(len(part), -1) for part in (grey, colour)], axis=1)
        with writing("thumbnails"):
            self._file.write(rows.tobytes())
        self._held.clear()

    def done(self) -> Thumbnails:
        """Return them all."""
        if self._held:
            self._write()
        n = len(self._detail)
        if not n:
            return Thumbnails.empty(0)
        self._file.flush()
        rows = np.memmap(self._file, np.uint8, "r", shape=(n, SIDE**2 + 3 * COLOURS**2))
        grey = rows[:, : SIDE**2].reshape(n, SIDE, SIDE)
        colour = rows[:, SIDE**2 :].reshape(n, 3, COLOURS, COLOURS)
        return Thumbnails(grey, colour, np.array(self._detail, np.float32))


def _bytes(values: Tensor) -> np.ndarray:
    return np.asarray((values * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy())


def of_canvas(
    pixels: np.ndarray,
    folder: Path | None = None,
    progress: Progress = silent,
    *,
    device: str = "cpu",
) -> Thumbnails:
    """Return the thumbnails of images as they stand on a canvas.

    Args:
        pixels: (N, C, H, W) uint8, may be memory-mapped.
        folder: Where thumbnails may lie on disk; None keeps them in memory.
        progress: Progress callback.
        device: Where they are made, ``cpu`` or ``cuda``.
    """
    n, _, height, width = pixels.shape
    out = Thumbnails.empty(n, folder)
    out.detail[:] = detail(width, height)
    for start in range(0, n, BLOCK):
        part = slice(start, start + BLOCK)
        images = torch.from_numpy(np.array(pixels[part])).to(device).float()
        if (height, width) != (SIDE, SIDE):
            images = F.interpolate(
                images, (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False
            )
        images = images.round().clamp(0, 255).to(torch.uint8)
        rgb = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        out.grey[part], out.colour[part] = of_small(rgb.contiguous())
        progress("thumbnails", min(start + BLOCK, n), n)
    return out
