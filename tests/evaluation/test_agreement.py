"""Agreement of rankings: against scipy, by hand, and where the truth is known."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from curate.errors import DataError, UsageError
from curate.evaluation.agreement import Ranking, agree

pytestmark = pytest.mark.numeric


def ranking(name, scores, reliability=None, uids=None):
    uids = [f"{i:05d}" for i in range(len(scores))] if uids is None else uids
    return Ranking(name, pa.table({"uid": uids, "memorization": scores}), reliability)


def test_correlations_are_scipys_on_the_samples_that_both_score():
    random = np.random.default_rng(0)
    x = random.normal(size=300)
    y = 0.5 * x + random.normal(size=300)
    # The second run lies in another order, lacks ten samples, and left ten unscored.
    order = random.permutation(300)[10:]
    scores = [None if i in set(order[:10]) else float(y[i]) for i in order]
    agreement = agree([ranking("a", x), ranking("b", scores, uids=[f"{i:05d}" for i in order])])
    (pair,) = agreement.pairs
    both = np.sort(order[10:])
    assert agreement.names == ("a", "b") and (pair.a, pair.b, pair.n) == ("a", "b", 280)
    for name, function in (("kendall", stats.kendalltau), ("spearman", stats.spearmanr),
                           ("pearson", stats.pearsonr)):  # fmt: skip
        wanted = function(x[both], y[both])
        assert getattr(pair, name).value == pytest.approx(wanted.statistic, rel=1e-12)
        assert getattr(pair, name).p == pytest.approx(wanted.pvalue, rel=1e-9)
        assert getattr(pair, name).low < getattr(pair, name).value < getattr(pair, name).high
    wanted = stats.pearsonr(x[both], y[both]).confidence_interval(0.95)
    assert pair.pearson.low == pytest.approx(wanted.low)
    assert pair.disattenuated is None


def test_the_overlap_of_tops_is_the_share_they_have_in_common():
    a = ranking("a", [9.0, 8, 7, 6, 5, 4, 3, 2, 1, 0])
    b = ranking("b", [9.0, 1, 8, 7, 0, 5, 3, 2, 4, 6])
    (pair,) = agree([a, b], [1, 3, 10]).pairs
    assert [(t.n, t.overlap, t.chance) for t in pair.tops] == [
        (1, 1.0, 0.1), (3, pytest.approx(2 / 3), 0.3), (10, 1.0, 1.0),
    ]  # fmt: skip
    assert pair.tops[1].low == pytest.approx(0.2077, abs=1e-4)  # Wilson, 2 of 3
    assert pair.tops[1].high == pytest.approx(0.9385, abs=1e-4)


@pytest.mark.parametrize("correlation", [0.0, 0.4, 0.8])
def test_intervals_hold_the_truth_as_often_as_they_say(correlation):
    random = np.random.default_rng(1)
    truth = {
        "pearson": correlation,
        "spearman": 6 / np.pi * np.arcsin(correlation / 2),
        "kendall": 2 / np.pi * np.arcsin(correlation),
    }
    held = dict.fromkeys(truth, 0)
    rounds = 400
    for _ in range(rounds):
        x, e = random.normal(size=(2, 150))
        y = correlation * x + np.sqrt(1 - correlation**2) * e
        (pair,) = agree([ranking("a", x), ranking("b", y)]).pairs
        for name, value in truth.items():
            held[name] += getattr(pair, name).low <= value <= getattr(pair, name).high
    # Three standard errors of 95 % over 400 rounds are 3.3 points.
    assert all(0.915 <= count / rounds <= 0.985 for count in held.values()), held


def test_noise_in_both_is_accounted_for():
    random = np.random.default_rng(2)
    truth = random.normal(size=20_000)
    runs = [ranking(n, truth + s * random.normal(size=20_000), 1 / (1 + s**2))
            for n, s in (("a", 1.0), ("b", 2.0))]  # fmt: skip
    (pair,) = agree(runs).pairs
    assert pair.pearson.value == pytest.approx(np.sqrt(0.5 * 0.2), abs=0.02)
    assert pair.disattenuated == pytest.approx(1.0, abs=0.06)
    (pair,) = agree([runs[0], Ranking("c", runs[1].table, -0.1)]).pairs
    assert pair.disattenuated is None


def test_many_runs_make_a_matrix():
    random = np.random.default_rng(3)
    scores = random.normal(size=(3, 50))
    agreement = agree([ranking(str(i), s) for i, s in enumerate(scores)])
    assert [(p.a, p.b) for p in agreement.pairs] == [("0", "1"), ("0", "2"), ("1", "2")]
    assert agreement.matrix("spearman") == pytest.approx(stats.spearmanr(scores.T).statistic)
    assert (np.diag(agreement.matrix("kendall")) == 1).all()


def test_equal_rankings_agree_wholly():
    a = ranking("a", np.arange(9.0))
    (pair,) = agree([a, a], [4]).pairs
    assert pair.kendall.value == pytest.approx(1.0) and pair.tops[0].overlap == 1.0
    assert np.isfinite(pair.pearson.low)


def test_what_cannot_be_compared_is_told():
    a = ranking("a", np.arange(9.0))
    with pytest.raises(UsageError, match="at least two"):
        agree([a])
    with pytest.raises(UsageError, match="top 10: both runs score 9"):
        agree([a, a], [10])
    with pytest.raises(DataError, match="share 0 scored samples"):
        agree([a, ranking("b", np.arange(9.0), uids=[f"x{i}" for i in range(9)])])
    with pytest.raises(DataError, match="b gives all 9 samples one score"):
        agree([a, ranking("b", np.ones(9))])


def test_runs_that_share_groups_are_no_two_witnesses():
    random = np.random.default_rng(0)
    truth = random.normal(size=500)
    x, y = truth + random.normal(size=(2, 500))

    def run(name, scores, *groups):
        table = ranking(name, scores).table
        return Ranking(name, table, 0.5, frozenset(groups) if groups else None)

    (apart,) = agree([run("a", x, "p", "q"), run("b", y, "r", "s", "t")]).pairs
    assert (apart.shared_groups, apart.groups) == (0, 2)
    assert apart.disattenuated == pytest.approx(apart.pearson.value / 0.5)
    (alike,) = agree([run("a", x, "p", "q"), run("b", y, "q", "s", "t")]).pairs
    assert (alike.shared_groups, alike.groups, alike.disattenuated) == (1, 2, None)
    (unknown,) = agree([run("a", x, "p"), run("b", y)]).pairs
    assert (unknown.shared_groups, unknown.groups) == (None, None)
    assert unknown.disattenuated is not None
