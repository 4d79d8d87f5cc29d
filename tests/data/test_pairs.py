"""Images with a number for every pixel are read as they lie, and what does not fit is said."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate.data.canvas import numbers_on_canvas, on_canvas
from curate.data.decoding import encode_png, levels
from curate.data.pairs import DEPTHS, MASKS, TEST, TRAIN, open_pairs, write_pairs
from curate.errors import DataError
from tests.rendered import encoded
from tests.scenes import scene, write_scenes

pytestmark = pytest.mark.numeric


@pytest.fixture
def scenes(tmp_path):
    return write_scenes(tmp_path / "scenes", train=4, test=2)


def plain(numbers):
    return numbers.astype(np.float32)


def written(root, out, kind=MASKS, *, size=16, fit="crop", target=plain, role=TRAIN):
    pairs = open_pairs(root, kind)
    about = write_pairs(pairs, role, out, target, size=size, channels=3, fit=fit, kind=kind)
    names = ("images", "targets")
    return about, *(np.load(out / f"{role}.{name}.npy") for name in names)


def test_images_and_masks_of_both_splits_are_found(scenes):
    pairs = open_pairs(scenes, MASKS)
    assert dict(pairs.splits) == {TRAIN: "train", TEST: "test"}
    assert dict(pairs.counts) == {TRAIN: 4, TEST: 2}
    first = next(pairs.read(TRAIN))
    image, mask, _ = scene(0)
    assert first.path == "images/train/0000.png"
    assert (first.numbers() == mask).all()
    assert (np.asarray(Image.open(io.BytesIO(first.image()))) == image).all()


def test_ade20ks_names_of_splits_and_jpeg_images_are_taken(tmp_path):
    for split in ("training", "validation"):
        for top in ("images", "annotations"):
            (tmp_path / top / split).mkdir(parents=True)
        image, mask, _ = scene(1)
        Image.fromarray(image).save(tmp_path / "images" / split / "a.jpg")
        Image.fromarray(mask).save(tmp_path / "annotations" / split / "a.png")
    pairs = open_pairs(tmp_path, MASKS)
    assert dict(pairs.splits) == {TRAIN: "training", TEST: "validation"}


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(30, 40), (41, 23), (180, 240), (5, 90), (16, 16)])
def test_numbers_stay_beside_the_pixels_that_they_were_beside(fit, shape):
    # Values are above 0, which is what a padded image is filled with.
    values = np.random.default_rng(0).integers(1, 256, shape).astype(np.uint8)
    for size in (8, 32):
        image = on_canvas(
            encode_png(values), size=size, channels=1, fit=fit, interpolation="nearest"
        )
        beside = numbers_on_canvas(values.astype(float), size=size, fit=fit, outside=0.0)
        assert (image[0] == beside).all()


def test_arrays_are_the_scenes_and_equal_twice(scenes, tmp_path):
    about, images, targets = written(scenes, tmp_path / "a", size=32)
    assert images.shape == (4, 3, 32, 32) and images.dtype == np.uint8
    assert targets.shape == (4, 32, 32) and targets.dtype == np.float32
    image, mask, _ = scene(2)
    # 40 x 32 pixels: four columns of each side are cut.
    assert (targets[2] == mask[:, 4:36]).all()
    assert (images[2] == image[:, 4:36].transpose(2, 0, 1)).all()
    assert len(set(about.uids)) == 4
    again, *_ = written(scenes, tmp_path / "b", size=32)
    assert again == about
    for name in ("train.images.npy", "train.targets.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_images_of_other_sizes_are_brought_to_one(scenes, tmp_path):
    image, mask, _ = scene(9, width=61, height=50)
    Image.fromarray(image).save(scenes / "images/train/large.png")
    Image.fromarray(mask).save(scenes / "annotations/train/large.png")
    _, images, targets = written(scenes, tmp_path / "out")
    assert images.shape == (5, 3, 16, 16) and targets.shape == (5, 16, 16)


def test_a_missing_mask_is_named(scenes):
    (scenes / "annotations/train/0002.png").unlink()
    with pytest.raises(DataError) as caught:
        open_pairs(scenes, MASKS)
    message = str(caught.value)
    assert "1 of 4 images" in message and "images/train/0002.png" in message
    assert "annotations/train/0002.png" in message and "\n" not in message


def test_a_mask_of_another_size_is_named_with_both(scenes, tmp_path):
    Image.fromarray(np.zeros((10, 12), dtype=np.uint8)).save(scenes / "annotations/train/0001.png")
    with pytest.raises(DataError) as caught:
        written(scenes, tmp_path / "out")
    assert "images/train/0001.png" in str(caught.value)
    assert "40 x 32" in str(caught.value) and "12 x 10" in str(caught.value)
    assert not list((tmp_path / "out").glob("*.npy"))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encoded(np.zeros((32, 40, 3), dtype=np.uint8), "PNG"), "one number a pixel"),
        (encoded(np.zeros((32, 40), dtype=np.uint8), "JPEG"), "JPEG"),
        (b"no image", "not an image"),
        (encoded(np.zeros((32, 40), dtype=np.uint8), "PNG")[:60], "damaged"),
    ],
    ids=["colours", "jpeg", "text", "cut"],
)
def test_what_is_no_mask_is_refused_with_the_reason(scenes, tmp_path, data, reason):
    (scenes / "annotations/train/0001.png").write_bytes(data)
    with pytest.raises(DataError, match=reason) as caught:
        written(scenes, tmp_path / "out")
    assert "0001" in str(caught.value) and "\n" not in str(caught.value)


def test_numbers_are_read_as_they_are_stored():
    deep = np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000
    assert (levels(encoded(deep, "PNG")) == deep).all()
    metres = np.linspace(0, 7, 12, dtype=np.float32).reshape(3, 4)
    assert (levels(encoded(metres, "TIFF")) == metres).all()
    palette = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4), mode="L").convert("P")
    palette.putpalette(list(range(255, -1, -1)) * 3)
    assert (levels(encoded(palette, "PNG")) == np.arange(12).reshape(3, 4)).all()


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (["images/train", "images/test"], "annotations/SPLIT"),
        (["images/train", "annotations/train"], "test or val"),
        ([], "annotations/SPLIT"),
    ],
)
def test_another_layout_is_told_which_one_is_wanted(tmp_path, folders, says):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4), dtype=np.uint8)).save(tmp_path / folder / "a.png")
    with pytest.raises(DataError, match=says) as caught:
        open_pairs(tmp_path, MASKS)
    assert "\n" not in str(caught.value)


def table_of(numbers, *, lists=False):
    images, depths = [], []
    for number in numbers:
        image, _, metres = scene(number)
        if lists:
            images.append((image / 255).transpose(2, 0, 1).tolist())
            depths.append(metres[None].tolist())
        else:
            images.append({"bytes": encoded(image, "PNG"), "path": None})
            depths.append({"bytes": encoded(metres, "TIFF"), "path": None})
    return pa.table({"image": images, "depth" if lists else "depth_map": depths})


@pytest.mark.parametrize("lists", [False, True], ids=["encoded", "arrays"])
def test_nyu_depth_is_read_as_the_hub_has_it(tmp_path, lists):
    for split, numbers in (("train", range(3)), ("validation", range(5, 7))):
        path = tmp_path / "hub" / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table_of(numbers, lists=lists), path)
    pairs = open_pairs(tmp_path / "hub", DEPTHS)
    assert dict(pairs.counts) == {TRAIN: 3, TEST: 2}
    _, images, targets = written(tmp_path / "hub", tmp_path / "out", DEPTHS, size=32)
    image, _, metres = scene(1)
    assert (images[1] == image[:, 4:36].transpose(2, 0, 1)).all()
    assert targets[1] == pytest.approx(metres[:, 4:36])


def test_whole_numbers_in_lists_stay_whole_numbers(tmp_path):
    _, _, metres = scene(0)
    steps = np.rint(1000 * metres).astype(int)
    for split in ("train", "test"):
        table = table_of(range(1), lists=True).set_column(1, "depth", pa.array([steps.tolist()]))
        pq.write_table(table, tmp_path / f"{split}-00000-of-00001.parquet")
    first = next(open_pairs(tmp_path, DEPTHS).read(TRAIN))
    assert first.numbers().dtype.kind == "i" and (first.numbers() == steps).all()


def test_a_table_without_depths_or_with_a_missing_one_says_so(tmp_path):
    for split in ("train", "test"):
        path = tmp_path / f"{split}-00000-of-00001.parquet"
        pq.write_table(table_of(range(2)).rename_columns(["image", "other"]), path)
    with pytest.raises(DataError, match="columns image, other"):
        open_pairs(tmp_path, DEPTHS)
    for split in ("train", "test"):
        rows = table_of(range(2)).to_pylist()
        rows[1]["depth_map"]["bytes"] = None
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{split}-00000-of-00001.parquet")
    with pytest.raises(DataError, match="row 1 of train: missing"):
        written(tmp_path, tmp_path / "out", DEPTHS)
