"""The posterior against definitions written out with numpy, and against simulated truth."""

import numpy as np
import pytest

from curate.scores import posterior as module
from curate.scores.posterior import Estimates, cross_fit, posterior, prior

pytestmark = pytest.mark.numeric


def none(rows, cell=None):
    return np.zeros((rows.stop - rows.start, 0))


def simulated(rng, n, *, tail="normal", foretells=1.0, noise=1.0, rises=False, shared=0.0):
    """Return the truth, its estimates from 2 x 2 cells, and covariates of each cell."""
    x = rng.normal(size=(n, 6))
    line = foretells * (x[:, 0] + 0.5 * x[:, 1] + 0.2 * (x[:, 2] ** 2 - 1))
    rest = {
        "normal": lambda: rng.normal(size=n),
        "t": lambda: rng.standard_t(5, n) / np.sqrt(5 / 3),
        "gamma": lambda: (rng.gamma(4, size=n) - 4) / 2,
    }[tail]()
    spread = 0.8 * np.sqrt(np.clip(1 + 0.5 * line, 0.2, None)) if rises else 0.8
    truth = line + spread * rest
    error = noise * rng.normal(size=(n, 2, 2)) * 2  # the mean of four has the error ``noise``
    cells = truth[:, None, None] + error
    seen = x[:, None, None] + 0.3 * rng.normal(size=(n, 2, 2, 6))
    seen[..., 0] += shared * error
    se = np.full(n, noise)
    variance = noise**2 * rng.chisquare(7, n) / 7
    found = Estimates(cells.mean(axis=(1, 2)), se, variance, cells)
    return truth, found, lambda rows, cell: seen[rows, cell[0], cell[1]]


def folds(n):
    return np.arange(n) % 10


@pytest.mark.parametrize("block", [70, 2**13])
def test_predictions_are_ridge_regressions_on_the_other_folds(block, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", block)
    rng = np.random.default_rng(0)
    x = 5 + rng.normal(size=(300, 4)) * [1, 10, 0.1, 0]
    y = x[:, 0] + 0.1 * x[:, 1] + rng.normal(size=300)
    y[::11] = np.nan
    out, fold = np.empty(300), rng.integers(0, 5, 300)
    penalty = cross_fit(y, lambda rows: x[rows], fold, out=out)
    z = np.zeros_like(x)
    z[:, :3] = ((x - x.mean(axis=0))[:, :3] / x.std(axis=0)[:3]).clip(-4, 4)
    design = np.column_stack([z, z**2])
    wanted, errors = {}, {}
    for each in module.PENALTIES:
        wanted[each] = np.empty(300)
        for f in range(5):
            fit = (fold != f) & ~np.isnan(y)
            mean, level = design[fit].mean(axis=0), y[fit].mean()
            centred = design[fit] - mean
            gram = centred.T @ centred + each * fit.sum() * np.eye(8)
            slopes = np.linalg.solve(gram, centred.T @ (y[fit] - level))
            wanted[each][fold == f] = level + (design[fold == f] - mean) @ slopes
        errors[each] = np.nansum((wanted[each] - y) ** 2)
    assert penalty == min(errors, key=errors.get)
    np.testing.assert_allclose(out, wanted[penalty], atol=1e-8)


def test_without_covariates_each_estimate_moves_to_the_mean_by_its_share_of_noise():
    rng = np.random.default_rng(1)
    n, true, se = 4000, 0.5, rng.uniform(0.3, 1.5, 4000)
    m = 2 + true * rng.normal(size=n) + se * rng.normal(size=n)
    found = posterior(Estimates(m, se, se**2, m[:, None, None]), none, folds(n))
    tau = m.var() - np.mean(se**2)
    weight = tau / (tau + se**2)
    np.testing.assert_allclose(found.weight, weight, rtol=0.02)
    np.testing.assert_allclose(found.expected, m.mean() + weight * (m - m.mean()), atol=0.02)
    np.testing.assert_allclose(found.expected_se, np.sqrt(weight) * se, rtol=0.02)
    assert found.facts.own_weight == pytest.approx(weight.mean(), rel=0.02)


@pytest.mark.parametrize("noise", [0.5, 1.5])
@pytest.mark.parametrize(
    "design",
    [
        {},
        {"tail": "t"},
        {"tail": "gamma"},
        {"rises": True},
        {"foretells": 0.0},
        {"shared": 0.3},
    ],
    ids=str,
)
def test_intervals_hold_the_truth_also_in_the_selected_tenth(design, noise):
    held, of_top, stated, reached = [], [], [], []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        truth, estimates, covariates = simulated(rng, 3000, noise=noise, **design)
        found = posterior(estimates, covariates, folds(3000))
        inside = np.abs(found.expected - truth) < 1.96 * found.expected_se
        held.append(inside.mean())
        of_top.append(inside[np.argsort(-found.expected)[:300]].mean())
        stated.append(found.facts.reliability)
        reached.append(np.corrcoef(found.expected, truth)[0, 1] ** 2)
    assert 0.93 < np.mean(held) < 0.97
    # A skewed truth has its largest values where a normal posterior does not look for them.
    assert (0.9 if design.get("tail") == "gamma" else 0.93) < np.mean(of_top) < 0.975
    assert np.mean(stated) == pytest.approx(np.mean(reached), abs=0.03)


def test_covariates_that_foretell_buy_accuracy_and_random_ones_cost_none():
    rng = np.random.default_rng(5)
    truth, estimates, covariates = simulated(rng, 2000, noise=1.5)

    def accuracy(values):
        return np.corrcoef(values, truth)[0, 1] ** 2

    raw = accuracy(estimates.whole)
    assert accuracy(posterior(estimates, covariates, folds(2000)).expected) > raw + 0.2
    wrong = rng.normal(size=(2000, 30))
    found = posterior(estimates, lambda rows, _: wrong[rows], folds(2000))
    assert accuracy(found.expected) > raw - 0.01


def test_what_covariates_alone_foretell_is_read_back_from_a_posterior():
    rng = np.random.default_rng(6)
    truth, estimates, covariates = simulated(rng, 2000, noise=1.5)
    found = posterior(estimates, covariates, folds(2000))
    alone = prior(found.expected, estimates.whole, found.weight)
    out = found.weight * estimates.whole + (1 - found.weight) * alone
    np.testing.assert_allclose(out, found.expected)
    # It shares no noise with the estimate, so that it foretells the truth and not the error.
    assert np.corrcoef(alone, truth)[0, 1] > 0.6
    assert abs(np.corrcoef(alone, estimates.whole - truth)[0, 1]) < 0.08
    given = prior(np.array([2.0, np.nan, 5.0]), np.array([2.0, 1.0, 3.0]), np.array([1.0, 0.5, 0]))
    np.testing.assert_array_equal(given, [np.nan, np.nan, 5.0])


def test_noise_that_covariates_share_with_the_estimate_is_seen():
    rng = np.random.default_rng(6)
    alone, together = (
        posterior(*simulated(rng, 4000, noise=1.5, shared=s)[1:], folds(4000)).facts
        for s in (0.0, 0.5)
    )
    assert abs(alone.shared_noise) < 0.03
    assert together.shared_noise > 0.08


def test_what_has_no_estimate_or_no_error_has_no_expectation():
    rng = np.random.default_rng(7)
    _, estimates, covariates = simulated(rng, 200)
    estimates.whole[3] = estimates.se[5] = np.nan
    estimates.cells[9] = np.nan
    found = posterior(estimates, covariates, folds(200))
    assert np.flatnonzero(np.isnan(found.expected)).tolist() == [3, 5]
    assert np.isnan(found.expected_se[[3, 5]]).all() and np.isnan(found.weight[[3, 5]]).all()
    nothing = Estimates(*(np.full_like(a, np.nan) for a in vars(estimates).values()))
    empty = posterior(nothing, covariates, folds(200))
    assert np.isnan(empty.expected).all() and empty.facts.reliability is None


def test_where_all_is_noise_everything_is_the_mean_and_is_not_said_to_be_sure():
    rng = np.random.default_rng(8)
    m = 1 + rng.normal(size=2000)
    found = posterior(
        Estimates(m, np.ones(2000), np.ones(2000), m[:, None, None]), none, folds(2000)
    )
    assert np.ptp(found.expected) < 0.5
    assert (found.expected_se > 0.02).all()


def test_a_block_of_samples_is_held_at_a_time_and_blocks_change_nothing(tmp_path, monkeypatch):
    rng = np.random.default_rng(9)
    _, estimates, covariates = simulated(rng, 2000)
    whole = posterior(estimates, covariates, folds(2000))
    largest = []

    def watched(rows, cell):
        largest.append(rows.stop - rows.start)
        return covariates(rows, cell)

    monkeypatch.setattr(module, "BLOCK", 300)
    found = posterior(estimates, watched, folds(2000), scratch=tmp_path)
    assert max(largest) == 300
    for name in ("expected", "expected_se", "weight"):
        np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-7)
