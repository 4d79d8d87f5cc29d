import base64
import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from curate.data import shards
from curate.errors import DataError
from curate.reports.thumbnails import SIDE, thumbnails
from tests.reports.made_run import make_run


def opened(thumbnail):
    head, _, data = thumbnail.uri.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert head == f"data:image/{image.format.lower()}"
    return image


def test_a_small_image_keeps_every_pixel_and_its_path(runs):
    folder = runs["folds"] / "shards"
    index = shards.Reader(folder).index().to_pylist()
    found = thumbnails(folder, [row["uid"] for row in index], channels=1)
    assert len(found) == len(index) == 300
    for row in index[::37]:
        number = int(row["path"].removeprefix("digits/").removesuffix(".png"))
        want = np.round(load_digits().images[number] * 255 / 16).astype(np.uint8)
        thumbnail = found[row["uid"]]
        assert thumbnail.exact and thumbnail.path == row["path"]
        np.testing.assert_array_equal(np.asarray(opened(thumbnail)), want)


def test_a_large_image_becomes_a_small_jpeg_in_its_own_colours(tmp_path):
    folder = make_run(tmp_path / "run", n=20, scale=40, colour=True) / "shards"
    uid = shards.Reader(folder).index()["uid"][0].as_py()
    colour, grey = (thumbnails(folder, [uid], channels=c)[uid] for c in (3, 1))
    assert not colour.exact and not grey.exact
    assert (opened(colour).mode, opened(grey).mode) == ("RGB", "L")
    assert opened(colour).size == (SIDE, SIDE)
    # Red and green of the source add up to white, and there is no blue.
    red, green, blue = np.asarray(opened(colour)).astype(int).transpose(2, 0, 1)
    assert abs(red + green - 255).mean() < 12 and blue.mean() < 12


def test_a_sample_that_is_not_there_is_named(runs):
    with pytest.raises(DataError, match=r"sample nosuch is not in .*index\.parquet"):
        thumbnails(runs["folds"] / "shards", ["nosuch"], channels=1)


def test_a_changed_shard_is_not_shown(run):
    index = shards.Reader(run / "shards").index()
    row = index.slice(0, 1).to_pylist()[0]
    tar = run / "shards" / row["shard"]
    data = bytearray(tar.read_bytes())
    data[row["offset"] + 20] ^= 1
    tar.write_bytes(data)
    with pytest.raises(DataError, match=row["shard"]):
        thumbnails(run / "shards", [row["uid"]], channels=1)
