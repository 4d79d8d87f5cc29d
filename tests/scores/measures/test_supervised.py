"""supervised, on a case that is worked by hand."""

import numpy as np
import pytest

from tests.scores.measures.by_hand import INSIDE, said

pytestmark = pytest.mark.numeric


def test_supervised_is_inside_minus_outside():
    p = np.array([[0.9, 0.3], [0.7, 0.2], [0.5, 0.4]])
    # (0.9 + 0.7) / 2 - 0.5; the second sample is in no encoder.
    assert said("supervised", INSIDE, probability=p) == pytest.approx([0.3, np.nan], nan_ok=True)
