"""Moderate coresets beside a sort of each class."""

import numpy as np
import pytest

from curate.selection.strategies.base import apportioned
from curate.selection.strategies.moderate import moderate

pytestmark = pytest.mark.numeric


def test_of_each_class_those_closest_to_its_median_distance_stay(some):
    keep = moderate(some, 90, 0)
    sizes = np.bincount(some.labels)
    shares = apportioned(sizes.astype(float), sizes, 90)
    for label, share in enumerate(shares):
        rows = np.flatnonzero(some.labels == label)
        mean = some.points[rows].mean(axis=0)
        distance = np.array([np.linalg.norm(some.points[i] - mean) for i in rows])
        order = np.argsort(np.abs(distance - np.median(distance)), kind="stable")
        assert set(rows[order[:share]]) == set(rows[keep[rows]])
