"""What measures share: means over the encoders that speak of a sample."""

import numpy as np
import pytest

from curate.scores.measures.base import Mean
from tests.scores.measures.by_hand import samples


def test_a_mean_is_over_what_is_known_where_it_counts():
    mean = Mean(4)
    assert np.isnan(mean.values()).all()
    mean.add(np.array([1.0, 2.0, np.nan, 4.0]), np.array([True, True, True, False]))
    mean.add(np.array([3.0, np.nan, np.nan, 4.0]), np.array([True, True, True, False]))
    assert mean.values()[:2].tolist() == [2.0, 2.0]
    assert np.isnan(mean.values()[2:]).all()


@pytest.mark.parametrize(
    ("labels", "labelled"), [([0, 1], True), ([1, 1], False), ([-1, 1], False), ([-1, -1], False)]
)
def test_samples_are_labelled_from_two_classes_on(labels, labelled):
    assert samples(2, labels=labels).labelled is labelled
    assert len(samples(2)) == 2
