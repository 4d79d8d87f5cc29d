"""Decoding: what may be an image, checked before it costs memory, and PNG for arrays."""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from curate.data.budget import Budget
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
MORE_FORMATS = {"AVIF": "avif", "HEIF": "heic", "JXL": "jxl"}
"""What is decoded besides where it can be."""
PLUGINS = {"HEIF": ("pillow_heif", "pillow-heif"), "JXL": ("pillow_jxl", "pillow-jxl-plugin")}
"""Modules that let Pillow decode a format, and the packages that have them."""
ENDINGS = FORMATS | MORE_FORMATS
JPEG_WITH_MORE = "MPO"
"""What Pillow calls a JPEG with further pictures behind it, as phones write."""
MAX_BYTES = 2**28
"""Largest image file in bytes."""
MAX_PIXELS = 89_478_485
"""Largest image in pixels, checked on the header before any is decoded; Pillow warns there."""

BYTES_IN_HAND = 2**30
"""Decoded pixels that all threads hold together; an image that takes more is decoded alone."""
BUDGET = Budget(BYTES_IN_HAND)
STRIP = 2**22
"""Pixels of a large image that are converted at a time."""
UNCOUNTED = 2**18
"""Smaller images, in pixels, are decoded without asking for room."""
AT_ONCE = frozenset({"PNG", "JPEG", "MPO", "BMP", "PPM"})
"""Formats that are decoded into place; of others Pillow holds every pixel twice."""

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
        with _room(image, copies=0):
            image.load()
            if _orientation(image) in SIDEWAYS:
                width, height = height, width
            if kind != "JPEG":
                if width * height <= STRIP:
                    _converted(image, 1.0)
                else:
                    for strip in _strips(image):
                        _converted(strip, 1.0)
    if kind == "PNG":  # Pillow skips the checksums of what it decodes
        try:
            with Image.open(io.BytesIO(_without_text(data)), formats=[kind]) as again:
                again.verify()
        except Exception as error:
            raise DataError(f"damaged: {error}") from error
    return Checked(width, height, ENDINGS[kind])


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


def picture(data: bytes, then: Callable[[Image.Image], Image.Image] | None = None) -> Image.Image:
    """Decode an image to mode L or RGB.

    The first frame is taken, turned upright by its EXIF orientation, and its transparency laid on
    white. 16-bit values are scaled to 8 bits; floats are read as [0, 1], [0, 255] or [0, 65535],
    whichever is the first to hold the largest.

    Args:
        data: An encoded image.
        then: What is done with it while its pixels are counted (``BYTES_IN_HAND``); what that
            returns is small, and returned.

    Raises:
        DataError: If it is no image, is damaged, or is too large; the message is the reason alone.
    """
    with _opened(data) as image, _room(image, copies=2):
        image.load()
        upright = _plain(_upright(image))
        return upright if then is None else then(upright)


def levels(data: bytes) -> np.ndarray:
    """Decode an image whose pixels are numbers, a mask or a depth: (H, W), whole numbers or floats.

    Nothing is scaled; of a palette the numbers are taken, not their colours. The first frame is
    taken, turned upright as ``picture`` does it.

    Args:
        data: An encoded image of one number a pixel, in a format that loses none.

    Raises:
        DataError: If it is none, is damaged, or is too large; the message is the reason alone.
    """
    check(data)
    with _opened(data) as image, _room(image, copies=1):
        if _kind(image) == "JPEG":
            raise DataError("a JPEG, which changes numbers as it packs them; use PNG")
        if image.mode not in ("1", "L", "P", "I", "F") and not image.mode.startswith("I;16"):
            raise DataError(f"mode {image.mode}, and not one number a pixel")
        image.load()
        values: np.ndarray = np.array(_upright(image))
        return values.astype(np.uint8) if values.dtype == bool else values


Box = tuple[float, float, float, float]
"""Left, top, right and bottom, in pixels."""


def reduced(
    data: bytes, then: Callable[[Image.Image, Box], Image.Image], *, side: int
) -> Image.Image:
    """Decode an image that is to be shrunk; a large JPEG to fewer pixels, in less time.

    A JPEG is decoded to a half, a quarter or an eighth of its size where that leaves at least
    ``ENOUGH`` times the side; anything else is decoded whole.

    Args:
        data: An encoded image in one of ``FORMATS``.
        then: What shrinks it: the image as ``picture`` gives it, and the box of it that is the
            picture (a column and a row at the edge of a reduced one may stand for less than a
            pixel), to what is returned.
        side: What the shorter edge is to be shrunk to, in pixels.

    Raises:
        DataError: As ``picture``.
    """
    with _opened(data) as image:
        width, height = image.size
        image.draft(None, (ENOUGH * side, ENOUGH * side))
        factor = next(f for f in (1, 2, 4, 8) if -(-width // f) == image.width)
        with _room(image, copies=2):
            image.load()
            span, orientation = (width / factor, height / factor), _orientation(image)
            upright = _plain(_upright(image))
            if orientation in SIDEWAYS:
                span = span[::-1]
            left = upright.width - span[0] if orientation in FROM_THE_RIGHT else 0.0
            top = upright.height - span[1] if orientation in FROM_THE_BOTTOM else 0.0
            return then(upright, (left, top, left + span[0], top + span[1]))


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
        with Image.open(io.BytesIO(_without_text(data)), formats=_known(data)) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DataError(_too_large(f"{image.width} x {image.height}"))
            yield image
    except (DataError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise DataError(_too_large("more than twice that many")) from error
    except UnidentifiedImageError as error:
        kind = looks_like(data[:32])
        if kind in MORE_FORMATS and not decodes(kind):
            raise DataError(f"{kind}: {install(kind)}") from error
        raise DataError(f"not an image in a known format ({', '.join(FORMATS)})") from error
    except Exception as error:  # hostile bytes make Pillow's decoders raise nearly anything
        raise DataError(f"damaged: {str(error) or type(error).__name__}") from error


def _too_large(count: str) -> str:
    return f"{count} pixels are more than the {MAX_PIXELS:,} allowed"


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
    largest = _largest(image) if _is_deep(image) else 0.0
    if image.width * image.height <= STRIP:
        return _converted(image, largest)
    out: Image.Image | None = None
    top = 0
    for strip in _strips(image):  # a large image is never held in more than two forms
        part = _converted(strip, largest)
        if out is None:
            out = Image.new(part.mode, image.size)
        out.paste(part, (0, top))
        top += part.height
    assert out is not None
    return out


def _strips(image: Image.Image) -> Iterator[Image.Image]:
    """Yield an image in strips of about ``STRIP`` pixels, from the top; a small one whole."""
    if image.width * image.height <= STRIP:
        yield image
        return
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip.info = image.info
        yield strip


def _is_deep(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _converted(image: Image.Image, largest: float) -> Image.Image:
    """Return an image in mode L or RGB; ``largest`` is the largest value of deep pixels."""
    if _is_deep(image):
        return Image.fromarray(_eight_bits(np.asarray(image), largest))
    if image.has_transparency_data:
        grey = image.mode in ("1", "L", "LA", "La")
        clear = image.convert("RGBA")
        ground = Image.new("RGBA", clear.size, "white")
        ground.alpha_composite(clear)
        return ground.convert("L" if grey else "RGB")
    if image.mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def _finite(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind != "f":
        return values
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _largest(image: Image.Image) -> float:
    """Return the largest value of an image of 16 or 32 bits, at least 0."""
    maxima = (_finite(np.asarray(strip)).max(initial=0) for strip in _strips(image))
    return max((float(value) for value in maxima), default=0.0)


def _eight_bits(values: np.ndarray, largest: float) -> np.ndarray:
    """Scale 16-bit, 32-bit or float pixels to uint8."""
    # Whole numbers span 16 bits however dark they are; floats have no such rule, and their largest
    # value tells which they mean.
    steps = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (65535.0,)
    full = next((step for step in steps if largest <= step), largest)
    scaled = np.clip(_finite(values).astype(np.float64), 0, full) * (255.0 / full)
    return np.rint(scaled).astype(np.uint8)


_NO_ROOM = contextlib.nullcontext()


def _room(image: Image.Image, *, copies: int) -> contextlib.AbstractContextManager[None]:
    """Hold what an image takes decoded, in so many more forms than the one that it is read to."""
    pixels = image.width * image.height
    if pixels <= UNCOUNTED:
        return _NO_ROOM
    depth = {"1": 1, "L": 1, "P": 1}.get(image.mode, 2 if image.mode.startswith("I;16") else 4)
    read = depth * (1 if image.format in AT_ONCE else 2)
    return BUDGET.room(pixels * (read + copies * depth) + 32 * min(pixels, STRIP))


def _without_text(data: bytes) -> bytes:
    """Return a PNG without its texts, of which Pillow takes 1 MiB and refuses the image else.

    Raises:
        DataError: If one of them is damaged.
    """
    if not data.startswith(PNG_MARK) or len(data) <= TEXT:
        return data
    kept, place = [PNG_MARK], len(PNG_MARK)
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4])
        kind = data[place + 4 : place + 8]
        if kind not in (b"tEXt", b"zTXt", b"iTXt"):
            kept.append(data[place:end])
        elif zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            raise DataError(f"damaged: a text of {end - place:,} bytes")
        place = end
    return b"".join([*kept, data[place:]])


PNG_MARK = b"\x89PNG\r\n\x1a\n"
TEXT = 512
"""A PNG of fewer bytes has no text that is too long, packed or not."""


# What else there is


_JPEG, _PNG = ["JPEG"], ["PNG"]


def _known(data: bytes) -> list[str]:
    """Return the formats that an image may be in, what is installed for its own included."""
    if data.startswith(b"\xff\xd8\xff"):
        return _JPEG
    if data.startswith(PNG_MARK):
        return _PNG
    kind = looks_like(data[:32])
    return [*FORMATS, kind] if kind in MORE_FORMATS and decodes(kind) else list(FORMATS)


@functools.cache
def decodes(kind: str) -> bool:
    """Return whether images of a format can be decoded here."""
    if kind in PLUGINS:
        try:
            plugin = importlib.import_module(PLUGINS[kind][0])
        except Exception:  # not there, or not for this machine
            return False
        if hasattr(plugin, "register_heif_opener"):
            plugin.register_heif_opener()
        return True
    return kind in FORMATS or bool(features.check(kind.lower()))


def install(kind: str) -> str:
    """Return what to install for a format that cannot be decoded."""
    package = PLUGINS[kind][1] if kind in PLUGINS else "a Pillow with AVIF"
    return f"decoding it needs {package}; pip install 'curate[formats]'"


def looks_like(head: bytes) -> str | None:
    """Return the format of an image by its first 32 bytes, or None where they are of none."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in (b"avif", b"avis"):
            return "AVIF"
        if brand in (b"mif1", b"msf1") and b"avif" in head[12:]:
            return "AVIF"
        return "HEIF" if brand in HEIF_BRANDS else None
    return next((kind for mark, kind in MARKS.items() if head.startswith(mark)), None)


HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevx", b"mif1", b"msf1")
MARKS = {
    PNG_MARK: "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"\xff\x0a": "JXL",
    b"\0\0\0\x0cJXL \r\n\x87\n": "JXL",
}
"""What files begin with; of BMP and PPM it is too little to tell."""


# Many images


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings, in every thread, while files of unknown quality are decoded."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield
