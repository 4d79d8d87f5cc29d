"""Representations of unit length, the distances between them, and features put on one scale."""

import numpy as np
import pytest

from curate.encoders.representation import standardiser

pytestmark = pytest.mark.numeric


def test_standardising_leaves_constant_features_at_0():
    x = np.column_stack([np.arange(10), np.full(10, 1 / 3)]).astype(np.float32)
    out = standardiser(x)(x)
    assert out[:, 0].std() == pytest.approx(1)
    assert (out[:, 1] == 0).all()
