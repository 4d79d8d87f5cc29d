"""Near-duplicates: rendered pictures planted once more, in each way that an image is copied."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from curate.inspection import duplicates, matching, thumbnails
from curate.inspection.summary import CopySearch, IndexUsed
from tests.rendered import picture

pytestmark = pytest.mark.numeric

SIDE = 48


def jpeg(image):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=40)
    return Image.open(stream).convert("RGB")


COPIES = {
    "re-encode": jpeg,
    "flip": ImageOps.mirror,
    "brightness": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "crop": lambda image: image.crop((2, 4, 44, 46)).resize((SIDE, SIDE), Image.BICUBIC),
    "crop at a corner": lambda image: image.crop((8, 8, SIDE, SIDE)).resize((SIDE, SIDE)),
}


def scene(seed):
    """A picture with some bars, so that no two are alike by chance."""
    pixels = np.array(picture(seed, SIDE, SIDE)).astype(int)
    random = np.random.default_rng([7, seed])
    for _ in range(6):
        x, y, w, h = random.integers(0, SIDE - 8, 4)
        pixels[y : y + 4 + h // 6, x : x + 4 + w // 6] = random.integers(0, 256, 3)
    return Image.fromarray(pixels.astype(np.uint8))


def stacked(images):
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])


def pairs(images, threshold=0.5):
    found = duplicates.find(thumbnails.of_canvas(stacked(images)), threshold)
    return set(zip(found.a.tolist(), found.b.tolist(), strict=True)), found


SCENES = [scene(i) for i in range(120)]


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found_and_nothing_else(kind):
    copies = [COPIES[kind](image) for image in SCENES[:10]]
    found, about = pairs([*SCENES, *copies])
    planted = {(i, 120 + i) for i in range(10)}
    assert len(found & planted) >= 9
    assert len(found - planted) <= 1
    assert (about.similarity >= 0.5).all()
    assert about.search.decoys == 0
    assert (about.a < about.b).all()


def test_pictures_that_are_no_copies_are_none():
    assert len(pairs(SCENES)[0]) <= 1


def test_a_higher_threshold_finds_fewer():
    images = [*SCENES, *(COPIES["brightness"](jpeg(image)) for image in SCENES[:20])]
    assert pairs(images, 0.9999)[0] < pairs(images, 0.95)[0]


def test_the_same_images_give_the_same_pairs_in_whatever_blocks(monkeypatch):
    images = [*SCENES, *(COPIES["crop"](image) for image in SCENES[:20])]
    _, one = pairs(images)
    monkeypatch.setattr(matching, "BLOCK", 37)
    monkeypatch.setattr(matching, "PAIRS", 31)
    _, other = pairs(images)
    assert (one.a.tolist(), one.b.tolist()) == (other.a.tolist(), other.b.tolist())
    np.testing.assert_allclose(one.similarity, other.similarity, atol=1e-3)


def test_images_of_one_colour_are_like_no_other():
    blank = [Image.new("RGB", (SIDE, SIDE), (shade,) * 3) for shade in (0, 128, 128, 255)]
    assert pairs([*blank, *SCENES[:20]])[0] == set()


@pytest.mark.parametrize("n", [0, 1, 2])
def test_two_copies_are_a_pair_and_fewer_images_are_none(n):
    assert len(pairs(SCENES[:1] * n)[0] if n else ()) == (n == 2)


SEARCH = CopySearch(300.0, 0.0, 0, 0, IndexUsed("flat", None, 0))


def groups(n, *found, uids=None):
    a, b = np.array(found, dtype=np.int64).reshape(-1, 2).T
    ones, no = np.ones(len(a), np.float32), np.zeros(len(a), bool)
    made = duplicates.Pairs(a, b, ones, ones, no, no, no, SEARCH)
    names = np.array(uids or [f"{i:032d}" for i in range(n)])
    return made.groups(n, names).tolist()


def test_copies_of_some_images_are_those_of_all_that_have_one_of_them(monkeypatch):
    copies = [make(image) for make in COPIES.values() for image in SCENES[:6]]
    thumbs = thumbnails.of_canvas(stacked([*SCENES, *copies, SCENES[50], SCENES[50]]))
    # Among them one that equals an image that is not asked for, and is the later of three.
    some = np.append(np.arange(0, 3), [124, 125, 140, len(thumbs) - 1])
    looked_up, rows = matching.looked_up, []

    def counted(library, of, *rest, **options):
        rows.append(len(of))
        return looked_up(library, of, *rest, **options)

    monkeypatch.setattr(matching, "looked_up", counted)
    asked = duplicates.find(thumbs, 0.5, of=some)
    assert sum(rows) < len(thumbs) / 2
    every = duplicates.find(thumbs, 0.5)
    has = np.isin(every.a, some) | np.isin(every.b, some)
    assert has.sum() > 15
    assert asked.a.tolist() == every.a[has].tolist()
    assert asked.b.tolist() == every.b[has].tolist()
    assert asked.mirrored.tolist() == every.mirrored[has].tolist()


def test_copies_of_nothing_are_none():
    found = duplicates.find(thumbnails.of_canvas(stacked(SCENES[:5])), of=np.arange(0))
    assert len(found) == 0


def test_groups_are_connected_and_numbered_by_their_first():
    assert groups(7, (4, 6), (1, 5), (1, 2)) == [-1, 0, 0, -1, 1, 0, 1]
    assert groups(3) == [-1, -1, -1]


def test_held_out_images_do_not_connect_a_group():
    assert groups(3, (0, 3), (1, 3)) == [-1, -1, -1]


def test_copies_of_a_file_are_a_group_by_their_names():
    a, b = "a" * 32, "b" * 32
    assert groups(4, uids=[a, f"{a}-1", f"{a}-2", b]) == [0, 0, 0, -1]


def test_many_copies_of_one_image_are_one_group():
    copies = 3 * matching.WHOLE_K
    _, found = pairs([*SCENES[:20], *SCENES[:1] * copies])
    group = found.groups(20 + copies, np.array([f"{i:032d}" for i in range(20 + copies)]))
    assert group[0] == 0
    assert (group[20:] == 0).all()
    assert (group[1:20] == -1).all()


def test_many_copies_that_differ_a_little_are_one_group():
    random = np.random.default_rng(3)
    noisy = np.asarray(SCENES[0]) + random.normal(0, 4, (40, SIDE, SIDE, 3))
    some = [Image.fromarray(image) for image in np.clip(noisy, 0, 255).astype(np.uint8)]
    _, found = pairs([*SCENES[1:80], *some])
    group = duplicates.connected(found.a, found.b, 119)
    assert (group[79:] == group[79]).all()
    assert (group[:79] == -1).all()


@pytest.mark.parametrize("whole", [100, 1000])
def test_codes_and_inverted_lists_find_copies_too(monkeypatch, whole):
    monkeypatch.setattr(matching, "EXACT", 100)
    monkeypatch.setattr(matching, "ALL", whole)
    copies = [COPIES["flip"](image) for image in SCENES[:10]]
    found, about = pairs([*SCENES, *copies])
    assert len(found & {(i, 120 + i) for i in range(10)}) >= 9
    assert (about.search.index.kind, about.search.index.queries) == ("codes", 130)
    assert about.search.index.recall >= 0.9


def test_what_was_done_is_said():
    grey = [ImageOps.grayscale(image).convert("RGB") for image in SCENES[:10]]
    for kind, copies in (
        ("mirrored", [ImageOps.mirror(image) for image in SCENES[:10]]),
        ("cropped", [COPIES["crop at a corner"](image) for image in SCENES[:10]]),
        ("recoloured", grey),
    ):
        _, about = pairs([*SCENES, *copies])
        at = [(a, b) in {(i, 120 + i) for i in range(10)} for a, b in found_in_order(about)]
        assert sum(at) >= 9
        for name in ("mirrored", "cropped", "recoloured"):
            share = getattr(about, name)[at].mean()
            assert share >= 0.8 if name == kind else share <= 0.2, (kind, name)


def found_in_order(about):
    return list(zip(about.a.tolist(), about.b.tolist(), strict=True))
