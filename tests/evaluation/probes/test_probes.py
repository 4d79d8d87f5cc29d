"""Probes on real features: they find what is there, choose without the test set, refuse gaps."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from curate.encoders.representation import standardiser
from curate.errors import DataError, DivergedError, UsageError
from curate.evaluation import probes
from curate.evaluation.probes.base import validation_split

pytestmark = pytest.mark.numeric

KINDS = sorted(probes.PROBES)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    x = data.data.astype(np.float32)
    return x[:1000], data.target[:1000], x[1000:1400], data.target[1000:1400]


def test_linear_finds_the_optimum_that_a_plain_fit_finds(digits):
    found = probes.run("linear", *digits, seed=0)
    x, y, test_x, test_y = digits
    scale = standardiser(x)
    plain = LogisticRegression(C=found.chosen["C"], max_iter=10_000, tol=1e-8)
    wanted = plain.fit(scale(x), y).score(scale(test_x), test_y)
    assert found.accuracy == pytest.approx(wanted, abs=1.1 / 400)
    assert found.accuracy > 0.9
    assert found.validation_accuracy > 0.9
    assert found.chosen["converged"]
    assert (found.n_train, found.n_test, found.classes) == (1000, 400, 10)


def test_knn_votes_as_a_plain_one_does(digits):
    found = probes.run("knn", *digits, seed=0)
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


@pytest.mark.parametrize("kind", KINDS)
def test_labels_that_say_nothing_give_chance(digits, kind):
    x, y, test_x, test_y = digits
    shuffled = np.random.default_rng(0).permutation(y)
    assert probes.run(kind, x, shuffled, test_x, test_y, seed=0).accuracy < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_chosen_does_not_depend_on_the_test_samples(digits, kind):
    x, y, test_x, test_y = digits
    one = probes.run(kind, x[:300], y[:300], test_x, test_y, seed=0)
    other = probes.run(kind, x[:300], y[:300], test_x[:50], 9 - test_y[:50], seed=0)
    assert one.chosen == other.chosen
    assert one.validation_accuracy == other.validation_accuracy
    assert one.accuracy != other.accuracy


@pytest.mark.parametrize("kind", KINDS)
def test_class_names_do_not_matter(digits, kind):
    x, y, test_x, test_y = digits
    one = probes.run(kind, x[:300], y[:300], test_x, test_y, seed=0)
    other = probes.run(kind, x[:300], 7 * y[:300] - 3, test_x, 7 * test_y - 3, seed=0)
    assert one == other


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_training_lacks_counts_as_wrong(digits, kind):
    x, y, test_x, test_y = digits
    some = y < 5
    found = probes.run(kind, x[some], y[some], test_x, test_y, seed=0)
    assert found.classes == 5
    assert 0.4 < found.accuracy <= (test_y < 5).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_a_handful_of_samples_is_enough(kind):
    x = np.array([[0, 1], [5, 1]], np.float32)
    found = probes.run(kind, x, np.array([3, 8]), x, np.array([3, 8]), seed=0)
    assert found.accuracy == 1.0
    assert found.validation_accuracy is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [None, [0, None, 1], [0.0, np.nan, 1.0]])
def test_missing_labels_are_refused(kind, labels):
    x = np.zeros((3, 2), np.float32)
    labels = labels if labels is None else np.array(labels)
    with pytest.raises(DataError, match="labels missing"):
        probes.run(kind, x, labels, x, np.array([0, 1, 1]), seed=0)
    with pytest.raises(DataError, match="labels missing"):
        probes.run(kind, x, np.array([0, 1, 1]), x, labels, seed=0)


def test_too_little_to_tell_is_refused():
    x = np.zeros((3, 2), np.float32)
    with pytest.raises(DataError, match="of 1 classes"):
        probes.run("knn", x, np.zeros(3, int), x, np.zeros(3, int), seed=0)
    with pytest.raises(DataError, match="0 test samples"):
        probes.run("knn", x, np.arange(3), x[:0], np.zeros(0, int), seed=0)
    with pytest.raises(DivergedError, match="not finite"):
        probes.run("knn", x + np.nan, np.arange(3), x, np.arange(3), seed=0)
    with pytest.raises(UsageError, match="Did you mean 'linear'"):
        probes.run("liner", x, np.arange(3), x, np.arange(3), seed=0)


def test_the_validation_split_takes_a_fifth_of_every_class():
    labels = np.repeat([0, 1, 2, 3], [100, 50, 3, 2])
    held = validation_split(labels, 0)
    assert np.bincount(labels[held], minlength=4).tolist() == [20, 10, 1, 0]
    assert (validation_split(labels, 0) == held).all()
    assert (validation_split(labels, 1) != held).any()


def test_standardising_leaves_constant_features_at_0():
    x = np.column_stack([np.arange(10), np.full(10, 1 / 3)]).astype(np.float32)
    out = standardiser(x)(x)
    assert out[:, 0].std() == pytest.approx(1)
    assert (out[:, 1] == 0).all()
