"""knn-outlierness, on a case that is worked by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from curate.scores.measures import MEASURES
from tests.scores.measures.by_hand import samples, take

pytestmark = pytest.mark.numeric


def test_outlierness_is_the_mean_distance_without_the_sample():
    # Four points on a circle: two at sqrt 2, one at 2 from each; then all on one line: 0 or 2.
    cross = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.float32)
    line = np.array([[1, 0], [-1, 0], [1, 0], [-1, 0]], dtype=np.float32)
    a, b = (2 * math.sqrt(2) + 2) / 3, (0 + 2 + 2) / 3
    measure = MEASURES["knn-outlierness"](samples(4))
    assert measure.wants(0)
    assert not measure.wants(1)
    take(measure, SimpleNamespace(features=cross, inside=np.array([1, 0, 0, 1], dtype=bool)))
    take(measure, SimpleNamespace(features=line, inside=np.array([0, 1, 0, 1], dtype=bool)))
    # The last one is in both, so that both count.
    assert measure.values() == pytest.approx([b, a, (a + b) / 2, (a + b) / 2], abs=1e-6)
