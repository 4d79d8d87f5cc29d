"""Cues: windows and mirrors are described as if they had been cut and turned over first."""

import numpy as np
import pytest
import torch

from curate.inspection import cues
from curate.inspection.cues import Cue, Flip
from tests.rendered import picture

pytestmark = pytest.mark.numeric

SIDE = 32


def images(seeds):
    rows = [picture(seed, SIDE, SIDE).mean(axis=2) for seed in seeds]
    return torch.from_numpy(np.stack(rows)).float()[:, None]


@pytest.fixture(scope="module", params=[True, False], ids=["edges", "brightness"])
def cue(request):
    return Cue.fitted(images(range(200)), edges=request.param, cells=6, dim=32)


@pytest.mark.parametrize("flip", [Flip(across=True), Flip(down=True), Flip(across=True, down=True)])
def test_a_flip_is_described_as_the_turned_image(cue, flip):
    some = images(range(300, 310))
    window = (0.8, 0.64, 0.2, -0.36)
    turned = cue.describe(cue.measure(flip.of(some), [window]), window)
    asked = cue.describe(cue.measure(some, [window]), window, flip)
    np.testing.assert_allclose(asked, turned, atol=1e-4)


def test_a_window_is_like_what_was_cut_there(cue):
    some = images(range(300, 310))
    part = torch.nn.functional.interpolate(
        some[:, :, :16, 16:], (SIDE, SIDE), mode="bilinear", align_corners=False
    )
    window = (0.5, 0.5, 0.5, -0.5)
    windows = cue.describe(cue.measure(some, [window]), window)
    like = windows @ cue.describe(cue.measure(part)).mT
    assert (like.argmax(dim=1) == torch.arange(10)).sum() >= 9


def test_descriptions_have_length_one_also_of_few_and_plain_images():
    some = torch.cat([images(range(2)), torch.full((1, 1, SIDE, SIDE), 50.0)])
    for edges in (True, False):
        cue = Cue.fitted(some, edges=edges, cells=6, dim=32)
        found = cue.describe(cue.measure(some))
        assert torch.isfinite(found).all()
        assert (found.norm(dim=1) <= 1.001).all()


def test_edges_do_not_see_a_negative():
    some = images(range(20))
    cue = Cue.fitted(some, edges=True, cells=6, dim=16)
    np.testing.assert_allclose(
        cue.describe(cue.measure(255 - some)), cue.describe(cue.measure(some)), atol=1e-3
    )


def test_a_frame_is_measured_and_its_inner_window_and_end_are_hidden():
    image = images([1])
    image[:, :, :4], image[:, :, :, 29:] = 10.0, 10.0
    frame = cues.frames(image)
    assert frame.tolist() == [[0, 3, 4, 0]]
    inner = cues.inner(frame, SIDE)
    assert inner.tolist() == [[29 / 32, 28 / 32, -3 / 32, 4 / 32]]
    seen = cues.seen(frame, SIDE, 2)[0, 0]
    assert seen[:6].sum() == 0
    assert seen[:, 27:].sum() == 0
    assert seen[6:, :27].all()
