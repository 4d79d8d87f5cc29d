"""Decoding: what may be an image, checked before it costs memory, and PNG for arrays."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from curate.errors import DataError

FORMATS = {
    "PNG": "png",
    "JPEG": "jpg",
    "WEBP": "webp",
    "GIF": "gif",
    "BMP": "bmp",
    "TIFF": "tif",
    "PPM": "ppm",
}
"""What is decoded, with the file extension of each; anything else is rejected unread."""
JPEG_WITH_MORE = "MPO"
"""What Pillow calls a JPEG with further pictures behind it, as phones write."""
MAX_BYTES = 2**28
"""Largest image file in bytes."""
MAX_PIXELS = 89_478_485
"""Largest image in pixels, checked on the header before any is decoded; Pillow warns there."""

ENOUGH = 2
"""What a JPEG is decoded to, as a multiple of what it is shrunk to: pixels beyond that take time
and are averaged away. Pillow's thumbnails have the same."""

BEGUN = 512
"""Compressed bytes of a JPEG that are decoded to see whether it can be."""
_SEQUENTIAL, _SCAN, _END = (0xC0, 0xC1), 0xDA, 0xD9
_TABLES = frozenset({0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})
"""Marks of a JPEG's parts that may stand before its scan: tables, comments and metadata."""
_MARK = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A mark within what is compressed, but for those of a restart."""

ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""

SIDEWAYS = (5, 6, 7, 8)
"""Orientations that exchange width and height."""
FROM_THE_RIGHT, FROM_THE_BOTTOM = (2, 3, 6, 7), (3, 4, 7, 8)
"""Orientations whose last column or row, as stored, comes out on the left, or at the top."""


@dataclass(frozen=True)
class Checked:
    """What decoding an image once told of it: its upright size in pixels and file extension."""

    width: int
    height: int
    extension: str


def check(data: bytes) -> Checked:
    """Decode an image and return its size.

    Of a JPEG not every pixel is worked out, and of most (``beginning``) only the beginning is
    decoded: the rest cannot fail.

    Raises:
        DataError: If ``picture`` would refuse it; the message is the reason alone.
    """
    with _opened(beginning(data) or data) as image:
        kind = _kind(image)
        width, height = image.size
        if kind == "JPEG":
            image.draft(None, (1, 1))
        image.load()
        if _orientation(image) in SIDEWAYS:
            width, height = height, width
        if kind != "JPEG":
            _plain(image)
    if kind == "PNG":  # Pillow skips the checksums of what it decodes
        try:
            with Image.open(io.BytesIO(data), formats=[kind]) as again:
                again.verify()
        except Exception as error:
            raise DataError(f"damaged: {error}") from error
    return Checked(width, height, FORMATS[kind])


def beginning(data: bytes) -> bytes | None:
    """Return a JPEG that ends after its first ``BEGUN`` compressed bytes, and fails as all of it.

    That is so where all colours lie in one scan that is compressed by Huffman's code and is ended
    by the mark of the end: decoders take whatever its bits are for pixels, and grey where there are
    too few. What they refuse are tables, which come before, and a file without its end. For any
    other file, None.
    """
    place, colours = 2, 0
    if not data.startswith(b"\xff\xd8") or len(data) > MAX_BYTES:
        return None
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
        if marker in _SEQUENTIAL:
            colours = data[place + 9] if place + 9 < len(data) else 0
        elif marker == _SCAN:
            compressed = place + 2 + length
            end = _MARK.search(data, compressed)
            whole = end is not None and end[0][-1] == _END and data[place + 4] == colours
            if not whole or len(data) < compressed + 2 * BEGUN:
                return None
            return data[: compressed + BEGUN].rstrip(b"\xff") + bytes((0xFF, _END))
        elif marker not in _TABLES:
            return None
        place += 2 + length
    return None


def picture(data: bytes) -> Image.Image:
    """Decode an image to mode L or RGB.

    The first frame is taken, turned upright by its EXIF orientation, and its transparency laid on
    white. 16-bit values are scaled to 8 bits; floats are read as [0, 1], [0, 255] or [0, 65535],
    whichever is the first to hold the largest.

    Raises:
        DataError: If it is no image, is damaged, or is too large; the message is the reason alone.
    """
    with _opened(data) as image:
        image.load()
        return _plain(_upright(image))


Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""


def reduced(data: bytes, *, side: int) -> tuple[Image.Image, Box]:
    """Decode an image that is to be shrunk; a large JPEG to fewer pixels, in less time.

    A JPEG is decoded to a half, a quarter or an eighth of its size where that leaves at least
    ``ENOUGH`` times the side; anything else is decoded whole.

    Args:
        data: An encoded image in one of ``FORMATS``.
        side: What the shorter edge is to be shrunk to, in pixels.

    Returns:
        The image as ``picture`` gives it, and the box of it that is the picture: a column and a row
        at the edge of a reduced one may stand for less than a pixel.

    Raises:
        DataError: As ``picture``.
    """
    with _opened(data) as image:
        width, height = image.size
        image.draft(None, (ENOUGH * side, ENOUGH * side))
        factor = next(f for f in (1, 2, 4, 8) if -(-width // f) == image.width)
        image.load()
        span, orientation = (width / factor, height / factor), _orientation(image)
        upright = _plain(_upright(image))
    if orientation in SIDEWAYS:
        span = span[::-1]
    left = upright.width - span[0] if orientation in FROM_THE_RIGHT else 0.0
    top = upright.height - span[1] if orientation in FROM_THE_BOTTOM else 0.0
    return upright, (left, top, left + span[0], top + span[1])


def encode_png(pixels: np.ndarray) -> bytes:
    """Encode an (H, W) or (H, W, 3) uint8 array as PNG, the same bytes on every machine.

    The pixels are stored uncompressed: what a compressor makes of them depends on its build, and
    a sample's uid is the hash of these bytes.
    """
    assert pixels.dtype == np.uint8 and (pixels.ndim == 2 or pixels.shape[2:] == (3,))
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + pixels[0].size), dtype=np.uint8)  # filter type 0 opens each row
    rows[:, 1:] = pixels.reshape(height, -1)
    raw = rows.tobytes()
    blocks = [raw[i : i + 65535] for i in range(0, len(raw), 65535)]
    stored = b"".join(
        struct.pack("<BHH", block is blocks[-1], len(block), len(block) ^ 0xFFFF) + block
        for block in blocks
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    body = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(raw))
    chunks = (b"IHDR" + header, b"IDAT" + body, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in chunks
    )


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """Open an image that is not too large; whatever fails in the block says why it is refused."""
    if not data:
        raise DataError("the file is empty")
    if len(data) > MAX_BYTES:
        raise DataError(f"{len(data):,} bytes are more than the {MAX_BYTES:,} allowed")
    try:
        with Image.open(io.BytesIO(data), formats=list(FORMATS)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(_too_large(f"{image.width} x {image.height}"))
            yield image
    except (DataError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise DataError(_too_large("more than twice that many")) from error
    except UnidentifiedImageError as error:
        raise DataError(f"not an image in a known format ({', '.join(FORMATS)})") from error
    except Exception as error:  # hostile bytes make Pillow's decoders raise nearly anything
        raise DataError(f"damaged: {str(error) or type(error).__name__}") from error


def _too_large(what: str) -> str:
    return f"{what} pixels are more than the {MAX_PIXELS:,} allowed"


def _kind(image: Image.Image) -> str:
    """Return the name of an image's format, one of ``FORMATS``."""
    return "JPEG" if image.format == JPEG_WITH_MORE else str(image.format)


def _orientation(image: Image.Image) -> int | None:
    try:
        orientation = image.getexif().get(ORIENTATION)
    except Exception:  # a damaged EXIF block says nothing about the pixels
        return None
    return orientation if isinstance(orientation, int) else None


def _upright(image: Image.Image) -> Image.Image:
    turn = UPRIGHT.get(_orientation(image) or 0)
    return image if turn is None else image.transpose(turn)


def _plain(image: Image.Image) -> Image.Image:
    """Return the image in mode L or RGB, transparency laid on white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(np.asarray(image)))
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        clear = image.convert("RGBA")
        ground = Image.new("RGBA", clear.size, "white")
        ground.alpha_composite(clear)
        return ground.convert("L" if grey else "RGB")
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Scale 16-bit, 32-bit or float pixels to uint8."""
    # Whole numbers span 16 bits however dark they are; floats have no such rule, and their largest
    # value tells which they mean.
    steps = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (65535.0,)
    values = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    largest = float(values.max(initial=0.0))
    full = next((step for step in steps if largest <= step), largest)
    scaled: np.ndarray = np.rint(np.clip(values, 0, full) * (255.0 / full))
    return scaled.astype(np.uint8)


# Many images


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings, in every thread, while files of unknown quality are decoded."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield
