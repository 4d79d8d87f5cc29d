"""Leaks: test images with a copy among the training images, by their pixels and by their files."""

import numpy as np
import pytest
from PIL import ImageOps

from curate.data.canvas import Canvas
from curate.evaluation.leaks import leaked
from curate.inspection import matching
from tests.inspection.test_duplicates import COPIES, SCENES, stacked

pytestmark = pytest.mark.numeric


def test_copies_of_training_images_are_told_from_other_test_images():
    tests = [ImageOps.mirror(SCENES[3]), SCENES[50], COPIES["crop"](SCENES[7]), SCENES[51]]
    pixels = stacked([*SCENES[:40], *tests])
    uids = np.array([f"{i:032d}" for i in range(44)], dtype="S40")
    train, test = uids[:40], uids[40:]
    assert leaked(Canvas(pixels, uids), train, test).tolist() == [True, False, True, False]
    # In whatever order the canvas has them.
    order = np.random.default_rng(0).permutation(44)
    shuffled = Canvas(pixels[order], uids[order])
    assert leaked(shuffled, train, test).tolist() == [True, False, True, False]
    # A test image that is a copy of another test image alone is none.
    assert not leaked(Canvas(pixels, uids), train[:3], test[[1, 3]]).any()


def test_what_leaks_does_not_depend_on_the_order_of_what_is_asked():
    tests = [ImageOps.mirror(SCENES[3]), SCENES[50], COPIES["crop"](SCENES[7]), SCENES[51]]
    pixels = stacked([*SCENES[:40], *tests])
    uids = np.array([f"{i:032d}" for i in range(44)], dtype="S40")
    backwards = leaked(Canvas(pixels, uids), uids[39::-1], uids[:39:-1])
    assert backwards.tolist() == [False, True, False, True]


def test_two_equal_test_images_leak_both():
    mirror = ImageOps.mirror(SCENES[3])
    pixels = stacked([*SCENES[:40], mirror, SCENES[50], mirror])
    uids = np.array([f"{i:032d}" for i in range(43)], dtype="S40")
    assert leaked(Canvas(pixels, uids), uids[:40], uids[40:]).tolist() == [True, False, True]


def test_one_file_on_both_sides_leaks_even_where_it_shows_nothing():
    uids = np.array(["a" * 32, "b" * 32, "a" * 32 + "-1", "c" * 32], dtype="S40")
    blank = Canvas(np.zeros((4, 3, 32, 32), np.uint8), uids)
    assert leaked(blank, uids[:2], uids[2:]).tolist() == [True, False]


def test_images_that_were_searched_last_are_not_searched_again(monkeypatch):
    searches = []
    search = matching.searched
    monkeypatch.setattr(matching, "searched", lambda *a: searches.append(a) or search(*a))
    uids = np.array([f"{i:032d}" for i in range(30)], dtype="S40")
    for scenes in (SCENES[10:40], SCENES[10:40], SCENES[11:41]):
        images = Canvas(stacked(scenes), uids)
        assert not leaked(images, uids[:20], uids[20:]).any()
    assert len(searches) == 2
