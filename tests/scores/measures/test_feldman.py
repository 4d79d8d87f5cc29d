"""feldman, on a case that is worked by hand."""

import numpy as np
import pytest

from curate.scores.measures import MEASURES
from tests.scores.measures.by_hand import samples

pytestmark = pytest.mark.numeric


class Answering:
    """A network that was trained on some samples, and is right or not about each of them."""

    def __init__(self, inside, right):
        self.inside = np.array(inside)
        self.answers = (np.array(right, dtype=float), np.full(len(right), np.nan))


def test_feldman_is_how_much_oftener_networks_are_right_about_what_they_saw():
    measure = MEASURES["feldman"](samples(3))
    # Of the first sample 2 of 2 inside and 1 of 3 outside; of the second 0 of 1 and 1 of 4; the
    # third was seen by all.
    measure.add(Answering([True, False, True], [1, 0, 1]))
    measure.add(Answering([True, True, True], [1, 0, 1]))
    measure.add(Answering([False, False, True], [1, 1, 0]))
    measure.add(Answering([False, False, True], [0, 0, 1]))
    measure.add(Answering([False, False, True], [0, 0, 1]))
    assert measure.values() == pytest.approx([1 - 1 / 3, 0 - 1 / 4, np.nan], nan_ok=True)
    # Shares as if each side had given one right and one wrong answer more.
    shares = [((3, 4, 2), (2, 5, 3)), ((1, 3, 1), (2, 6, 4))]
    wanted = [sum(k / m * (1 - k / m) / n for k, m, n in sides) ** 0.5 for sides in shares]
    found = measure.errors()
    assert found[:2] == pytest.approx(wanted)
    assert np.isnan(found[2])


def test_a_sample_without_label_has_none():
    measure = MEASURES["feldman"](samples(2, labels=[-1, 0]))
    measure.add(Answering([True, True], [np.nan, 1]))
    measure.add(Answering([False, False], [np.nan, 0]))
    assert measure.values() == pytest.approx([np.nan, 1], nan_ok=True)
    assert np.isnan(measure.errors()).tolist() == [True, False]


def test_errors_are_those_of_repeated_experiments():
    # 2,000 samples of one kind, right with probability 0.9 inside and 0.3 outside.
    draws = np.random.default_rng(0)
    measure = MEASURES["feldman"](samples(2000))
    for e in range(20):
        inside = np.full(2000, e < 14)
        measure.add(Answering(inside, draws.random(2000) < np.where(inside, 0.9, 0.3)))
    # A little to the wide side, since what is near 0 or 1 is drawn to the middle.
    ratio = np.mean(measure.errors() ** 2) / np.mean((measure.values() - 0.6) ** 2)
    assert 1 < ratio < 1.25
