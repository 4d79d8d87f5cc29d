"""relative, on cases that are worked by hand."""

import numpy as np
import pytest

from curate.scores.measures import MEASURES
from curate.scores.measures.relative import of_alignment
from tests.scores.measures.by_hand import samples

pytestmark = pytest.mark.numeric


def test_memorization_is_taken_in_proportion_to_alignment():
    inside = np.array([0.5, 0.1, 0.0, 0.2, np.nan])
    outside = np.array([0.7, 0.3, 0.0, 0.1, 0.4])
    found = of_alignment(outside - inside, inside, outside)
    # The second is less memorized by the difference than nobody, and most in proportion.
    np.testing.assert_allclose(found, [1 / 6, 0.5, 0.0, -1 / 3, np.nan])


def test_it_asks_no_encoder():
    measure = MEASURES["relative"](samples(relative=[0.5, 0.25]))
    assert not measure.wants(0)
    assert measure.values().tolist() == [0.5, 0.25]
