"""Feeds: whichever way images take, the same come."""

import numpy as np
import pytest
import torch

from curate.encoders import feed
from curate.errors import DataError
from tests.operations import Operations, card

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 1, 4, 4), dtype=np.uint8)
ROWS = np.random.default_rng(1).permutation(30)[:20]
STEPS = 130


def sample(step):
    """Draw as many as a step says, none at times."""
    return np.random.default_rng(step).permutation(20)[: step % 7]


@pytest.mark.parametrize("kind", [feed.Feed, feed.Resident, feed.Streamed])
@pytest.mark.parametrize("first", [0, 77])
def test_every_feed_gives_what_was_drawn(kind, first, monkeypatch):
    monkeypatch.setattr(feed, "BLOCK", 7 * IMAGES[0].nbytes)
    asked = []

    def drawn(step):
        asked.append(step)
        return sample(step)

    there = kind(IMAGES, ROWS, drawn, steps=STEPS, device="cpu")
    for step in range(first, STEPS):
        places, pixels = there.take(step)
        assert places.tolist() == sample(step).tolist()
        assert np.array_equal(pixels.numpy(), IMAGES[ROWS[sample(step)]])
    # Once each and in their order, as an epoch's order wants it.
    assert asked == list(range(first, STEPS))
    places, pixels = there.of(np.array([3, 1]))
    assert places.tolist() == [3, 1] and np.array_equal(pixels.numpy(), IMAGES[ROWS[[3, 1]]])


def test_what_the_thread_meets_is_told():
    def broken(step):
        if step == 2:
            raise DataError("the canvas changed")
        return sample(step)

    there = feed.Streamed(IMAGES, ROWS, broken, steps=STEPS, device="cpu")
    there.take(0)
    there.take(1)
    with pytest.raises(DataError, match="the canvas changed"):
        there.take(2)


def test_a_card_keeps_images_that_take_less_than_its_share(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Stream", lambda: None)
    with card():
        for free, kind in ((20 * 16 / 0.39, feed.Resident), (20 * 16 / 0.41, feed.Streamed)):
            monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, 0))
            there = feed.feed_of(IMAGES, ROWS, sample, steps=STEPS, device="cuda")
            assert type(there) is kind
    assert type(feed.feed_of(IMAGES, ROWS, sample, steps=STEPS, device="cpu")) is feed.Feed


def test_a_card_with_the_images_is_brought_nothing_in_a_step():
    with card():
        there = feed.feed_of(IMAGES, ROWS, lambda step: np.arange(5), steps=STEPS, device="cuda")
        copies = []
        for step in range(STEPS):
            with Operations() as asked:
                places, pixels = there.take(step)
            assert (places.device.type, pixels.device.type) == ("cuda", "cuda")
            assert pixels.shape == (5, 1, 4, 4) and not asked.reads
            copies.append(sum(asked.copies.values()))
        assert [step for step, n in enumerate(copies) if n] == [0, 50, 100]
