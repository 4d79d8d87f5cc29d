"""Shard: images are written and decoded once, and lie in the order of the index."""

import numpy as np
import pytest

from curate.runs import dataset
from curate.runs.run import Run
from curate.stages import shard
from curate.stages.context import Context


@pytest.fixture
def run(tiny_runs):
    return Run.open(tiny_runs / "tiny")


def test_pixels_are_the_images_in_the_order_of_the_index(run):
    context = Context(device="cpu")
    pixels, canvas = shard.pixels(run, context), shard.canvas(run, context)
    uids = dataset.index(run, ["uid"])["uid"].to_pylist()
    assert (pixels.shape, pixels.dtype) == ((len(uids), 1, 8, 8), np.uint8)
    assert np.array_equal(canvas.array, pixels)
    for row in range(0, len(uids), 17):
        assert np.array_equal(run.image(uids[row]), pixels[row])


def test_shards_that_are_written_are_left_alone_and_lost_ones_are_written_again(run):
    tar = run.path / "shards" / "00000.tar"
    stamp, data = tar.stat().st_mtime_ns, tar.read_bytes()
    shard.shard_run(run, Context(device="cpu"))
    assert tar.stat().st_mtime_ns == stamp
    tar.unlink()
    shard.shard_run(run, Context(device="cpu"))
    assert tar.read_bytes() == data


@pytest.mark.parametrize(
    ("wanted", "have", "split"),
    [
        ("auto", ["train", "test"], "test"),
        ("auto", ["train"], None),
        (None, ["train", "test"], None),
        ("val", ["train", "val"], "val"),
    ],
)
def test_tests_are_drawn_from_the_split_that_is_named_or_there(wanted, have, split):
    assert shard.split_for_tests(wanted, have, "train") == split
