"""The linear probe finds the optimum."""

import pytest
from sklearn.linear_model import LogisticRegression

from curate.encoders.representation import standardiser
from curate.evaluation import probes

pytestmark = pytest.mark.numeric


def test_linear_finds_the_optimum_that_a_plain_fit_finds(digits):
    found, _ = probes.run("linear", *digits, seed=0)
    x, y, test_x, test_y = digits
    scale = standardiser(x)
    plain = LogisticRegression(C=found.chosen["C"], max_iter=10_000, tol=1e-8)
    wanted = plain.fit(scale(x), y).score(scale(test_x), test_y)
    assert found.accuracy == pytest.approx(wanted, abs=1.1 / 400)
    assert found.accuracy > 0.9
    assert found.validation_accuracy > 0.9
    assert found.chosen["converged"]
    assert (found.n_train, found.n_test, found.classes) == (1000, 400, 10)
