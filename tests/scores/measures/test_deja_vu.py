"""deja-vu, on cases that are worked by hand."""

import numpy as np
import pytest

from curate.scores.measures import MEASURES, Look, deja_vu
from tests.scores.measures.by_hand import samples, take

pytestmark = pytest.mark.numeric


def test_votes_go_to_the_nearest_and_copies_have_none(monkeypatch):
    monkeypatch.setattr(deja_vu, "K", 2)
    pool = np.array([[1, 0], [0.9, 0.1], [-1, 0], [-0.9, -0.1]], dtype=np.float32)
    labels = np.array([0, 1, 1, 1])
    words = np.array([10, 11, 12, 13], dtype=np.uint64)
    query = np.array([[2, 0], [2, 0], [-5, 0]], dtype=np.float32)
    asked = np.array([1, 10, 2], dtype=np.uint64)
    # Next to the first lie one 0 and one 1, the 0 nearer; the second is the copy of that 0.
    found = deja_vu.votes(query, asked, pool, words, labels, 2)
    assert found.tolist() == [0, 1, 1]
    monkeypatch.setattr(deja_vu, "HELD_BYTES", 1)
    assert deja_vu.votes(query, asked, pool, words, labels, 2).tolist() == [0, 1, 1]
    # Where all there is to vote is a copy, nobody does.
    alone = deja_vu.votes(query[1:2], asked[1:2], pool[:1], words[:1], labels[:1], 2)
    assert alone.tolist() == [-1]


def test_deja_vu_is_right_corners_inside_minus_outside(monkeypatch):
    monkeypatch.setattr(deja_vu, "K", 1)
    some = samples(2, labels=[0, 1], public=[0, 1])
    public = np.array([[1, 0], [-1, 0]], dtype=np.float32)
    near_0, near_1 = [2.0, 0.0], [-2.0, 0.0]

    def look(inside, corners):
        shown = np.array(corners, dtype=np.float32)
        return Look(some, 0, 0, np.array(inside), public, public, lambda c: shown[c])

    measure = MEASURES["deja-vu"](some)
    # Trained on the first: all four of its corners are right, and two of the second's.
    take(measure, look([True, False], [[near_0, near_1]] * 2 + [[near_0, near_0]] * 2))
    # Trained on the second: one corner of the first is right, and all of the second's.
    take(measure, look([False, True], [[near_0, near_1]] + [[near_1, near_1]] * 3))
    assert measure.values() == pytest.approx([1 - 0.25, 1 - 0.5])


def test_without_public_samples_those_outside_vote(monkeypatch):
    monkeypatch.setattr(deja_vu, "K", 1)
    x = np.array([[1, 0], [1, 0.1], [-1, 0], [-1, 0.1]], dtype=np.float32)
    some = samples(4, labels=[0, 0, 1, 1])
    measure = MEASURES["deja-vu"](some)
    inside = np.array([True, False, True, False])
    take(measure, Look(some, 0, 0, inside, x, x[:0], lambda corner: x))
    take(measure, Look(some, 1, 0, ~inside, x, x[:0], lambda corner: x))
    # Samples 1 and 3 vote, and not on themselves: then the other class is all there is.
    assert measure.values() == pytest.approx([1.0, 1.0, 1.0, 1.0])
