"""Modifiers compose, and counts stay exact."""

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import UsageError
from curate.selection.modifiers import ALWAYS, NEVER, Given, decided

pytestmark = pytest.mark.numeric

N = 100
UIDS = pa.array([f"{i:03d}" for i in range(N)])
SCORES = np.arange(N, dtype=np.float64)
LABELS = np.repeat([0, 1, 2], (50, 30, 20))


def mask(*rows):
    out = np.zeros(N, dtype=bool)
    out[list(rows)] = True
    return out


def kept(n, given, strategy="top", **more):
    keep, why, reasons = decided(strategy, SCORES, UIDS, n, 0, given, labels=LABELS, **more)
    assert keep.sum() == n
    told = {i: reasons[w] for i, w in enumerate(why) if w >= 0}
    return np.flatnonzero(keep).tolist(), told


def test_lists_and_kinds_leave_the_rest_to_the_strategy():
    given = Given(always=mask(0, 1), never=mask(99), drop={"broken": mask(0, 97, 98, 99)})
    keep, told = kept(5, given)
    assert keep == [0, 1, 94, 95, 96]
    assert told == {
        **dict.fromkeys((0, 1), ALWAYS), 99: NEVER,
        **dict.fromkeys((97, 98), "dropped as broken"),
    }  # fmt: skip


def test_each_class_keeps_its_part():
    keep, _ = kept(10, Given(), per_class=True)
    assert keep == [45, 46, 47, 48, 49, 77, 78, 79, 98, 99]
    keep, _ = kept(10, Given(always=mask(0, 1, 2, 3), never=mask(98, 99)), per_class=True)
    assert keep[:4] == [0, 1, 2, 3] and np.bincount(LABELS[keep[4:]]).tolist() == [3, 2, 1]
    assert 97 in keep


def test_points_are_those_of_what_is_left_to_choose_from():
    rng = np.random.default_rng(0)
    given = Given(embeddings=rng.normal(size=(N, 4)).astype(np.float32), never=mask(5, 6, 7))
    keep, _ = kept(40, given, "k-center")
    assert not {5, 6, 7} & set(keep)
    assert len(kept(40, given, "k-center", per_class=True)[0]) == 40


def test_all_that_is_always_kept_may_be_all():
    assert kept(3, Given(always=mask(1, 2, 3)))[0] == [1, 2, 3]


def test_numbers_that_do_not_fit_say_which_do():
    with pytest.raises(UsageError, match=r"2 are always kept .* 97 are left .* 2 to 99 can be"):
        kept(100, Given(always=mask(1, 2), never=mask(3)))
    with pytest.raises(UsageError, match="cannot keep 1 of 100"):
        kept(1, Given(always=mask(1, 2)))
    with pytest.raises(UsageError, match="1 samples are to be kept both always and never"):
        kept(10, Given(always=mask(1, 2), never=mask(2)))
