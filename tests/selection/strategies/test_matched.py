"""A random selection that is like another in class and outlierness."""

import numpy as np
import pytest

from curate.inspection.neighbours import among
from curate.selection.strategies.base import Candidates, highest
from curate.selection.strategies.matched import matched, tenths

pytestmark = pytest.mark.numeric


def like(some, n):
    """Return the samples with the n highest outlierness to match."""
    outlierness = among(some.points, 10).outlier_score()
    chosen = highest(outlierness, None, n)
    return Candidates(some.uids, some.scores, some.labels, some.points, chosen)


def cells(some, keep):
    place = tenths(among(some.points, 10).outlier_score())
    return sorted(zip(some.labels[keep].tolist(), place[keep].tolist(), strict=True))


def test_it_has_as_many_of_each_class_and_tenth_as_the_other(some):
    reference = like(some, 105)
    keep = matched(reference, 105, 0)
    assert cells(some, keep) == cells(some, reference.like)
    # Whole tenths leave no choice; the half one does.
    assert (keep != reference.like).any()
    assert (keep != matched(reference, 105, 1)).any()


def test_of_another_size_it_is_in_proportion(some):
    reference = like(some, 60)
    keep = matched(reference, 30, 0)
    assert keep.sum() == 30
    of_other = np.bincount(some.labels[reference.like], minlength=6)
    assert np.abs(np.bincount(some.labels[keep], minlength=6) - of_other / 2).max() <= 6
    assert matched(reference, 200, 0).sum() == 200
