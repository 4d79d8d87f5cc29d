"""Registration: windows of rendered pictures are laid where they were cut, and evidence counts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from curate.inspection import registration
from tests.rendered import picture

pytestmark = pytest.mark.numeric

SIDE = 32
ALL = torch.ones(4, 1, SIDE, SIDE)


def images(seeds):
    rows = []
    for seed in seeds:
        pixels = picture(seed, SIDE, SIDE).astype(float).mean(axis=2)
        random = np.random.default_rng(seed)
        for _ in range(8):
            x, y = random.integers(0, SIDE - 6, 2)
            pixels[y : y + 5, x : x + 4] = random.integers(0, 256)
        rows.append(pixels)
    return torch.from_numpy(np.stack(rows)).float()[:, None]


def cut(source, place):
    grid = F.affine_grid(place.view(-1, 2, 3), list(source.shape), align_corners=False)
    return F.grid_sample(source, grid, align_corners=False, padding_mode="border")


def test_a_window_is_laid_where_it_was_cut_whatever_its_brightness():
    source = images(range(4))
    true = registration.begin(torch.tensor([[0.8, 0.8, 0.1, -0.1]] * 4))
    goal = 0.5 * cut(source, true) + 40
    begun = registration.begin(torch.tensor([[0.9, 0.9, 0.05, 0.0]] * 4))
    fit = registration.register(source, goal, begun, 12)
    np.testing.assert_allclose(fit.place, true, atol=0.03)
    assert (fit.correlation > 0.98).all()


def test_evidence_tells_copies_from_others_and_never_exceeds_the_most():
    source = images(range(4))
    here = registration.begin(torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 4))
    same = registration.weigh(source, source, here, ALL, ALL)
    other = registration.weigh(source, images(range(10, 14)), here, ALL, ALL)
    assert (same.evidence > 20 * other.evidence).all()
    assert (same.evidence <= registration.most(SIDE)).all()
    assert (same.agreement > 0.99).all()
    assert (same.overlap == 1).all()


def test_what_a_caption_hides_is_left_out():
    source = images(range(4))
    goal = source.clone()
    goal[:, :, 26:] = torch.tensor([0.0, 255.0]).repeat(16)
    here = registration.begin(torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 4))
    assert (registration.weigh(source, goal, here, ALL, ALL).agreement > 0.95).all()


def test_copies_agree_all_over_and_pictures_in_which_something_moved_do_not():
    source = images(range(8))
    here = registration.begin(torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 8))
    whole = torch.ones(8, 1, SIDE, SIDE)
    captioned = source.clone()
    captioned[:, :, 26:] = torch.tensor([0.0, 255.0]).repeat(16)
    small = F.interpolate(source, scale_factor=0.75, mode="bilinear", antialias=True)
    shrunk = F.interpolate(small, size=SIDE, mode="bilinear")
    for copy in (source, captioned, shrunk, 0.6 * source + 30):
        most, rest = registration.throughout(source, copy, here, whole, whole)
        assert ((most > 0.8) | (rest > 0.95)).all()
    moved = source.clone()
    moved[:, :, 8:24, 8:24] = images(range(20, 28))[:, :, 8:24, 8:24]
    evidence = registration.weigh(source, moved, here, whole, whole).evidence
    assert (evidence > 300).any()
    most, rest = registration.throughout(source, moved, here, whole, whole)
    assert ((most < 0.7) & (rest < 0.9)).all()


def test_one_colour_speaks_for_nothing():
    plain = torch.full((4, 1, SIDE, SIDE), 90.0)
    here = registration.begin(torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 4))
    assert (registration.weigh(plain, plain, here, ALL, ALL).evidence == 0).all()
    fit = registration.register(plain, images(range(4)), here, 3)
    assert torch.isfinite(fit.place).all()


def test_colours_that_change_are_seen():
    source = torch.zeros(2, 3, 8, 8)
    goal = source + torch.tensor([0.0, 30.0]).view(2, 1, 1, 1)
    here = registration.begin(torch.tensor([[1.0, 1.0, 0.0, 0.0]] * 2))
    assert registration.colour_change(source, goal, here).tolist() == [0.0, 30.0]
