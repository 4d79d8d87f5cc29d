"""Decoys: the threshold that they set, and pairs that stand out among images of one kind."""

import numpy as np
import pytest

from curate.inspection import decoys, matching

pytestmark = pytest.mark.numeric


def test_a_pair_that_does_not_stand_out_among_many_alike_is_none():
    alike = [(a, b) for a in range(12) for b in range(a + 1, 12)]
    a, b = np.array([*alike, (12, 13)], dtype=np.int64).T
    many, one = np.full(len(alike), 450.0), [450.0]
    same = [np.zeros(len(a)) for _ in range(4)]
    made = matching.Found(
        *(a, b, np.zeros(len(a), np.int64), np.append(many, one)),
        *(np.full(len(a), 0.9), *same),
    )
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
    rest = {name: np.zeros(8) for name in ("area", "overlap", "change")}
    made = matching.Found(a, b, np.zeros(8, np.int64), np.full(8, 100.0), **of, **rest)
    assert decoys.stand_out(made, made, 300.0).tolist() == [False] * 7 + [True]
    faint = matching.Found(**{**vars(made), "evidence": made.evidence / 2})
    assert not decoys.stand_out(faint, faint, 300.0).any()


def test_decoys_raise_the_threshold():
    def of(evidence, shift):
        n = len(evidence)
        a = 2 * np.arange(n, dtype=np.int64) + shift
        rest = [np.zeros(n) for _ in range(4)]
        return matching.Found(
            *(a, a + 1, np.zeros(n, np.int64), np.asarray(evidence), np.full(n, 0.9), *rest)
        )

    found = of(np.linspace(310, 2000, 500), 0)
    low = decoys.threshold(found, of([], 0), 2000, 2000)
    assert (low.least, low.passed) == (300, 0)
    high = decoys.threshold(found, of([400.0] * 20 + [650.0], 5001), 2000, 2000)
    assert 400 < high.least < 650
    assert high.passed == 1


def test_pairs_below_the_threshold_foretell_false_ones_above():
    def of(evidence):
        n = len(evidence)
        a = 2 * np.arange(n, dtype=np.int64)
        rest = [np.full(n, 0.9), *(np.zeros(n) for _ in range(4))]
        return matching.Found(a, a + 1, np.zeros(n, np.int64), np.asarray(evidence), *rest)

    good = np.linspace(1000, 2000, 400)
    none = of(good[:0])
    assert decoys.threshold(of(good), none, 2000, 2000).false_rate == 0
    kin = of(np.concatenate([np.full(80, 200.0), np.full(40, 280.0), good]))
    # Half as many from quarter to quarter: 20 + 10 + ... of 400.
    assert decoys.threshold(kin, none, 2000, 2000).false_rate == pytest.approx(40 / 400)


def test_little_evidence_asks_for_grey_values_that_correlate():
    two = np.arange(2, dtype=np.int64)
    rest = [np.zeros(2) for _ in range(4)]
    made = matching.Found(2 * two, 2 * two + 1, 0 * two, np.array([400.0, 600.0]),
                          np.array([0.7, 0.7]), *rest)  # fmt: skip
    assert decoys.stand_out(made, made, 300.0).tolist() == [False, True]
