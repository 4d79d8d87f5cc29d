"""Is there any signal: group tests, the verdict on separation, and the reliability of a ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from curate.runtime.intervals import CONFIDENCE
from curate.scores.estimator import Errors
from curate.scores.summary import Group, GroupTest, Reliability, Signal
from curate.scores.verdict import verdict

SIGNIFICANCE = 0.01
"""Level at which the separation of members from non-members counts as shown."""


def summarise(
    memorization: np.ndarray,
    errors: Errors,
    group: np.ndarray,
    *,
    delta: np.ndarray | None = None,
    fixed_groups: bool = False,
    looks: int = 0,
) -> Signal:
    """Summarise the scores of a run: groups, tests, reliability, separation.

    Args:
        memorization: Scores of all N samples, NaN where undefined.
        errors: Of the same samples.
        group: (N,) as in the plan.
        delta: Of the same samples for a pair plan, whose groups are tested on it; else the test is
            ``m > 0``.
        fixed_groups: Whether all repeats share their groups, so that their spread does not show
            what other groups would do.
        looks: How often ``--until`` has looked at the run, this time included; 0 without it. Look k
            may be wrong by chance with ``2^-k`` of the probability that a run without it may, so
            that all looks together are not more often wrong, however many there are.
    """
    spent = 2.0**-looks
    pair = delta is not None
    of_m = by_group(memorization, group)
    of_score = of_m if delta is None else by_group(delta, group)
    named = sorted(of_score.keys() - {"-"}, key=lambda g: ("SCIE".find(g) if pair else 0, g))
    groups = {name: of_score[name].group() for name in named}
    scored = sum(of_m.values(), NOTHING)
    if not pair:
        groups["all"] = scored.group()
    tests = _pair_tests(groups) if pair else [_one_sample("m>0", groups["all"], "greater")]
    separation = _separation(tests, SIGNIFICANCE * spent)
    reliability = _reliability(
        scored, errors, fixed_groups=fixed_groups, confidence=1 - (1 - CONFIDENCE) * spent
    )
    return Signal(
        groups=groups,
        tests=tuple(tests),
        separation=separation,
        reliability=reliability,
        verdict=verdict(separation, reliability, scored=scored.n > 0),
        looks=looks,
        # The paper's headline is that of the candidates, where there are such.
        normalised_mean=of_m.get("C", scored).normalised_mean,
        n_scored=scored.n,
        n_unscored=len(memorization) - scored.n,
        score_direction="higher = more memorized",
    )


def _reliability(
    m: Moments, errors: Errors, *, fixed_groups: bool, confidence: float
) -> Reliability:
    variance = m.variance or 0.0

    def part(square: float) -> float | None:
        return None if variance <= 0 or np.isnan(square) else 1.0 - square / variance

    if np.isnan(errors.both):
        note = "views only: one encoder on each side cannot show how much is training noise"
    elif fixed_groups:
        note = (
            "views and encoders: what a run with other training and view seeds would repeat, its "
            "groups being the same; with other groups it would repeat less"
        )
    elif errors.left_out.repeats < 2:
        note = (
            "views and encoders: what a run with other seeds would repeat, at most: of one "
            "repeat, a side with one encoder borrows the spread of the other, the smaller one"
        )
    else:
        note = "views and encoders: what a run with other seeds would repeat"
    both = part(errors.both)
    ends = None
    if both is not None:
        ends = errors.left_out.interval(both, errors.shared, confidence)
    low, high = ends or (None, None)
    return Reliability(
        views=part(errors.views),
        encoders=both,
        groups="fixed" if fixed_groups else "drawn",
        note=note,
        low=low,
        high=high,
        confidence=confidence,
    )


def _pair_tests(groups: Mapping[str, Group]) -> list[GroupTest]:
    """Return the tests of the paper's Tables 2 and 16 that the groups at hand allow."""
    part = {name: groups.get(name, NOTHING.group()) for name in "SCIE"}
    tests = []
    for a, b in (("C", "S"), ("C", "E"), ("S", "I"), ("E", "I")):
        if part[a].n > 1 and part[b].n > 1:
            tests.append(_two_samples(f"{a}>{b}", part[a], part[b]))
    for name, side, label in (
        ("C", "greater", "C>0"),
        ("I", "less", "I<0"),
        ("E", "greater", "E>0"),
        ("S", "two-sided", "S=0"),
    ):
        if part[name].n > 1:
            tests.append(_one_sample(label, part[name], side))
    return tests


def _two_samples(label: str, a: Group, b: Group) -> GroupTest:
    """Return Welch's t-test of mean a > mean b, from the moments of both."""
    assert a.mean is not None and a.sd is not None
    assert b.mean is not None and b.sd is not None
    with np.errstate(divide="ignore", invalid="ignore"):
        welch = stats.ttest_ind_from_stats(
            *(a.mean, a.sd, a.n, b.mean, b.sd, b.n),
            equal_var=False,
            alternative="greater",
        )
    pooled = np.sqrt((a.sd**2 + b.sd**2) / 2)
    return _test(label, welch.statistic, welch.pvalue, a.mean - b.mean, pooled, (a.n, b.n))


def _one_sample(label: str, group: Group, alternative: str) -> GroupTest:
    """Return the t-test of a mean against 0, from moments: scipy's copies the sample four times."""
    n, mean, sd = group.n, group.mean, group.sd
    if mean is None or sd is None:
        return GroupTest(label, None, None, None, (n,))
    statistic = mean / (sd / np.sqrt(n)) if sd > 0 else np.nan
    p = {
        "greater": stats.t.sf(statistic, n - 1),
        "less": stats.t.cdf(statistic, n - 1),
        "two-sided": 2 * stats.t.sf(abs(statistic), n - 1),
    }[alternative]
    return _test(label, statistic, p, mean, sd, (n,))


def _test(
    label: str, statistic: float, p: float, gap: float, sd: float, n: tuple[int, ...]
) -> GroupTest:
    known = np.isfinite(statistic) and np.isfinite(p)
    return GroupTest(
        name=label,
        statistic=float(statistic) if known else None,
        p=float(p) if known else None,
        cohens_d=float(gap / sd) if sd > 0 else None,
        n=n,
    )


def _separation(tests: Sequence[GroupTest], level: float) -> str:
    """Return ``clear`` where members separate from non-members, ``none`` where not.

    A pair needs C>S and C>E (those of them it can test) at this level; a pair with neither group,
    and every other plan, needs its mean above 0.
    """
    decisive = [test.p for test in tests if test.name in ("C>S", "C>E")]
    decisive = decisive or [test.p for test in tests if test.name in ("m>0", "C>0")]
    shown = bool(decisive) and all(p is not None and p < level for p in decisive)
    return "clear" if shown else "none"


@dataclass(frozen=True)
class Moments:
    """Moments of n values; those of parts add up (Chan, Golub & LeVeque 1983).

    Attributes:
        n: How many.
        mean: Their mean; 0 for none.
        squares: Sum of their squared distances from it.
        low: The least.
        high: The largest.
    """

    n: int
    mean: float
    squares: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Return the moments of (n,) numbers, n > 0."""
        mean = float(values.mean())
        squares = float(np.square(values - mean).sum())
        return cls(len(values), mean, squares, float(values.min()), float(values.max()))

    def __add__(self, other: Moments) -> Moments:
        if not (self.n and other.n):
            return self if self.n else other
        n, gap = self.n + other.n, other.mean - self.mean
        return Moments(
            n=n,
            mean=self.mean + gap * other.n / n,
            squares=self.squares + other.squares + gap**2 * self.n * other.n / n,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
        )

    @property
    def variance(self) -> float | None:
        """Of the population that they are a sample of."""
        return self.squares / (self.n - 1) if self.n > 1 else None

    @property
    def normalised_mean(self) -> float | None:
        """The paper's headline, ``mean(m) / (max m - min m)``, in [-1, 1]."""
        return self.mean / (self.high - self.low) if self.n and self.high > self.low else None

    def group(self) -> Group:
        """Return n, mean and standard deviation."""
        sd = None if self.variance is None else float(np.sqrt(self.variance))
        return Group(self.n, self.mean if self.n else None, sd)


NOTHING = Moments(0, 0.0, 0.0, np.inf, -np.inf)
BLOCK = 2**14
"""Samples per pass: masks and copies of all of them would take more than the scores."""


def by_group(values: np.ndarray, group: np.ndarray) -> dict[str, Moments]:
    """Return the moments of the values of each group that are not NaN, where there are any."""
    moments: dict[str, Moments] = {}
    for start in range(0, len(values), BLOCK):
        here, names = values[start : start + BLOCK], group[start : start + BLOCK]
        known = ~np.isnan(here)
        for name in np.unique(names[known]).tolist():
            part = Moments.of(here[known & (names == name)])
            moments[name] = moments.get(name, NOTHING) + part
    return moments
