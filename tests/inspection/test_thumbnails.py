"""Thumbnails: small, alike whichever way they are made, and as many as were added."""

import numpy as np
import pytest
from PIL import Image

from curate.inspection import thumbnails
from tests.rendered import picture

pytestmark = pytest.mark.numeric


def canvas(n, side):
    return np.stack([picture(i, side, side).transpose(2, 0, 1) for i in range(n)])


@pytest.mark.parametrize("side", [8, 32, 50])
def test_those_of_a_canvas_are_those_of_the_pictures(side, tmp_path):
    pixels = canvas(300, side)
    whole = thumbnails.of_canvas(pixels)
    growing = thumbnails.Growing(tmp_path)
    for image in pixels:
        small = thumbnails.pixels(
            thumbnails.shrunk(Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))))
        )
        growing.add(small, side, side)
    one_by_one = growing.done()
    assert len(whole) == len(one_by_one) == 300
    assert np.abs(whole.grey.astype(int) - one_by_one.grey).max() <= 3
    assert np.abs(whole.colour.astype(int) - one_by_one.colour).max() <= 3
    assert (whole.detail == one_by_one.detail).all()
    assert whole.detail[0] == min(1, side**2 / 32**2)
    assert list(tmp_path.iterdir()) == []


def test_equal_images_have_equal_digests_and_others_have_not():
    pixels = canvas(5, 40)
    found = thumbnails.of_canvas(pixels[[0, 1, 2, 0, 4]]).digests()
    assert found[0] == found[3]
    assert len(np.unique(found)) == 4


def test_grey_images_are_as_their_colours():
    grey = canvas(4, 32)[:, :1]
    assert (
        thumbnails.of_canvas(grey).colour[:, 0] == thumbnails.of_canvas(grey).colour[:, 2]
    ).all()


def test_none_is_none(tmp_path):
    assert len(thumbnails.Growing(tmp_path).done()) == 0
    assert len(thumbnails.of_canvas(np.zeros((0, 3, 32, 32), np.uint8))) == 0
