"""torchvision's data sets, laid out as torchvision lays them out; nothing is downloaded."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torchvision
from PIL import Image

from curate.data.decoding import picture
from curate.data.sources import open_source
from curate.data.sources.torchvision import DATASETS
from curate.errors import DataError

FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture
def unplugged(monkeypatch):
    """Make every download fail at once, as without a network."""

    def refuse(*args, **kwargs):
        raise OSError("the network is unplugged")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_is_torchvisions_and_absence_says_what_to_do(name, tmp_path, unplugged):
    assert hasattr(torchvision.datasets, name)
    for split in DATASETS[name]:
        with pytest.raises(DataError) as caught:
            open_source(f"torchvision:{name}", split=split, data=tmp_path)
        message = str(caught.value)
        assert f"torchvision:{name} is not in {tmp_path} and cannot be downloaded" in message
        assert "with data." in message and "\n" not in message


@pytest.mark.skipif(not FASHION.is_dir(), reason=f"no Fashion-MNIST in {FASHION}")
def test_fashion_mnist_from_its_packed_files(tmp_path, unplugged):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for file in FASHION.glob("*.gz"):
        shutil.copy(file, raw)
    source = open_source("torchvision:FashionMNIST", split="test", data=tmp_path)
    assert source.splits == ("train", "test")
    assert source.classes[0] == "T-shirt/top" and len(source.classes) == 10
    entries = list(source.entries())
    twins = open_source("idx", split="test", data=FASHION).entries()
    assert [(e.data, e.label) for e in entries] == [(t.data, t.label) for t in twins]
    assert [entry.path for entry in entries] == list(source.paths())
    assert list(source.entries({"test/00005"}.__contains__)) == [entries[5]]


def test_svhn_is_in_colour_and_has_an_extra_split(tmp_path, monkeypatch, unplugged):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 6), dtype=np.uint8)
    labels = np.array([[10], [1], [2], [3], [9], [10]], dtype=np.uint8)  # 10 stands for 0
    scipy.io.savemat(tmp_path / "extra_32x32.mat", {"X": pixels, "y": labels})
    monkeypatch.setattr(torchvision.datasets.SVHN, "_check_integrity", lambda self: True)
    source = open_source("torchvision:SVHN", split="extra", data=tmp_path)
    assert source.splits == ("train", "test", "extra") and source.classes == ()
    entries = list(source.entries())
    assert [entry.label for entry in entries] == [0, 1, 2, 3, 9, 0]
    for i, entry in enumerate(entries):
        assert np.array_equal(np.asarray(picture(entry.data)), pixels[..., i])


def test_stl10_without_labels(tmp_path, monkeypatch, unplugged):
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 96, 96), dtype=np.uint8)
    (folder / "unlabeled_X.bin").write_bytes(pixels.tobytes())
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda self: True)
    source = open_source("torchvision:STL10", split="unlabeled", data=tmp_path)
    entries = list(source.entries())
    assert [entry.label for entry in entries] == [None] * 4
    assert source.classes == ("airplane", "bird")
    for entry, image in zip(entries, pixels, strict=True):  # stored column by column
        assert np.array_equal(np.asarray(picture(entry.data)), image.transpose(2, 1, 0))


def test_cifar_files_that_fail_their_checksum_are_not_unpickled(tmp_path, unplugged):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    canary = tmp_path / "canary"
    payload = b"cos\nsystem\n(S'touch %s'\ntR." % str(canary).encode()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(payload)
    with pytest.raises(DataError, match="is not in"):
        open_source("torchvision:CIFAR10", split="train", data=tmp_path)
    assert not canary.exists()


def jpegs(folder, names):
    """Write a small JPEG for each name; returns their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(k).integers(0, 256, (9, 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / name)
    return [(folder / name).read_bytes() for name in names]


def test_food101_is_its_files_by_the_lists_of_its_splits(tmp_path, unplugged):
    home = tmp_path / "food-101"
    data = jpegs(home / "images", ["ramen/1.jpg", "ramen/2.jpg", "sushi/7.jpg"])
    (home / "meta").mkdir()
    lists = {"train": {"ramen": ["ramen/1", "ramen/9"], "sushi": ["sushi/7"]},
             "test": {"ramen": ["ramen/2"], "sushi": []}}  # fmt: skip
    for split, names in lists.items():
        (home / "meta" / f"{split}.json").write_text(json.dumps(names))
    source = open_source("torchvision:Food101", split="train", data=tmp_path)
    assert (source.classes, source.splits) == (("ramen", "sushi"), ("train", "test"))
    entries = list(source.entries())
    assert [(e.data, e.label) for e in entries] == [(data[0], 0), (data[2], 1)]
    assert [path for path, _ in source.rejected] == ["train/00001"]
    (test,) = open_source("torchvision:Food101", split="test", data=tmp_path).entries()
    assert (test.data, test.label) == (data[1], 0)


def test_flowers102_is_its_files_by_the_ids_of_its_splits(tmp_path, monkeypatch, unplugged):
    home = tmp_path / "flowers-102"
    data = jpegs(home / "jpg", [f"image_{k:05d}.jpg" for k in range(1, 5)])
    scipy.io.savemat(home / "imagelabels.mat", {"labels": [[3, 1, 2, 102]]})
    scipy.io.savemat(home / "setid.mat", {"trnid": [[2, 4]], "valid": [[1, 3]], "tstid": [[3, 1]]})
    monkeypatch.setattr(torchvision.datasets.Flowers102, "_check_integrity", lambda self: True)
    source = open_source("torchvision:Flowers102", split="train", data=tmp_path)
    assert source.splits == ("train", "val", "test") and len(source.classes) == 102
    assert [(e.data, e.label) for e in source.entries()] == [(data[1], 0), (data[3], 101)]
    tests = open_source("torchvision:Flowers102", split="test", data=tmp_path).entries()
    assert [e.label for e in tests] == [1, 2]
