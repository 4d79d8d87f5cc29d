"""The estimator: from alignments and a plan to memorization scores with standard errors.

Notation: E encoders, N samples, K views; ``align[i, e]`` is the alignment loss of encoder e on
sample i (Eq. 1 of arXiv 2401.12233), ``inclusion[i, e]`` whether e was trained on i.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

SIGNIFICANCE = 0.01
"""Level at which the separation of members from non-members counts as shown."""


class OffsetFit:
    """Least squares fit of ``align[i, e] = a[i] + b[e] - c * inclusion[i, e]``, shard by shard.

    The samples' levels a are swept out by centring each sample over the encoders, so that only sums
    of length E are kept.
    """

    def __init__(self, n_encoders: int) -> None:
        self.n = 0
        self.y = np.zeros(n_encoders)
        self.z = np.zeros(n_encoders)
        self.yz = 0.0
        self.zz = 0.0

    def add(self, align: np.ndarray, inclusion: np.ndarray) -> None:
        """Add samples: ``align`` (n, E) float64, ``inclusion`` (n, E) bool."""
        z = inclusion.astype(np.float64)
        y = align - align.mean(axis=1, keepdims=True)
        z = z - z.mean(axis=1, keepdims=True)
        self.n += len(align)
        self.y += y.sum(axis=0)
        self.z += z.sum(axis=0)
        self.yz += float((y * z).sum())
        self.zz += float((z * z).sum())

    def offsets(self) -> np.ndarray:
        """Return b, (E,), summing to 0; all zero where no sample was added."""
        if not self.n:
            return np.zeros_like(self.y)
        y, z = self.y / self.n, self.z / self.n
        within = self.zz - self.n * float(z @ z)
        # Where every encoder's inclusion is constant over the samples (S_S and S_E only), c is not
        # identified and not needed.
        c = -(self.yz - self.n * float(y @ z)) / within if within > 1e-9 * max(self.n, 1) else 0.0
        b = y + c * z
        return b - b.mean()


def calibrates(group: np.ndarray) -> np.ndarray:
    """Return which samples the offsets are estimated on, (N,) bool.

    Those that both encoders of a pair saw or neither did, where there are any: their difference
    contains no memorization. Else all of the plan's.
    """
    neutral = np.isin(group, ["S", "E"])
    return neutral if np.isin(group, ["S"]).any() else np.ones(len(group), dtype=bool)


@dataclass(frozen=True)
class Estimate:
    """Scores of n samples; every field is (n,) float64, NaN where undefined.

    Attributes:
        memorization: Calibrated or raw, as asked; higher = more memorized.
        raw: Mean alignment over encoders not trained on the sample minus that over those that were.
        delta: ``align(g) - align(f)`` of a pair, offsets treated as in ``memorization``.
        align_in: Mean alignment over the encoders trained on the sample.
        align_out: Mean alignment over those that were not.
        n_in: How many were trained on it.
        n_out: How many were not.
        se_views: Standard error from the finite number of views.
        se_encoders: Standard error from the finite number of encoders.
        se: Both, what they share counted once.
    """

    memorization: np.ndarray
    raw: np.ndarray
    delta: np.ndarray
    align_in: np.ndarray
    align_out: np.ndarray
    n_in: np.ndarray
    n_out: np.ndarray
    se_views: np.ndarray
    se_encoders: np.ndarray
    se: np.ndarray


def estimate(
    align: np.ndarray,
    leave_one_out: np.ndarray,
    inclusion: np.ndarray,
    offsets: np.ndarray,
    *,
    repeat: np.ndarray,
    calibrate: bool,
    pair: bool,
) -> Estimate:
    """Return memorization scores and their standard errors.

    Args:
        align: (n, E) float64.
        leave_one_out: (n, E, K) alignments with view k left out (jackknife replicates); K of 0 or 1
            leaves ``se_views`` undefined.
        inclusion: (n, E) bool.
        offsets: (E,) from ``OffsetFit``.
        repeat: (E,) which repeat of the plan each encoder belongs to.
        calibrate: Whether ``memorization`` has the offsets removed.
        pair: Whether the encoders are f and g in turn, so that ``delta`` is defined.
    """
    level = align - offsets
    n_in = inclusion.sum(axis=1)
    n_out = inclusion.shape[1] - n_in
    raw = _contrast(align, inclusion)
    calibrated = _contrast(level, inclusion)
    used = level if calibrate else align
    delta = np.full(len(align), np.nan)
    if pair:
        delta = used[:, 1::2].mean(axis=1) - used[:, 0::2].mean(axis=1)
    se_views = _jackknife(leave_one_out, inclusion)
    se_encoders = np.sqrt(_between(level[:, :, None], inclusion, repeat))
    # What a view does to one encoder alone is part of the spread over encoders already and counts
    # once. Without the encoders' part the views' part is all that is known; it is a lower bound,
    # and ``reliability.encoders: null`` says so.
    shared = np.nan_to_num(se_views) ** 2 - _view_by_encoder(leave_one_out, inclusion, repeat)
    se = np.sqrt(np.nan_to_num(se_encoders) ** 2 + np.maximum(shared, 0.0))
    se[np.isnan(se_views) & np.isnan(se_encoders)] = np.nan
    return Estimate(
        memorization=calibrated if calibrate else raw,
        raw=raw,
        delta=delta,
        align_in=_side(align, inclusion),
        align_out=_side(align, ~inclusion),
        n_in=n_in,
        n_out=n_out,
        se_views=se_views,
        se_encoders=se_encoders,
        se=se,
    )


def _side(values: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Return the mean of ``values`` (n, E, ...) over the encoders in ``side`` (n, E)."""
    mask = side.reshape(side.shape + (1,) * (values.ndim - 2))
    count = mask.sum(axis=1).astype(np.float64)
    total = np.where(mask, values, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _contrast(values: np.ndarray, inclusion: np.ndarray) -> np.ndarray:
    """Return the mean over encoders without the sample minus the mean over those with it."""
    return _side(values, ~inclusion) - _side(values, inclusion)


def _jackknife(leave_one_out: np.ndarray, inclusion: np.ndarray) -> np.ndarray:
    """Return the leave-one-view-out standard error of the contrast (Efron & Stein 1981).

    All encoders see the same views, so that the replicates are those of the contrast, not of each
    encoder on its own.
    """
    n, _, k = leave_one_out.shape
    if k < 2:
        return np.full(n, np.nan)
    replicates = _contrast(leave_one_out.astype(np.float64), inclusion)
    centred = replicates - replicates.mean(axis=1, keepdims=True)
    return np.sqrt((k - 1) / k * (centred**2).sum(axis=1))


def _view_by_encoder(
    leave_one_out: np.ndarray, inclusion: np.ndarray, repeat: np.ndarray
) -> np.ndarray:
    """Return the part of the views' variance that the spread over encoders contains, (n,).

    From the residuals of a two-way layout, encoders (or repeats) by views, of the jackknife's
    pseudo-values; 0 where there is no spread to see.
    """
    k = leave_one_out.shape[2]
    if k < 2:
        return np.zeros(len(leave_one_out))
    replicates = leave_one_out.astype(np.float64)
    effect = (k - 1) * (replicates.mean(axis=2, keepdims=True) - replicates)
    return np.nan_to_num(_between(effect, inclusion, repeat) / (k * (k - 1)))


def _between(values: np.ndarray, inclusion: np.ndarray, repeat: np.ndarray) -> np.ndarray:
    """Return the variance of a contrast of ``values`` (n, E, V) that encoders make, summed over V.

    Encoders of one repeat share initialisation, and a pair or fold of them the samples they were
    not trained on; what they share cancels in a contrast. Repeats are independent, so that with two
    or more of them the spread of their contrasts is what counts, and else that within the sides.
    """
    within = _variance_of_contrast(values, inclusion)
    numbers = np.unique(repeat)
    if len(numbers) < 2:
        return within
    contrasts = np.stack(
        [_contrast(values[:, repeat == r], inclusion[:, repeat == r]) for r in numbers], axis=1
    )
    there = ~np.isnan(contrasts).any(axis=2)
    n = there.sum(axis=1).astype(np.float64)
    centred = np.where(there[:, :, None], contrasts - _side(contrasts, there)[:, None], 0.0)
    total = (centred**2).sum(axis=(1, 2))
    return np.divide(total, n * (n - 1), out=within, where=n > 1)


def _variance_of_contrast(values: np.ndarray, inclusion: np.ndarray) -> np.ndarray:
    """Return what the spread of ``values`` (n, E, V) over a side's encoders means for a contrast.

    Squares are summed over the last axis. A side with one encoder borrows the other's variance; NaN
    where both have one, or one has none.
    """
    variances, counts = [], []
    for side in (inclusion, ~inclusion):
        count = side.sum(axis=1).astype(np.float64)
        centred = np.where(side[:, :, None], values - _side(values, side)[:, None], 0.0)
        total = (centred**2).sum(axis=(1, 2))
        spread = np.full(len(values), np.nan)
        variances.append(np.divide(total, count - 1, out=spread, where=count > 1))
        counts.append(count)
    first, second = variances
    first_or = np.where(np.isnan(first), second, first)
    second_or = np.where(np.isnan(second), first, second)
    out = np.full(len(values), np.nan)
    scored = (counts[0] > 0) & (counts[1] > 0)
    out[scored] = first_or[scored] / counts[0][scored] + second_or[scored] / counts[1][scored]
    return out


def rank(memorization: np.ndarray) -> np.ndarray:
    """Return ranks (N,) int64 of samples sorted by uid: 1 the most memorized, 0 where undefined.

    Ties go by uid.
    """
    out = np.zeros(len(memorization), dtype=np.int64)
    order = np.argsort(-memorization, kind="stable")  # what is undefined comes last
    scored = len(order) - int(np.isnan(memorization).sum())
    out[order[:scored]] = np.arange(1, scored + 1)
    return out


class Errors:
    """Mean squares of the standard errors of the samples that have a score, shard by shard."""

    NAMES = ("se_views", "se_encoders", "se")

    def __init__(self) -> None:
        self.n = 0
        self._sums = dict.fromkeys(self.NAMES, 0.0)

    def add(self, part: Estimate) -> None:
        """Add samples."""
        scored = ~np.isnan(part.memorization)
        self.n += int(scored.sum())
        for name in self.NAMES:
            self._sums[name] += float((getattr(part, name)[scored] ** 2).sum())

    def mean_square(self, name: str) -> float:
        """Return the mean square of one of ``NAMES``; NaN where it is undefined for a sample."""
        return self._sums[name] / self.n if self.n else float("nan")


def summarise(
    memorization: np.ndarray, errors: Errors, group: np.ndarray, *, delta: np.ndarray | None = None
) -> dict[str, Any]:
    """Return what ``scores.json`` says of a run: groups, tests, reliability, separation.

    Args:
        memorization: Scores of all N samples, NaN where undefined.
        errors: Of the same samples.
        group: (N,) as in the plan.
        delta: Of the same samples for a pair plan, whose groups are tested on it; else the test is
            ``m > 0``.
    """
    pair = delta is not None
    score = memorization if delta is None else delta
    groups = {
        name: _moments(score[(group == name) & ~np.isnan(score)])
        for name in sorted(
            np.unique(group).tolist(), key=lambda g: ("SCIE".find(g) if pair else 0, g)
        )
        if name != "-"
    }
    groups = {name: facts for name, facts in groups.items() if facts["n"]}
    scored = ~np.isnan(memorization)
    m = memorization[scored]
    if not pair:
        groups["all"] = _moments(m)
    tests = _pair_tests(score, group) if pair else [_one_sample("m>0", _moments(m), "greater")]
    return {
        "groups": groups,
        "tests": tests,
        "separation": _separation(tests),
        "reliability": _reliability(m, errors),
        "normalised_mean": _normalised_mean(memorization[_candidates(group, scored)]),
        "n_scored": int(scored.sum()),
        "n_unscored": int((~scored).sum()),
        "score_direction": "higher = more memorized",
    }


def _candidates(group: np.ndarray, scored: np.ndarray) -> np.ndarray:
    """Return which samples the paper's headline number is taken over, (N,) bool."""
    return scored & (group == "C") if (group == "C").any() else scored


def _normalised_mean(m: np.ndarray) -> float | None:
    """Return the paper's headline, ``mean(m) / (max m - min m)``, in [-1, 1]."""
    span = float(m.max() - m.min()) if len(m) else 0.0
    return float(m.mean()) / span if span > 0 else None


def _moments(values: np.ndarray) -> dict[str, Any]:
    sd = float(values.std(ddof=1)) if len(values) > 1 else None
    return {"n": len(values), "mean": float(values.mean()) if len(values) else None, "sd": sd}


def _reliability(m: np.ndarray, errors: Errors) -> dict[str, Any]:
    """Return ``1 - mean(se^2) / var(m)`` for the views' part and for both parts."""
    variance = float(m.var(ddof=1)) if len(m) > 1 else 0.0

    def part(name: str) -> float | None:
        square = errors.mean_square(name)
        return None if variance <= 0 or np.isnan(square) else 1.0 - square / variance

    encoders = None if np.isnan(errors.mean_square("se_encoders")) else part("se")
    note = (
        "views and encoders: what a run with other training and view seeds would repeat"
        if encoders is not None
        else "views only: one encoder on each side cannot show how much is training noise"
    )
    return {"views": part("se_views"), "encoders": encoders, "note": note}


def _pair_tests(delta: np.ndarray, group: np.ndarray) -> list[dict[str, Any]]:
    """Return the tests of the paper's Tables 2 and 16 that the groups at hand allow."""
    part = {name: _moments(delta[(group == name) & ~np.isnan(delta)]) for name in "SCIE"}
    tests = []
    for a, b in (("C", "S"), ("C", "E"), ("S", "I"), ("E", "I")):
        if part[a]["n"] > 1 and part[b]["n"] > 1:
            tests.append(_two_samples(f"{a}>{b}", part[a], part[b]))
    for name, side, label in (
        ("C", "greater", "C>0"),
        ("I", "less", "I<0"),
        ("E", "greater", "E>0"),
        ("S", "two-sided", "S=0"),
    ):
        if part[name]["n"] > 1:
            tests.append(_one_sample(label, part[name], side))
    return tests


def _two_samples(label: str, a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Return Welch's t-test of mean a > mean b, from the moments of both."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found = stats.ttest_ind_from_stats(
            *(a["mean"], a["sd"], a["n"], b["mean"], b["sd"], b["n"]),
            equal_var=False,
            alternative="greater",
        )
    pooled = np.sqrt((a["sd"] ** 2 + b["sd"] ** 2) / 2)
    gap = a["mean"] - b["mean"]
    return _test(label, found.statistic, found.pvalue, gap, pooled, [a["n"], b["n"]])


def _one_sample(label: str, moments: dict[str, Any], alternative: str) -> dict[str, Any]:
    """Return the t-test of a mean against 0, from moments: scipy's copies the sample four times."""
    n, mean, sd = moments["n"], moments["mean"], moments["sd"]
    if n < 2:
        return {"name": label, "statistic": None, "p": None, "cohens_d": None, "n": [n]}
    statistic = mean / (sd / np.sqrt(n)) if sd > 0 else np.nan
    p = {
        "greater": stats.t.sf(statistic, n - 1),
        "less": stats.t.cdf(statistic, n - 1),
        "two-sided": 2 * stats.t.sf(abs(statistic), n - 1),
    }[alternative]
    return _test(label, statistic, p, mean, sd, [n])


def _test(
    label: str, statistic: float, p: float, gap: float, sd: float, n: list[int]
) -> dict[str, Any]:
    known = np.isfinite(statistic) and np.isfinite(p)
    return {
        "name": label,
        "statistic": float(statistic) if known else None,
        "p": float(p) if known else None,
        "cohens_d": float(gap / sd) if sd > 0 else None,
        "n": n,
    }


def _separation(tests: list[dict[str, Any]]) -> str:
    """Return ``clear`` where members separate from non-members, ``none`` where not.

    A pair needs C>S and C>E (those of them it can test) at ``SIGNIFICANCE``; a pair with neither
    group, and every other plan, needs its mean above 0.
    """
    by_name = {test["name"]: test["p"] for test in tests}
    wanted = [p for name, p in by_name.items() if name in ("C>S", "C>E")]
    wanted = wanted or [p for name, p in by_name.items() if name in ("m>0", "C>0")]
    if not wanted or any(p is None for p in wanted):
        return "none"
    return "clear" if all(p < SIGNIFICANCE for p in wanted) else "none"
