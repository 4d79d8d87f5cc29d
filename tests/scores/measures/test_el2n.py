"""el2n, on a case that is worked by hand."""

import numpy as np
import pytest

from tests.scores.measures.by_hand import INSIDE, said

pytestmark = pytest.mark.numeric


def test_el2n_is_the_mean_over_encoders_with_the_sample():
    # Of what an early head says, the errors are first and the gradients second.
    other = np.full(2, np.nan)
    early = [(np.array([a, 1.0]), other) for a in (0.2, 0.6, 5.0)]
    assert said("el2n", INSIDE, early=early) == pytest.approx([0.4, np.nan], nan_ok=True)
