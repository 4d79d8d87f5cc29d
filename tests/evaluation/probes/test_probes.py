"""Probes on real features: they find what is there, choose without the test set, refuse gaps."""

import numpy as np
import pytest

from curate.errors import DataError, DivergedError, UsageError
from curate.evaluation import probes

pytestmark = pytest.mark.numeric

KINDS = sorted(probes.PROBES)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_that_say_nothing_give_chance(digits, kind):
    x, y, test_x, test_y = digits
    shuffled = np.random.default_rng(0).permutation(y)
    assert probes.run(kind, x, shuffled, test_x, test_y, seed=0)[0].accuracy < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_chosen_does_not_depend_on_the_test_samples(digits, kind):
    x, y, test_x, test_y = digits
    one, _ = probes.run(kind, x[:300], y[:300], test_x, test_y, seed=0)
    other, _ = probes.run(kind, x[:300], y[:300], test_x[:50], 9 - test_y[:50], seed=0)
    assert one.chosen == other.chosen
    assert one.validation_accuracy == other.validation_accuracy
    assert one.accuracy != other.accuracy


@pytest.mark.parametrize("kind", KINDS)
def test_class_names_do_not_matter(digits, kind):
    x, y, test_x, test_y = digits
    one, right_one = probes.run(kind, x[:300], y[:300], test_x, test_y, seed=0)
    other, right_other = probes.run(kind, x[:300], 7 * y[:300] - 3, test_x, 7 * test_y - 3, seed=0)
    assert one == other
    assert right_one.tolist() == right_other.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_that_training_lacks_counts_as_wrong(digits, kind):
    x, y, test_x, test_y = digits
    some = y < 5
    found, right = probes.run(kind, x[some], y[some], test_x, test_y, seed=0)
    assert found.classes == 5
    assert not right[test_y >= 5].any()
    assert found.accuracy == right.mean()
    assert 0.4 < found.accuracy <= (test_y < 5).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_a_handful_of_samples_is_enough(kind):
    x = np.array([[0, 1], [5, 1]], np.float32)
    found, _ = probes.run(kind, x, np.array([3, 8]), x, np.array([3, 8]), seed=0)
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
