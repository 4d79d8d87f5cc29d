"""What memorization goes with: correlations and their intervals, and shares of labels."""

import numpy as np
import pytest
from scipy import stats

from curate.inspection import relations
from curate.inspection.relations import LabelMean

pytestmark = pytest.mark.numeric


def test_a_correlation_is_spearmans_and_its_interval_covers():
    random, held, rho = np.random.default_rng(0), 0, 6 / np.pi * np.arcsin(0.5 / 2)
    for _ in range(400):
        x, y = random.multivariate_normal([0, 0], [[1, 0.5], [0.5, 1]], 80).T
        found = relations.correlations(x, {"brightness": y})["brightness"]
        held += found.low <= rho <= found.high
    assert found.spearman == pytest.approx(stats.spearmanr(x, y).statistic)
    assert found.n == 80
    assert found.text == relations.RELATIONS["brightness"]
    assert 0.92 < held / 400 < 0.99


def test_what_cannot_be_correlated_is_left_out():
    m = np.array([1.0, 2, 3, 4, np.nan, 6])
    found = relations.correlations(
        m,
        {
            "aspect": np.ones(6),
            "size": np.array([1.0, 2, np.nan, 4, 5, 6]),  # four known of both
            "contrast": np.array([1.0, 2, 3, 4, 5, 6]),
        },
    )
    assert set(found) == {"contrast"}
    assert found["contrast"].spearman == pytest.approx(1.0)
    assert found["contrast"].n == 5
    assert relations.correlations(np.full(6, np.nan), {"contrast": m}) == {}


def test_labels_are_told_apart_as_far_as_they_are():
    random = np.random.default_rng(0)
    label = np.repeat(np.arange(4), 500)
    noise = random.normal(0, 1, 2000)
    table, share = relations.by_label(noise + label, label)
    # Between labels the variance is 1.25, within it is 1.
    assert share == pytest.approx(1.25 / 2.25, abs=0.03)
    assert table["3"].n == 500
    assert table["3"].mean == pytest.approx(3 + noise[1500:].mean())
    assert table["3"].se == pytest.approx(noise[1500:].std(ddof=1) / 500**0.5)
    assert abs(relations.by_label(noise, label)[1]) < 0.01


def test_a_label_of_one_sample_has_a_mean_and_no_error():
    nan = np.nan
    assert relations.by_label(np.array([nan, 1.0]), np.array([0, -1])) == ({}, None)
    table, share = relations.by_label(np.array([1.0, 2.0]), np.array([0, 1]))
    assert table == {"0": LabelMean(1, 1.0, None), "1": LabelMean(1, 2.0, None)}
    assert share is None


def test_the_frequency_of_a_label_is_how_many_have_it():
    found = relations.frequency(np.array([3, 7, 3, -1, -1]))
    np.testing.assert_equal(found, [2, 1, 2, np.nan, np.nan])
