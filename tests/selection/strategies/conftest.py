"""Samples with points and labels to choose from."""

import numpy as np
import pyarrow as pa
import pytest

from curate.data.sample import content_uid
from curate.inspection.neighbours import unit
from curate.selection.strategies.base import Candidates


def candidates(n=300, dim=8, seed=0, clusters=6):
    """Return n samples in a few clusters of unequal size, sorted by uid."""
    rng = np.random.default_rng(seed)
    uids = sorted(content_uid(i.to_bytes(4, "little")) for i in range(n))
    labels = np.minimum(rng.geometric(0.4, n) - 1, clusters - 1)
    points = rng.normal(size=(clusters, dim))[labels] * 2 + rng.normal(size=(n, dim))
    return Candidates(pa.array(uids), rng.normal(size=n), labels, unit(points.astype(np.float32)))


@pytest.fixture
def some():
    """Return 300 samples of 6 classes."""
    return candidates()
