"""Coverage-centric selection beside Algorithm 1 of the paper."""

import itertools

import numpy as np
import pytest

from curate.selection.strategies.base import Candidates
from curate.selection.strategies.ccs import HARDEST, STRATA, ccs

pytestmark = pytest.mark.numeric


def algorithm_1(scores, n):
    """Return how many of each stratum are kept: from the smallest on, an equal share each."""
    left = np.sort(scores)[: len(scores) - round(HARDEST * len(scores))]
    edges = np.linspace(left[0], left[-1], STRATA + 1)
    sizes = [((left >= low) & (left < high)).sum() for low, high in itertools.pairwise(edges)]
    sizes[-1] += (left == edges[-1]).sum()
    kept, strata = [0] * STRATA, sorted(range(STRATA), key=lambda s: sizes[s])
    for done, s in enumerate(strata):
        kept[s] = min(sizes[s], (n - sum(kept)) // (STRATA - done))
    return edges, kept


def test_strata_get_what_the_algorithm_gives_them(some):
    keep = ccs(some, 120, 0)
    edges, wanted = algorithm_1(some.scores, 120)
    cut = np.sort(some.scores)[::-1][round(HARDEST * 300) - 1]
    assert (some.scores[keep] < cut).all()
    found = np.histogram(some.scores[keep], edges)[0]
    assert found.sum() == 120
    assert np.abs(found - wanted).max() <= 1


def test_equal_scores_are_one_stratum_and_hard_ones_stay_where_all_are_kept(some):
    flat = Candidates(some.uids, np.zeros(300), some.labels)
    assert ccs(flat, 17, 0).sum() == 17
    assert ccs(some, 300, 0).all()
