"""Matching: which pairs are laid upon each other, what speaks for them, and decoys beside."""

import numpy as np
import pytest
from PIL import ImageOps

from curate.inspection import matching, thumbnails
from curate.runtime.progress import silent
from tests.inspection.test_duplicates import COPIES, SCENES, stacked

pytestmark = pytest.mark.numeric


def search(images):
    thumbs = thumbnails.of_canvas(stacked(images))
    return matching.searched(thumbs, np.arange(len(images)), "cpu", silent)


def test_copies_have_much_more_evidence_than_anything_else():
    planted = [ImageOps.mirror(SCENES[0]), COPIES["crop at a corner"](SCENES[1])]
    found, upside, asked, index = search([*SCENES[:60], *planted])
    found = found.distinct()
    of = {(a, b): e for a, b, e in zip(found.a, found.b, found.evidence, strict=True)}
    copies = [of.pop((0, 60)), of.pop((1, 61))]
    assert min(copies) > 2 * max([*of.values(), 150.0])
    assert upside.evidence.max(initial=0.0) < min(copies)
    assert (asked, index.kind) == (62, "flat")


def test_an_image_that_stands_on_its_head_is_found_as_a_decoy_alone():
    found, upside, *_ = search([*SCENES[:60], ImageOps.flip(SCENES[5])])
    assert upside.evidence[(upside.a == 5) & (upside.b == 60)].max() > 1000
    assert not ((found.a == 5) & (found.b == 60) & (found.evidence > 300)).any()


def test_a_pair_is_kept_once_as_it_has_the_most_evidence():
    rows = [np.array(v) for v in ([3, 1, 1], [1, 3, 2], [0, 1, 0], [400.0, 500.0, 450.0])]
    rest = [np.arange(3.0) for _ in range(7)]
    pairs = matching.Found(*rows, *rest).distinct()
    assert list(zip(pairs.a, pairs.b, pairs.evidence, pairs.flip, strict=True)) == [
        (1, 2, 450.0, 0),
        (1, 3, 500.0, 1),
    ]
    assert pairs.similarity.tolist() == [2.0, 1.0]
    assert pairs.throughout.tolist() == pairs.in_part.tolist() == [2.0, 1.0]


def test_two_framed_pictures_are_laid_upon_each_other_as_both_are_framed():
    framed = [ImageOps.expand(image.resize((24, 48)), (12, 0), "black") for image in SCENES[:40]]
    moved = ImageOps.expand(SCENES[4].resize((24, 48)), (9, 0, 15, 0), "black")
    found = search([*framed, moved])[0].distinct()
    of = {(a, b): e for a, b, e in zip(found.a, found.b, found.evidence, strict=True)}
    assert of[4, 40] > 2 * max(e for pair, e in of.items() if pair != (4, 40))


def test_one_image_has_no_pairs():
    found, upside, asked, index = search(SCENES[:1])
    assert (len(found.a), len(upside.a), asked, index.kind) == (0, 0, 0, "flat")
