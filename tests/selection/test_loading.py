"""A subset is read from the shards: the kept images, each as it was."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from curate.data import shards
from curate.data.canvas import decode
from curate.data.sample import Entry
from curate.data.shards import writer
from curate.errors import DataError
from curate.selection.loading import Subset
from tests.given import Given
from tests.rendered import encoded, picture

KEPT = np.array([0, 2, 3, 7, 8])


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Ten images in shards of four, one of them without a label."""
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 4)
    entries = [
        Entry(f"{i}.png", encoded(Image.fromarray(picture(i, 12, 9)), "PNG"), i % 2 if i else None)
        for i in range(10)
    ]
    shards.write([(Given(entries, classes="ab"), "train")], tmp_path / "shards")
    return tmp_path / "shards", entries


def pixels(image):
    return np.array(image)


def shown(samples):
    return sorted((np.asarray(image).tobytes(), label) for image, label in samples)


def test_samples_are_images_with_labels_in_order(made):
    place, entries = made
    subset = Subset(place, KEPT)
    assert len(subset) == 5 and subset.classes == ("a", "b")
    assert subset.uids == pq.read_table(place / "index.parquet")["uid"].take(KEPT).to_pylist()
    for place_, (image, label) in zip(KEPT, subset, strict=True):
        wanted = decode(entries[place_].data, channels=3).transpose(1, 2, 0)
        assert np.array_equal(pixels(image), wanted) and image.mode == "RGB"
        assert label == (place_ % 2 if place_ else -1)
    assert subset[-1][1] == 0
    with pytest.raises(IndexError):
        subset[5]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_every_kept_sample_once(made, workers):
    subset = Subset(made[0], KEPT, pixels)
    plain = shown(subset)
    loader = DataLoader(subset, batch_size=None, num_workers=workers, shuffle=True)
    assert shown(loader) == plain
    for shuffle in (0, 3):
        streamed = DataLoader(subset.stream(shuffle=shuffle), batch_size=None, num_workers=workers)
        assert shown(streamed) == plain


def test_a_changed_image_is_named_by_both(made):
    place, _ = made
    row = pq.read_table(place / "index.parquet").to_pylist()[7]
    tar = place / row["shard"]
    data = bytearray(tar.read_bytes())
    data[row["offset"] + row["size"] // 2] ^= 1
    tar.write_bytes(data)
    subset = Subset(place, KEPT)
    with pytest.raises(DataError, match=row["key"]):
        list(subset)
    with pytest.raises(DataError, match=row["key"]):
        list(subset.stream())


def test_a_tar_cut_short_is_noticed_before_the_first_sample(made):
    place, _ = made
    tar = place / "00001.tar"
    tar.write_bytes(tar.read_bytes()[:1024])
    with pytest.raises(DataError, match=r"00001\.tar is of 1,024 bytes"):
        Subset(place, KEPT).stream()
    tar.unlink()
    with pytest.raises(DataError, match=r"00001\.tar is missing"):
        Subset(place, KEPT).stream()
