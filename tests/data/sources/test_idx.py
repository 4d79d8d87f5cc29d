"""MNIST-format files: made by hand, and Fashion-MNIST where it is."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from curate.data import shards
from curate.data.decoding import picture
from curate.data.sources import open_source
from curate.errors import DataError, UsageError

FASHION = Path("/usr/share/datasets/fashion-mnist")
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 7, 5), dtype=np.uint8)
LABELS = (np.arange(50) % 10).astype(np.uint8)


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def lay(root, split="train", *, images=IMAGES, labels=LABELS, packed=False, dot="-"):
    root.mkdir(parents=True, exist_ok=True)
    files = {f"{split}-images{dot}idx3-ubyte": images, f"{split}-labels{dot}idx1-ubyte": labels}
    for name, array in files.items():
        if array is not None:
            data = array if isinstance(array, bytes) else idx(array)
            place = root / (f"{name}.gz" if packed else name)
            place.write_bytes(gzip.compress(data) if packed else data)
    return root


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("dot", ["-", "."])
def test_images_and_labels_are_those_of_the_files(tmp_path, packed, dot):
    source = open_source(f"idx:{lay(tmp_path, packed=packed, dot=dot)}", split="train")
    entries = list(source.entries())
    assert source.splits == ("train",) and source.classes == ()
    assert [entry.label for entry in entries] == LABELS.tolist()
    assert [entry.path for entry in entries] == list(source.paths())
    assert len({entry.path for entry in entries}) == 50
    for entry, pixels in zip(entries, IMAGES, strict=True):
        assert np.array_equal(np.asarray(picture(entry.data)), pixels)
    chosen = {"train/00007", "train/00031"}
    assert list(source.entries(chosen.__contains__)) == [entries[7], entries[31]]


def test_splits_are_those_whose_files_are_there(tmp_path):
    lay(lay(tmp_path), "t10k", images=IMAGES[:9], labels=LABELS[:9])
    source = open_source("idx", split="test", data=tmp_path)
    assert source.splits == ("train", "test")
    assert len(list(source.entries())) == 9
    (tmp_path / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(UsageError, match="has no split 'test'; it has: train"):
        open_source("idx", split="test", data=tmp_path)
    with pytest.raises(DataError, match="holds no train-images-idx3-ubyte"):
        open_source("idx", split="train", data=tmp_path.parent)


def test_labels_may_be_missing(tmp_path):
    source = open_source(f"idx:{lay(tmp_path, labels=None)}", split="train")
    assert [entry.label for entry in source.entries()] == [None] * 50


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("which", ["images", "labels"])
def test_a_cut_anywhere_is_detected(tmp_path, packed, which):
    folder = lay(tmp_path, packed=packed)
    (path,) = folder.glob(f"train-{which}*")
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for end in {0, 1, 3, 8, 15, 16, len(data) - 1, *random.integers(0, len(data), 60).tolist()}:
        path.write_bytes(data[:end])
        with pytest.raises(
            DataError, match=f"train-{which}-idx. is (cut short|damaged)|{path.name}"
        ):
            list(open_source(f"idx:{folder}", split="train").entries())


def test_one_bit_flipped_anywhere_in_a_packed_file_is_detected(tmp_path):
    folder = lay(tmp_path, packed=True)
    (path,) = folder.glob("train-images*")
    data = path.read_bytes()
    pixels = [entry.data for entry in open_source(f"idx:{folder}", split="train").entries()]
    detected = 0
    for place in range(0, len(data), 3):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            found = list(open_source(f"idx:{folder}", split="train").entries())
        except DataError:
            detected += 1
        else:  # the time stamp or the like in gzip's own header
            assert place < 12
            assert [entry.data for entry in found] == pixels
    assert detected >= len(data) // 3 - 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": LABELS[:49]}, "has 49 labels for 50 images"),
        ({"images": idx(IMAGES) + b"x"}, "is longer than its header says"),
        ({"labels": idx(LABELS) + b"x"}, "is longer than its header says"),
        ({"images": idx(LABELS)}, "no idx file of bytes in 3 dimensions"),
        ({"images": b"\x89PNG" + bytes(40)}, "no idx file of bytes in 3 dimensions"),
        ({"images": idx(IMAGES).replace(b"\0\0\x08", b"\0\0\x0d", 1)}, "no idx file of bytes"),
        ({"images": struct.pack(">BBBB3I", 0, 0, 8, 3, 9, 2**31, 2**31)}, "claims images of"),
        ({"images": struct.pack(">BBBB3I", 0, 0, 8, 3, 9, 0, 9)}, "claims images of 0 x 9"),
    ],
)
def test_what_is_no_idx_is_told(tmp_path, options, message):
    folder = lay(tmp_path, **options)
    with pytest.raises(DataError, match=message):
        list(open_source(f"idx:{folder}", split="train").entries())


def test_an_idx_of_no_images_is_an_empty_dataset(tmp_path):
    folder = lay(tmp_path / "d", images=IMAGES[:0], labels=LABELS[:0])
    with pytest.raises(DataError, match="no images found"):
        shards.write([(open_source(f"idx:{folder}", split="train"), "train")], tmp_path / "s")


@pytest.mark.skipif(not FASHION.is_dir(), reason=f"no Fashion-MNIST in {FASHION}")
def test_fashion_mnist_is_read_whole(tmp_path):
    source = open_source("idx", split="test", data=FASHION)
    labels = np.array([entry.label for entry in source.entries()])
    assert np.bincount(labels).tolist() == [1000] * 10
    assert source.splits == ("train", "test")
    train = open_source("idx", split="train", data=FASHION)
    facts = shards.write([(train, "train"), (source, "test")], tmp_path / "s", limit=300)
    assert facts["splits"] == {r: {"written": 300, "rejected": 0} for r in ("train", "test")}
    index = shards.Reader(tmp_path / "s").index()
    assert set(index["width"].to_pylist()) == set(index["height"].to_pylist()) == {28}
