"""Files of every kind become the right pixels; what is no image, or no longer one, is refused."""

import hashlib
import io
import struct
import zlib
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from curate.data.decoding import (
    FORMATS,
    MAX_BYTES,
    MAX_PIXELS,
    Checked,
    beginning,
    check,
    encode_png,
    picture,
)
from curate.errors import DataError
from tests.rendered import encoded, every_mode, turned
from tests.rendered import picture as render

MODES = every_mode()


# Damaged files make Pillow warn; whoever reads many of them is to be inside ``quiet``.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:PIL"),
    pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning"),
]


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_its_pixels(name):
    data, expected, tolerance = MODES[name]
    image = picture(data)
    found = np.asarray(image).astype(int)
    assert image.mode == ("L" if expected.ndim == 2 else "RGB")
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= tolerance


@pytest.mark.parametrize("name", MODES)
def test_check_tells_size_and_format(name):
    data, expected, _ = MODES[name]
    found = check(data)
    assert (found.height, found.width) == expected.shape[:2]
    assert found.extension == name.rpartition(".")[2].replace("pgm", "ppm")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_upright(orientation):
    data, upright = turned(orientation)
    found = np.asarray(picture(data)).astype(int)
    assert found.shape == upright.shape
    assert np.abs(found - upright).max() <= 24
    assert (check(data).width, check(data).height) == (upright.shape[1], upright.shape[0])


@pytest.mark.parametrize("name", [name for name in MODES if name.endswith(".jpg")])
def test_what_is_checked_is_refused_exactly_where_it_cannot_be_decoded(name):
    data, random = MODES[name][0], np.random.default_rng(0)
    damaged = [data[:end] for end in random.integers(0, len(data), 100).tolist()]
    for place in random.integers(0, len(data), 300).tolist():
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    refused = 0
    for changed in damaged:
        try:
            image = picture(changed)
        except DataError:
            refused += 1
            with pytest.raises(DataError):
                check(changed)
        else:
            found = check(changed)
            assert (found.width, found.height, found.extension) == (*image.size, "jpg")
    assert 40 < refused < 399


def test_a_damaged_exif_block_turns_nothing():
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(40)
    data = encoded(render(1, 20, 10), "JPEG", exif=exif)
    assert picture(data).size == (20, 10)


def test_large_whole_numbers_and_floats_are_scaled_by_their_maximum():
    values = np.array([[0, 500_000, 1_000_000]])
    whole = np.asarray(picture(encoded(Image.fromarray(values.astype(np.int32)), "TIFF")))
    real = np.asarray(picture(encoded(Image.fromarray(values.astype(np.float32)), "TIFF")))
    assert whole.tolist() == real.tolist() == [[0, 128, 255]]
    odd = np.array([[np.nan, np.inf, -5.0, 0.5, 1.0]], dtype=np.float32)
    assert np.asarray(picture(encoded(Image.fromarray(odd), "TIFF"))).tolist() == [
        [0, 0, 0, 128, 255]
    ]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, I am no image\n" * 50, "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "not an image|damaged"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "not an image|damaged"),
    ],
)
def test_what_is_no_image_is_refused(data, reason):
    with pytest.raises(DataError, match=reason):
        check(data)


def test_formats_outside_the_list_are_refused():
    for kind in ("ICO", "TGA", "PCX", "ICNS", "DDS"):
        with pytest.raises(DataError, match="not an image"):
            check(encoded(render(1, 16, 16), kind))
    assert set(FORMATS) == {"PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"}


def _png(width, height, body):
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0), b"IDAT" + body)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c))
        for c in (*chunks, b"IEND")
    )


@pytest.mark.parametrize("side", [9_460, 20_000, 60_000])
def test_a_bomb_is_refused_by_its_header(side):
    # The body is as small as a compressor makes so many zeros; one that decoded it would see.
    bomb = _png(side, side, zlib.compress(bytes(10_000)))
    with pytest.raises(DataError, match="pixels are more than"):
        check(bomb)
    assert side * side > MAX_PIXELS


def test_a_large_file_is_refused_unread(monkeypatch):
    monkeypatch.setattr("curate.data.decoding.MAX_BYTES", 100)
    with pytest.raises(DataError, match="bytes are more than the 100 allowed"):
        check(encoded(render(1, 40, 30), "PNG"))
    assert MAX_BYTES == 2**28


@pytest.mark.parametrize("name", ["rgb.jpg", "progressive.jpg", "rgb.png", "rgb.webp", "rgb.tif"])
def test_a_cut_is_detected_wherever_pixels_are_lost(name):
    data, _, _ = MODES[name]
    whole = np.asarray(picture(data))
    detected = 0
    for end in range(len(data)):
        try:
            check(data[:end])
        except DataError:
            detected += 1
        else:  # what is missing holds no pixels
            assert np.array_equal(np.asarray(picture(data[:end])), whole), end
    assert detected >= 0.9 * len(data)


def test_every_flipped_bit_of_a_png_is_detected():
    data = encoded(render(3, 24, 18), "PNG")
    for place in range(len(data) - 12):  # the last chunk, IEND, holds nothing
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        with pytest.raises(DataError):
            check(bytes(flipped))


def test_random_damage_never_raises_anything_else():
    random = np.random.default_rng(1)
    refused = 0
    for data, _, _ in MODES.values():
        for _ in range(25):
            damaged = bytearray(data)
            for place in random.integers(0, len(data), 6):
                damaged[place] = random.integers(256)
            try:
                check(bytes(damaged))
            except DataError:
                refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "shape", [(8, 8), (28, 28), (32, 32, 3), (1, 1), (300, 400, 3), (3, 70_000)]
)
def test_an_array_survives_as_png_with_bytes_of_our_own(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = encode_png(pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)
    assert np.array_equal(np.asarray(picture(data)), pixels)
    assert check(data).extension == "png"


def test_a_png_is_the_same_on_every_machine():
    data = encode_png(np.arange(64, dtype=np.uint8).reshape(8, 8))
    assert hashlib.sha256(data).hexdigest() == (
        "b0eb4945328da0f6a155a9246905713af8277632e60ed7ee9bca9bcdf82977de"
    )


@pytest.mark.parametrize("kind", ["RGB", "YCbCr", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_of_any_colours_is_checked_whole(kind, progressive):
    image = Image.fromarray(render(3, 90, 70)).convert("RGB")
    image = image if kind == "RGB" else image.convert(kind)
    data = encoded(image, "JPEG", quality=90, progressive=progressive, keep_rgb=kind == "RGB")
    assert check(data) == Checked(image.width, image.height, "jpg")
    for end in range(len(data) // 2, len(data) - 40, 97):
        with pytest.raises(DataError, match="damaged"):
            check(data[:end])


def any_jpeg(random):
    """Return a JPEG of some size, colours, compression, order of scans, restarts and EXIF."""
    width, height = (int(side) for side in random.integers(60, 200, 2))
    coarse = Image.fromarray(random.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    pixels = np.clip(smooth + random.normal(0, 20, smooth.shape), 0, 255).astype(np.uint8)
    mode = str(random.choice(["RGB", "L", "CMYK"]))
    how = {"quality": int(random.integers(20, 98)), "optimize": bool(random.integers(2))}
    how["progressive"] = bool(random.random() < 0.2)
    if mode == "RGB":
        how["keep_rgb"] = bool(random.random() < 0.2)
        how["subsampling"] = 0 if how["keep_rgb"] else int(random.integers(3))
    if random.random() < 0.3:
        how["restart_marker_rows"] = 1
    if random.random() < 0.3:
        how["exif"] = Image.Exif()
        how["exif"][0x0112] = int(random.integers(1, 9))
    return encoded(Image.fromarray(pixels).convert(mode), "JPEG", **how)


def spoiled(random, data):
    """Return a file that was cut, ended early, or had bytes changed, blanked, lost or added."""
    place, span = int(random.integers(len(data))), int(random.integers(1, 600))
    early = int(random.integers(min(700, len(data))))
    upto, beyond = data[:place], data[place + span :]
    end, bit = b"\xff\xd9", 1 << int(random.integers(8))
    made = [
        upto,
        upto + end,
        upto + random.bytes(span) + end,
        data + random.bytes(span),
        upto + beyond,
        upto + bytes(len(data) - len(upto) - len(beyond)) + beyond,
        upto + random.bytes(span) + beyond,
        upto + random.bytes(span) + data[place:],
        upto + bytes([data[place] ^ bit]) + data[place + 1 :],
        data[:early] + random.bytes(1) + data[early + 1 :],
    ]
    return made[int(random.integers(len(made)))]


def refused(work, data):
    try:
        work(data)
    except DataError:
        return True
    return False


@pytest.mark.filterwarnings("ignore")
def test_the_beginning_of_a_jpeg_tells_what_all_of_it_would():
    random, seen = np.random.default_rng(0), Counter()
    for _ in range(300):
        whole = any_jpeg(random)
        for data in (whole, *(spoiled(random, whole) for _ in range(3))):
            bad = refused(picture, data)
            assert refused(check, data) == bad
            seen[beginning(data) is not None, bad] += 1
    # Each kind has to have been there for this to have shown anything.
    assert seen[True, False] > 300 and seen[True, True] > 5 and seen[False, True] > 100, seen


def test_a_png_with_a_long_text_is_an_image_and_a_damaged_one_is_told():
    plain = encode_png(render(1, 9, 9))
    text = b"zTXtnote\0\0" + zlib.compress(bytes(2**21))
    for place in (33, len(plain) - 12):  # before and behind the pixels
        chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
        data = plain[:place] + chunk + plain[place:]
        assert check(data) == check(plain)
        assert np.array_equal(np.asarray(picture(data)), np.asarray(picture(plain)))
        broken = data[: place + 40] + b"\xff" + data[place + 41 :]
        with pytest.raises(DataError, match="damaged"):
            check(broken)


def test_a_large_image_in_strips_has_the_pixels_of_the_whole(monkeypatch):
    for name in MODES:
        data = MODES[name][0]
        whole = np.asarray(picture(data))
        with monkeypatch.context() as patch:
            patch.setattr("curate.data.decoding.STRIP", 20)
            assert np.array_equal(np.asarray(picture(data)), whole), name
