"""Decoded arrays and the canvas: right pixels, right rows, the same bytes for any thread count."""

import hashlib
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps

from curate.data import decoding, shards
from curate.data.canvas import build_canvas, decode, open_canvas
from curate.data.decoding import reduced
from curate.errors import DataError, ResourceError
from curate.runtime import threads
from tests.given import Given
from tests.rendered import encoded, every_mode, mixed, picture


def made(folder, images, **options):
    """Write images to shards and a canvas; returns the open canvas and the index."""
    shards.write([(Given(images), "train")], folder / "shards")
    build_canvas(folder / "shards", folder / "canvas.npy", **options)
    index = shards.Reader(folder / "shards").index()
    return open_canvas(folder / "canvas.npy", index), index


@pytest.mark.parametrize("name", every_mode())
def test_decode_gives_grey_or_rgb_of_every_mode(name):
    data, expected, tolerance = every_mode()[name]
    rgb, grey = decode(data, channels=3), decode(data, channels=1)
    height, width = expected.shape[:2]
    assert rgb.shape == (3, height, width) and grey.shape == (1, height, width)
    assert rgb.dtype == grey.dtype == np.uint8
    wanted = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=2)
    assert np.abs(rgb.transpose(1, 2, 0).astype(int) - wanted).max() <= tolerance
    luma = wanted @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[0] - luma).max() <= tolerance + 1


def test_a_grey_image_is_itself_in_grey_and_thrice_in_rgb():
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    data = encoded(grey, "PNG")
    assert np.array_equal(decode(data, channels=1)[0], grey)
    assert np.array_equal(decode(data, channels=3), np.stack([grey] * 3))


def test_the_canvas_holds_every_row_in_the_order_of_the_index(tmp_path):
    images = [(f"{i}.png", encoded(picture(i, 12, 12), "PNG")) for i in range(40)]
    canvas, index = made(tmp_path, images, size=12, channels=3)
    assert canvas.array.shape == (40, 3, 12, 12) and isinstance(canvas.array, np.memmap)
    for row, (path, data) in enumerate(images):
        assert index["path"][row].as_py() == path
        assert np.array_equal(canvas.array[row], decode(data, channels=3))  # not resampled


def test_rows_are_found_by_uid(tmp_path):
    images = [(f"{i}.png", encoded(picture(i % 17, 8, 8), "PNG")) for i in range(60)]
    canvas, index = made(tmp_path, images, size=8, channels=1)
    uids = np.array(index["uid"].to_pylist(), dtype=object)
    assert sum("-" in uid for uid in uids) == 60 - 17
    wanted = np.random.default_rng(0).permutation(60)
    rows = canvas.rows(uids[wanted])
    assert rows.dtype == np.int64 and rows.tolist() == wanted.tolist()
    assert canvas.rows(uids[:0]).tolist() == []
    for unknown in ("f" * 32, "0" * 32, uids[0] + "-99", "ü"):
        with pytest.raises(
            DataError, match=f"1 uids are not in this dataset; the first is {unknown}"
        ):
            canvas.rows(np.array([uids[3], unknown], dtype=object))


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_fit_brings_a_wide_image_to_the_square(tmp_path, fit):
    wide = np.zeros((40, 120, 3), dtype=np.uint8)
    wide[:, 60:] = 255
    wide[:, :20] = wide[:, 100:] = (255, 0, 0)
    canvas, _ = made(tmp_path, [("wide.png", encoded(wide, "PNG"))], size=40, channels=3, fit=fit)
    image = canvas.array[0]
    red = (image[0] > 200) & (image[1] < 50)
    if fit == "crop":  # the middle third: left half black, right half white
        assert not red.any()
        assert np.array_equal(image, np.ascontiguousarray(wide[:, 40:80].transpose(2, 0, 1)))
    elif fit == "stretch":  # a sixth of the width on each side is red
        assert red[:, :5].all() and red[:, 35:].all() and not red[:, 8:32].any()
        assert (image[:, :, 10:18] == 0).all() and (image[:, :, 23:30] == 255).all()
    else:  # a third of the height, in the middle; black above and below
        assert (image[:, :12] == 0).all() and (image[:, 28:] == 0).all()
        assert red[15:25, :5].all() and red[15:25, 35:].all()


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(203, 251), (319, 243), (1001, 750)])
def test_a_large_jpeg_is_decoded_small_and_shows_the_same(tmp_path, size, orientation, fit):
    """Edges that fall within a pixel of the reduced image move nothing."""
    scene = Image.fromarray(picture(3, 20, 15)).resize(size, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(np.asarray(scene), "JPEG", quality=95, exif=exif)
    canvas, _ = made(tmp_path, [("a.jpg", data)], size=48, channels=3, fit=fit)
    whole, square = decoding.picture(data), (48, 48)
    if fit == "crop":
        wanted = ImageOps.fit(whole, square, Image.Resampling.BICUBIC)
    elif fit == "pad":
        wanted = ImageOps.pad(whole, square, Image.Resampling.BICUBIC)
    else:
        wanted = whole.resize(square, Image.Resampling.BICUBIC)
    found = canvas.array[0].transpose(1, 2, 0).astype(int)
    assert np.abs(found - np.asarray(wanted)).max() <= 6
    if fit != "pad":
        assert reduced(data, lambda image, box: image, side=48).width < whole.width


def test_what_is_not_shrunk_by_half_is_decoded_whole():
    data = encoded(picture(1, 190, 180), "JPEG")
    boxes = []
    image = reduced(data, lambda image, box: boxes.append(box) or image, side=95)
    assert boxes == [(0, 0, *image.size)]
    assert np.array_equal(np.asarray(image), np.asarray(decoding.picture(data)))


def test_shrinking_averages(tmp_path):
    board = np.indices((64, 64)).sum(axis=0) % 2 * np.uint8(255)
    canvas, _ = made(
        tmp_path, [("board.png", encoded(board.astype(np.uint8), "PNG"))], size=8, channels=1
    )
    assert np.abs(canvas.array[0].astype(int) - 127).max() <= 2


def test_bytes_do_not_depend_on_the_number_of_threads(tmp_path, monkeypatch):
    images, digests = list(mixed(50)), set()
    for n_threads in (1, 2, 7):
        monkeypatch.setattr(threads, "cores", lambda n=n_threads: n)
        folder = tmp_path / str(n_threads)
        made(folder, images, size=32, channels=3)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        assert len(files) == 5
        digests.add(tuple(hashlib.sha256(p.read_bytes()).hexdigest() for p in files))
    assert len(digests) == 1


def test_nothing_is_left_where_building_fails(tmp_path):
    shards.write([(Given(mixed(8)), "train")], tmp_path / "shards")
    tar = tmp_path / "shards" / "00000.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    with pytest.raises(DataError, match=r"00000.tar at offset 512 \(sample 00000000-"):
        build_canvas(tmp_path / "shards", tmp_path / "cache" / "c.npy", size=8, channels=3)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_disk_that_is_too_small_is_told_before(tmp_path):
    shards.write([(Given(mixed(8)), "train")], tmp_path / "shards")
    with pytest.raises(ResourceError, match="the decoded dataset needs"):
        build_canvas(tmp_path / "shards", tmp_path / "c.npy", size=2_000_000, channels=3)
    assert not (tmp_path / "c.npy").exists()


def test_a_disk_that_fills_up_is_told_and_leaves_nothing(tmp_path):
    shards.write([(Given(mixed(40)), "train")], tmp_path / "s")
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from curate.errors import ResourceError\n"
        "from curate.data.canvas import build_canvas\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))\n"
        "here = Path(sys.argv[1])\n"
        "try:\n    build_canvas(here / 's', here / 'c' / 'c.npy', size=32, channels=3)\n"
        "except ResourceError as error:\n    sys.exit(str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    assert "cannot write" in done.stderr and done.returncode == 1, done
    assert list((tmp_path / "c").iterdir()) == []


def test_another_index_or_a_damaged_file_is_refused(tmp_path):
    _, index = made(tmp_path, mixed(8), size=8, channels=3)
    path = tmp_path / "canvas.npy"
    with pytest.raises(DataError, match="not the index's 7 images"):
        open_canvas(path, index.slice(1))
    data = path.read_bytes()
    for end in (0, 5, 100, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(DataError, match=r"canvas.npy"):
            open_canvas(path, index)
    np.save(path, np.array([pa.NULL], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot read"):
        open_canvas(path, index)
    with pytest.raises(DataError, match="cannot read"):
        open_canvas(tmp_path / "none.npy", index)


def test_one_pixel_images_and_long_thin_ones_fit(tmp_path):
    images = [
        ("dot.png", encoded(np.full((1, 1, 3), 9, np.uint8), "PNG")),
        ("thin.png", encoded(np.full((1, 3000, 3), 9, np.uint8), "PNG")),
        ("tall.png", encoded(np.full((3000, 1, 3), 9, np.uint8), "PNG")),
    ]
    for fit in ("crop", "pad", "stretch"):
        canvas, _ = made(tmp_path / fit, images, size=16, channels=3, fit=fit)
        assert canvas.array.max(axis=(1, 2, 3)).tolist() == [9, 9, 9]
        assert (canvas.array[0] == 9).all()


@pytest.mark.parametrize("brightest", [1, 200, 255, 256, 40_000, 65_535])
def test_sixteen_bits_mean_the_same_however_dark_the_image_is(brightest):
    values = np.linspace(0, brightest, 64).astype(np.uint16).reshape(8, 8)
    for kind in ("PNG", "TIFF"):
        found = decode(encoded(values, kind), channels=1)[0]
        assert np.array_equal(found, np.rint(values / 257).astype(np.uint8))
