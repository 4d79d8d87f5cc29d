"""The estimator against plain definitions, properties of SCORES.md, and simulated truth."""

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from curate.scores import estimator as mem
from curate.scores import separation
from curate.scores.config import FoldsPlan, HalvesPlan, PairPlan, PartsPlan, SubsetsPlan
from curate.scores.plan import build_plan

pytestmark = pytest.mark.numeric


def fit(align, inclusion, chosen=None):
    fitted = mem.OffsetFit(align.shape[1])
    chosen = np.ones(len(align), bool) if chosen is None else chosen
    for rows in np.array_split(np.flatnonzero(chosen), 3):
        fitted.add(align[rows], inclusion[rows])
    return fitted.offsets()


def estimate(align, left_out, inclusion, offsets, calibrate=True, pair=False, repeat=None):
    repeat = np.zeros(align.shape[1], int) if repeat is None else repeat
    return mem.estimate(
        align, left_out, inclusion, offsets, repeat=repeat, calibrate=calibrate, pair=pair
    )


def part(found, rows):
    """Return some samples of an Estimate or a Spread."""
    values = {f.name: getattr(found, f.name) for f in dataclasses.fields(found)}
    return type(found)(
        **{
            name: part(v, rows) if dataclasses.is_dataclass(v) else v[rows]
            for name, v in values.items()
        }
    )


def summarise(scored, group, *, pair):
    errors = mem.Errors()
    for rows in np.array_split(np.arange(len(group)), 3):
        errors.add(part(scored, rows))
    return separation.summarise(
        scored.memorization, errors, group, delta=scored.delta if pair else None
    )


def simulated(rng, n, inclusion, *, noise=0.0, effect=0.1, offsets=None):
    e = inclusion.shape[1]
    offsets = rng.normal(0, 0.3, e) if offsets is None else offsets
    level = rng.uniform(0.5, 1.0, n)
    align = level[:, None] + offsets - effect * inclusion + rng.normal(0, noise, (n, e))
    return align, offsets - offsets.mean()


def folds(rng, n, k):
    return rng.integers(0, k, n)[:, None] != np.arange(k)


def test_offsets_equal_ordinary_least_squares():
    rng = np.random.default_rng(0)
    inclusion = rng.random((40, 5)) < 0.6
    align, _ = simulated(rng, 40, inclusion, noise=0.05)
    n, e = align.shape
    design = np.zeros((n * e, n + e + 1))
    for i in range(n):
        for j in range(e):
            row = design[i * e + j]
            row[i], row[n + j], row[-1] = 1, 1, -float(inclusion[i, j])
    solved = np.linalg.lstsq(design, align.ravel(), rcond=None)[0][n : n + e]
    assert np.allclose(fit(align, inclusion), solved - solved.mean(), atol=1e-9)


def test_offsets_are_recovered_and_removed_without_noise():
    rng = np.random.default_rng(1)
    inclusion = folds(rng, 300, 4)
    align, offsets = simulated(rng, 300, inclusion)
    found = fit(align, inclusion)
    assert np.allclose(found, offsets, atol=1e-12)
    scored = estimate(align, np.zeros((300, 4, 0)), inclusion, found)
    assert np.allclose(scored.memorization, 0.1, atol=1e-12)
    assert np.abs(scored.raw - 0.1).max() > 0.05


def test_raw_is_the_definition():
    rng = np.random.default_rng(2)
    inclusion = rng.random((30, 6)) < 0.5
    inclusion[0], inclusion[1] = True, False
    align, _ = simulated(rng, 30, inclusion, noise=0.1)
    scored = estimate(align, np.zeros((30, 6, 0)), inclusion, np.zeros(6), calibrate=False)
    for i in range(30):
        out = [align[i, e] for e in range(6) if not inclusion[i, e]]
        inside = [align[i, e] for e in range(6) if inclusion[i, e]]
        if out and inside:
            assert scored.memorization[i] == pytest.approx(
                np.mean(out) - np.mean(inside), abs=1e-12
            )
        else:
            assert np.isnan(scored.memorization[i]) and np.isnan(scored.se[i])
    assert scored.n_in.tolist() == inclusion.sum(1).tolist()


@pytest.mark.parametrize("calibrate", [True, False])
def test_swapping_f_and_g_negates_delta(calibrate):
    rng = np.random.default_rng(3)
    part = rng.integers(0, 4, 200)
    inclusion = np.stack([part < 2, part % 2 == 0], axis=1)
    group = np.array(["S", "C", "I", "E"], dtype=object)[part]
    align, _ = simulated(rng, 200, inclusion, noise=0.05)
    chosen = mem.calibrates(group)
    left_out = np.repeat(align[:, :, None], 3, axis=2)
    one = estimate(
        align, left_out, inclusion, fit(align, inclusion, chosen), calibrate=calibrate, pair=True
    )
    two = estimate(
        align[:, ::-1],
        left_out[:, ::-1],
        inclusion[:, ::-1],
        fit(align[:, ::-1], inclusion[:, ::-1], chosen),
        calibrate=calibrate,
        pair=True,
    )
    assert np.allclose(one.delta, -two.delta, atol=1e-12)
    assert np.allclose(one.memorization, two.memorization, atol=1e-12, equal_nan=True)


def test_two_equal_encoders_score_exactly_zero():
    rng = np.random.default_rng(4)
    column = rng.uniform(0.2, 1, (100, 1))
    align = np.repeat(column, 2, axis=1)
    part = rng.integers(0, 4, 100)
    inclusion = np.stack([part < 2, part % 2 == 0], axis=1)
    group = np.array(["S", "C", "I", "E"], dtype=object)[part]
    offsets = fit(align, inclusion, mem.calibrates(group))
    scored = estimate(align, np.zeros((100, 2, 0)), inclusion, offsets, pair=True)
    defined = scored.n_in == 1
    assert (scored.memorization[defined] == 0).all()
    assert (scored.delta == 0).all()


def test_permuting_samples_permutes_scores():
    rng = np.random.default_rng(5)
    inclusion = folds(rng, 120, 4)
    align, _ = simulated(rng, 120, inclusion, noise=0.1)
    left_out = align[:, :, None] + rng.normal(0, 0.01, (120, 4, 6))
    order = rng.permutation(120)
    plain = estimate(align, left_out, inclusion, fit(align, inclusion))
    mixed = estimate(
        align[order], left_out[order], inclusion[order], fit(align[order], inclusion[order])
    )
    for name in ("memorization", "se_views", "se_encoders", "se"):
        assert np.allclose(getattr(plain, name)[order], getattr(mixed, name), rtol=1e-9)


def test_jackknife_of_a_mean_is_its_standard_error():
    rng = np.random.default_rng(6)
    d = rng.random((50, 2, 8))
    total = d.sum(axis=2, keepdims=True)
    left_out = (total - d) / 7
    inclusion = np.tile([True, False], (50, 1))
    scored = estimate(d.mean(axis=2), left_out, inclusion, np.zeros(2))
    difference = d[:, 1] - d[:, 0]
    assert np.allclose(scored.se_views, difference.std(axis=1, ddof=1) / np.sqrt(8), rtol=1e-6)
    assert np.isnan(scored.se_encoders).all()


def test_a_side_with_one_encoder_borrows_the_other_sides_variance():
    align = np.array([[1.0, 2.0, 4.0, 9.0]])
    inclusion = np.array([[True, True, True, False]])
    variance = np.var([1.0, 2.0, 4.0], ddof=1)
    scored = estimate(align, np.zeros((1, 4, 0)), inclusion, np.zeros(4))
    assert scored.se_encoders[0] == pytest.approx(np.sqrt(variance / 3 + variance / 1))


def test_se_matches_the_spread_over_repeated_simulations():
    rng = np.random.default_rng(7)
    inclusion = np.repeat([[True] * 6 + [False] * 6], 4000, axis=0)
    align, _ = simulated(rng, 4000, inclusion, noise=0.2, offsets=np.zeros(12))
    scored = estimate(align, np.zeros((4000, 12, 0)), inclusion, np.zeros(12))
    assert np.sqrt((scored.se**2).mean()) == pytest.approx(scored.memorization.std(), rel=0.05)


@pytest.mark.parametrize("encoders", [(6, 6), (7, 1), (2, 2)])
def test_se_is_right_where_views_and_encoders_both_err(encoders):
    rng = np.random.default_rng(12)
    n, k, (e_in, e_out) = 20_000, 5, encoders
    inclusion = np.repeat([[True] * e_in + [False] * e_out], n, axis=0)
    e = e_in + e_out
    truth = 0.05
    level = 0.8 - truth * inclusion + rng.normal(0, 0.04, (n, e))
    # What views do: to all encoders alike, to those of one side alike, to each on its own.
    views = rng.normal(0, 0.2, (n, 1, k)) + rng.normal(0, 0.05, (n, e, k))
    views = views + np.where(inclusion[:, :, None], rng.normal(0, 0.08, (n, 1, k)), 0.0)
    distances = level[:, :, None] + views
    align = distances.mean(axis=2)
    left_out = (distances.sum(axis=2, keepdims=True) - distances) / (k - 1)
    scored = estimate(align, left_out, inclusion, np.zeros(e))
    error = (scored.memorization - truth).std()
    # A difference that comes out negative is cut at 0, which leans to the careful side where
    # sides have few encoders.
    assert np.sqrt((scored.se**2).mean()) == pytest.approx(error, rel=0.06)
    within = np.abs(scored.memorization - truth) < 1.96 * scored.se
    if e > 4:
        assert 0.88 < within.mean() < 0.975


@pytest.mark.parametrize("k", [2, 5])
def test_what_the_encoders_of_a_repeat_share_is_no_error(k):
    rng = np.random.default_rng(13)
    n, repeats, views, truth = 8000, 6, 4, 0.05
    inclusion = np.concatenate([folds(rng, n, k) for _ in range(repeats)], axis=1)
    repeat = np.repeat(np.arange(repeats), k)
    start = np.repeat(rng.normal(0, 0.2, (n, repeats)), k, axis=1)
    level = 0.8 - truth * inclusion + start + rng.normal(0, 0.04, (n, k * repeats))
    distances = level[:, :, None] + rng.normal(0, 0.06, (n, k * repeats, views))
    align = distances.mean(axis=2)
    left_out = (distances.sum(axis=2, keepdims=True) - distances) / (views - 1)
    scored = estimate(align, left_out, inclusion, np.zeros(k * repeats), repeat=repeat)
    error = (scored.memorization - truth).std()
    # Views add nothing that encoders do not show: what is cut at 0 leans to the careful side.
    assert 0.98 * error < np.sqrt((scored.se**2).mean()) < 1.09 * error
    one = estimate(align, left_out, inclusion, np.zeros(k * repeats))
    assert np.sqrt((one.se**2).mean()) > 1.5 * error


def test_rank_breaks_ties_by_uid_and_skips_the_unscored(tmp_path):
    ranks = mem.rank(np.array([np.nan, 0.5, 0.9, 0.5, -0.1, np.nan]), tmp_path)
    assert ranks.tolist() == [0, 2, 1, 3, 4, 0]
    assert mem.rank(np.full(3, np.nan), tmp_path).tolist() == [0, 0, 0]


def pair_scores(rng, effect, n=400):
    part = np.repeat([0, 1, 2, 3], n)
    group = np.array(["S", "C", "I", "E"], dtype=object)[part]
    inclusion = np.stack([part < 2, part % 2 == 0], axis=1)
    align, _ = simulated(rng, 4 * n, inclusion, noise=0.05, effect=effect)
    offsets = fit(align, inclusion, mem.calibrates(group))
    left_out = np.repeat(align[:, :, None], 4, axis=2)
    return estimate(align, left_out, inclusion, offsets, pair=True), group


def test_group_tests_are_scipys_and_the_verdict_follows():
    scored, group = pair_scores(np.random.default_rng(8), effect=0.05)
    summary = summarise(scored, group, pair=True)
    assert [t.name for t in summary.tests] == [
        *("C>S", "C>E", "S>I", "E>I"),
        *("C>0", "I<0", "E>0", "S=0"),
    ]
    wanted = stats.ttest_ind(
        scored.delta[group == "C"],
        scored.delta[group == "S"],
        equal_var=False,
        alternative="greater",
    )
    assert summary.tests[0].statistic == pytest.approx(wanted.statistic)
    assert summary.tests[0].p == pytest.approx(wanted.pvalue)
    for test, alternative in zip(
        summary.tests[4:], ["greater", "less", "greater", "two-sided"], strict=True
    ):
        mine = scored.delta[group == test.name[0]]
        wanted = stats.ttest_1samp(mine, 0.0, alternative=alternative)
        assert test.statistic == pytest.approx(wanted.statistic)
        assert test.p == pytest.approx(wanted.pvalue)
        assert test.cohens_d == pytest.approx(mine.mean() / mine.std(ddof=1))
    assert summary.separation == "clear"
    assert summary.groups["I"].mean < 0 < summary.groups["C"].mean
    assert summary.n_scored == 800 and summary.n_unscored == 800
    assert summary.reliability.encoders is None
    assert summary.reliability.note.startswith("views only")
    m = scored.memorization[group == "C"]
    assert summary.normalised_mean == pytest.approx(m.mean() / (m.max() - m.min()))


def test_no_effect_is_called_none():
    scored, group = pair_scores(np.random.default_rng(9), effect=0.0)
    assert summarise(scored, group, pair=True).separation == "none"


def test_a_constant_encoder_gives_zero_and_no_nan_in_the_summary():
    rng = np.random.default_rng(10)
    inclusion = folds(rng, 60, 3)
    scored = estimate(np.zeros((60, 3)), np.zeros((60, 3, 5)), inclusion, np.zeros(3))
    summary = summarise(scored, np.full(60, "0", dtype=object), pair=False)
    assert (scored.memorization == 0).all()
    assert summary.separation == "none" and summary.normalised_mean is None
    assert summary.reliability.views is None


def test_reliability_predicts_the_agreement_of_two_independent_runs():
    rng = np.random.default_rng(11)
    n, e = 3000, 16
    truth = rng.normal(0.1, 0.05, n)
    inclusion = np.repeat([[True] * (e // 2) + [False] * (e // 2)], n, axis=0)
    found, stated = [], []
    for _ in range(2):
        align = 0.8 - truth[:, None] * inclusion + rng.normal(0, 0.08, (n, e))
        scored = estimate(align, np.zeros((n, e, 0)), inclusion, np.zeros(e))
        found.append(scored.memorization)
        group = np.full(n, "0", dtype=object)
        stated.append(summarise(scored, group, pair=False).reliability.encoders)
    assert np.corrcoef(found)[0, 1] == pytest.approx(np.mean(stated), abs=0.03)


@st.composite
def plans(draw):
    """A plan of any kind, of any size that it takes."""
    repeats, seed = draw(st.integers(1, 3)), draw(st.integers(0, 10))
    config = draw(
        st.sampled_from(
            [
                PairPlan(kind="pair", shared=0.3, candidates=0.3, independent=0.2, extra=0.1),
                HalvesPlan(kind="halves"),
                *[FoldsPlan(kind="folds", folds=k) for k in (2, 3, 7)],
                *[PartsPlan(kind="parts", parts=k) for k in (2, 5)],
                *[SubsetsPlan(kind="subsets", subsets=k, fraction=0.4) for k in (2, 9)],
            ]
        )
    )
    uids = [hashlib.sha256(b"%d" % i).hexdigest()[:32] for i in range(draw(st.integers(20, 60)))]
    held_out = [
        hashlib.sha256(b"e%d" % i).hexdigest()[:32] for i in range(draw(st.sampled_from([0, 9])))
    ]
    return build_plan(config.model_copy(update={"repeats": repeats, "seed": seed}), uids, held_out)


@settings(max_examples=60, deadline=None)
@given(plans())
def test_no_score_uses_an_encoder_on_the_wrong_side(plan):
    trained = np.stack(
        [np.isin(plan.uids.astype(str), plan.members(e).astype(str)) for e in plan.encoders], axis=1
    )
    # Each encoder says 0 of what it was trained on and 1 of all else: any mix-up shows.
    align = (~trained).astype(float)
    scored = estimate(
        align,
        np.repeat(align[:, :, None], 3, axis=2),
        plan.inclusion,
        np.zeros(len(plan.encoders)),
        calibrate=False,
        repeat=plan.repeats,
    )
    both = trained.any(axis=1) & ~trained.all(axis=1)
    assert (scored.memorization[both] == 1).all()
    assert np.isnan(scored.memorization[~both]).all()
    assert (scored.n_in == trained.sum(axis=1)).all()
    assert ((scored.n_in + scored.n_out) == len(plan.encoders)).all()
    if plan.kind in ("halves", "folds", "parts"):
        assert both[plan.group != "E"].all()


@pytest.mark.parametrize("block", [1, 7, 64, 1000])
@pytest.mark.parametrize("levels", [3, 50, None])
def test_ranks_are_those_of_a_stable_sort(tmp_path, monkeypatch, block, levels):
    monkeypatch.setattr(mem, "BLOCK", block)
    random = np.random.default_rng(block)
    m = random.normal(size=300) if levels is None else random.integers(0, levels, 300) / 7.0
    m[random.random(300) < 0.1] = np.nan
    order = np.argsort(-m, kind="stable")
    wanted = np.zeros(300, dtype=np.int64)
    wanted[order] = np.arange(1, 301)
    assert mem.rank(m, tmp_path).tolist() == np.where(np.isnan(m), 0, wanted).tolist()
