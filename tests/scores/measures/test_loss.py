"""loss, on a case that is worked by hand."""

import math

import numpy as np
import pytest

from tests.scores.measures.by_hand import INSIDE, said

pytestmark = pytest.mark.numeric


def test_loss_is_that_of_encoders_without_the_sample():
    p = np.array([[0.9, 0.5], [0.7, 0.25], [0.5, 0.125]])
    assert said("loss", INSIDE, probability=p) == pytest.approx([math.log(2), 2 * math.log(2)])
