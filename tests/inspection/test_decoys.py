"""Decoys: the threshold that they set, and pairs that stand out among images of one kind."""

import numpy as np
import pytest

from curate.inspection import decoys, matching

pytestmark = pytest.mark.numeric


def found(a, b, evidence, **columns):
    """Return pairs as they are found, with zeros for the columns that are not given."""
    zero = np.zeros(len(a))
    rest = dict.fromkeys(("similarity", "still", "area", "overlap", "change"), zero)
    all_over = {"throughout": zero + 1, "in_part": zero + 1}
    return matching.Found(a, b, zero.astype(np.int64), evidence, **{**rest, **all_over, **columns})


def test_a_pair_that_does_not_stand_out_among_many_alike_is_none():
    alike = [(a, b) for a in range(12) for b in range(a + 1, 12)]
    a, b = np.array([*alike, (12, 13)], dtype=np.int64).T
    many, one = np.full(len(alike), 450.0), [450.0]
    made = found(a, b, np.append(many, one), similarity=np.full(len(a), 0.9))
    good = decoys.stand_out(made, made, 300.0)
    assert good.tolist() == [False] * len(alike) + [True]
    strong = matching.Found(**{**vars(made), "evidence": made.evidence * 10})
    assert decoys.stand_out(strong, strong, 300.0).all()


@pytest.mark.parametrize("kind", ["similarity", "still"])
def test_what_correlates_far_more_than_others_needs_few_edges(kind):
    alike = [(0, b) for b in range(1, 9)]
    a, b = np.array(alike, dtype=np.int64).T
    of = {"similarity": np.full(8, 0.93), "still": np.full(8, 0.93)}
    of[kind][-1] = 0.99
    made = found(a, b, np.full(8, 100.0), **of)
    assert decoys.stand_out(made, made, 300.0).tolist() == [False] * 7 + [True]
    faint = matching.Found(**{**vars(made), "evidence": made.evidence / 2})
    assert not decoys.stand_out(faint, faint, 300.0).any()


def test_decoys_raise_the_threshold():
    def of(evidence, shift):
        n = len(evidence)
        a = 2 * np.arange(n, dtype=np.int64) + shift
        return found(a, a + 1, np.asarray(evidence), similarity=np.full(n, 0.9))

    pairs = of(np.linspace(310, 2000, 500), 0)
    low = decoys.threshold(pairs, of([], 0), 2000, 2000)
    assert (low.least, low.passed) == (300, 0)
    high = decoys.threshold(pairs, of([400.0] * 20 + [650.0], 5001), 2000, 2000)
    assert 400 < high.least < 650
    assert high.passed == 1


def test_pairs_below_the_threshold_foretell_false_ones_above():
    def of(evidence):
        n = len(evidence)
        a = 2 * np.arange(n, dtype=np.int64)
        return found(a, a + 1, np.asarray(evidence), similarity=np.full(n, 0.9))

    good = np.linspace(1000, 2000, 400)
    none = of(good[:0])
    assert decoys.threshold(of(good), none, 2000, 2000).false_rate == 0
    kin = of(np.concatenate([np.full(80, 200.0), np.full(40, 280.0), good]))
    # Half as many from quarter to quarter: 20 + 10 + ... of 400.
    assert decoys.threshold(kin, none, 2000, 2000).false_rate == pytest.approx(40 / 400)


def test_little_evidence_asks_for_grey_values_that_correlate():
    two = np.arange(2, dtype=np.int64)
    made = found(2 * two, 2 * two + 1, np.array([400.0, 600.0]), similarity=np.full(2, 0.7))
    assert decoys.stand_out(made, made, 300.0).tolist() == [False, True]


def test_pairs_agree_mostly_or_else_nearly_all_over_in_part():
    three = np.arange(3, dtype=np.int64)
    agree = {"throughout": np.array([0.7, 0.85, 0.7]), "in_part": np.array([0.9, 0.85, 0.97])}
    made = found(2 * three, 2 * three + 1, np.full(3, 2000.0), similarity=np.full(3, 0.9), **agree)
    assert decoys.stand_out(made, made, 300.0).tolist() == [False, True, True]


@pytest.mark.parametrize("evident", [True, False])
def test_the_copies_of_a_picture_count_as_one_where_they_are_evident(evident):
    # Image 0 is like each of nine others, which are copies of one picture or not.
    others = [(a, b) for a in range(1, 10) for b in range(a + 1, 10)]
    a, b = np.array([*((0, k) for k in range(1, 10)), *others], dtype=np.int64).T
    evidence = np.append(np.full(9, 450.0), np.full(len(others), 2000.0 if evident else 440.0))
    made = found(a, b, evidence, similarity=np.full(len(a), 0.85))
    assert (decoys.stand_out(made, made, 300.0) == evident).all()
