"""Intersections and unions are those counted pixel by pixel, void left out."""

import numpy as np
import pytest
import torch

from curate.errors import DataError
from curate.evaluation.config import SegConfig
from curate.evaluation.dense import seg
from curate.evaluation.dense.base import DenseSet

pytestmark = pytest.mark.numeric


def set_of(classes):
    return DenseSet(
        name="seg:x", kind="seg", images=None, targets=None, test=None, test_images=None,
        test_targets=None, keys=None, classes=classes, made_of="",
    )  # fmt: skip


def test_void_is_what_is_said_and_255_else():
    numbers = np.array([[0, 1, 255], [11, 2, 0]], dtype=np.uint8)
    found = seg.target(numbers, SegConfig())
    assert np.array_equal(found, [[0, 1, np.nan], [11, 2, 0]], equal_nan=True)
    found = seg.target(numbers, SegConfig(void=(11, 0)))
    assert np.array_equal(found, [[np.nan, 1, 255], [np.nan, 2, np.nan]], equal_nan=True)


@pytest.mark.parametrize("numbers", [np.zeros((2, 2)), np.array([[-1]]), np.array([[1 << 17]])])
def test_what_is_no_class_is_refused(numbers):
    with pytest.raises(DataError, match="whole ones"):
        seg.target(numbers, SegConfig())


def test_sums_are_those_of_counting_and_loss_is_of_what_is_not_void():
    generator = torch.Generator().manual_seed(0)
    out = torch.randn(3, 4, 6, 6, generator=generator)
    truth = torch.randint(0, 4, (3, 6, 6), generator=generator).float()
    truth[:, 0] = torch.nan
    prepared = seg.TASK.prepare(set_of((3, 5, 7, 9)))
    sums = prepared.sums(out, truth)
    named = out.argmax(dim=1)
    for image in range(3):
        there = ~truth[image].isnan()
        for kind in range(4):
            a, b = named[image][there] == kind, truth[image][there] == kind
            assert sums["intersection"][image, kind] == (a & b).sum()
            assert sums["union"][image, kind] == (a | b).sum()
    alone = torch.nn.functional.cross_entropy(out[:, :, 1:], truth[:, 1:].long())
    assert prepared.loss(out, truth) == pytest.approx(float(alone), rel=1e-5)
    nothing = prepared.loss(out, torch.full_like(truth, torch.nan))
    assert float(nothing) == 0
