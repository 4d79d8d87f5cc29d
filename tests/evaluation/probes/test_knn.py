"""The k-NN probe votes as it says."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from curate.encoders.representation import standardiser
from curate.evaluation import probes

pytestmark = pytest.mark.numeric


def test_knn_votes_as_a_plain_one_does(digits):
    found, _ = probes.run("knn", *digits, seed=0)
    x, y, test_x, test_y = digits
    scale = standardiser(x)
    plain = KNeighborsClassifier(
        found.chosen["k"],
        metric="cosine",
        weights=lambda distance: np.exp((1 - distance) / found.chosen["temperature"]),
    )
    wanted = plain.fit(scale(x), y).score(scale(test_x), test_y)
    assert found.accuracy == pytest.approx(wanted, abs=1.1 / 400)
    assert found.accuracy > 0.9
    assert found.chosen["k"] in (1, 5, 10, 20)
