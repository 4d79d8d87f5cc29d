"""Depths are metres where there are some, and errors are over all pixels that have one."""

import numpy as np
import pytest
import torch

from curate.errors import DataError
from curate.evaluation.config import DepthConfig
from curate.evaluation.dense import depth
from curate.evaluation.dense.base import DenseSet

pytestmark = pytest.mark.numeric


def set_of(targets):
    return DenseSet(
        name="depth:x", kind="depth", images=targets, targets=targets, test=None, test_images=None,
        test_targets=None, keys=None, classes=(), made_of="",
    )  # fmt: skip


def test_whole_numbers_are_steps_and_floats_are_metres():
    steps = np.array([[0, 1500]], dtype=np.uint16)
    found = depth.target(steps, DepthConfig())
    assert np.isnan(found[0, 0]) and found[0, 1] == pytest.approx(1.5)
    assert depth.target(steps, DepthConfig(unit=0.0002))[0, 1] == pytest.approx(0.3)
    metres = np.array([[-1, np.inf, np.nan, 2.5]], dtype=np.float32)
    assert np.array_equal(
        depth.target(metres, DepthConfig()), [[np.nan, np.nan, np.nan, 2.5]], equal_nan=True
    )


def test_errors_of_a_constant_are_what_they_are():
    truth = np.array([[[1, 3]], [[np.nan, 5]]], dtype=np.float32)
    prepared = depth.TASK.prepare(set_of(truth))
    zeros = torch.zeros(2, 1, 1, 2)
    # Nothing is the mean of all training depths: 3 m.
    sums = {k: v.numpy() for k, v in prepared.sums(zeros, torch.from_numpy(truth)).items()}
    assert sums["squared_error"] == pytest.approx([4, 4])
    assert sums["relative_error"] == pytest.approx([2, 0.4])
    assert sums["pixels"].tolist() == [2, 1]
    measures = {name: of(sums).mean() for name, of in depth.TASK.measures.items()}
    assert measures["RMSE"] == pytest.approx((8 / 3) ** 0.5)
    assert measures["AbsRel"] == pytest.approx(2.4 / 3)
    assert float(prepared.loss(zeros, torch.from_numpy(truth))) == pytest.approx(1.0)


def test_one_depth_everywhere_is_nothing_to_learn():
    with pytest.raises(DataError, match="2 m"):
        depth.TASK.prepare(set_of(np.full((2, 4, 4), 2.0, dtype=np.float32)))
