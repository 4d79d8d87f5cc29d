"""Agreement between rankings: how alike two runs score the samples that both have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from curate.data.chunks import one_chunk
from curate.data.ordering import places, sorted_by_uid
from curate.errors import DataError, UsageError
from curate.runtime.intervals import CONFIDENCE, correlation_interval
from curate.runtime.results import Result
from curate.selection.strategies import highest

SHARES = (0.01, 0.05, 0.1)
"""Sizes of the tops that are compared, as shares of the samples, where none are asked for."""


@dataclass(frozen=True)
class Ranking:
    """One set of scores.

    Attributes:
        name: What it is called in results.
        table: ``uid`` and ``memorization``, as in ``scores.parquet``; nulls are left out.
        reliability: Correlation to expect with an independent run of its kind, where known.
        groups: A digest of each set of samples that an encoder of the run was trained on; None for
            a table of which nobody knows.
    """

    name: str
    table: pa.Table
    reliability: float | None = None
    groups: frozenset[str] | None = None


@dataclass(frozen=True)
class Correlation(Result):
    """A correlation of two rankings.

    Attributes:
        value: -1 to 1.
        low: Where its 95 % interval begins; see ``correlation_interval``.
        high: Where it ends.
        p: Probability of so much in unrelated rankings.
    """

    value: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class Top(Result):
    """What the tops of two rankings share.

    Attributes:
        n: Samples of each top.
        overlap: Shared part, 0 to 1.
        low: Where its Wilson interval (95 %) begins.
        high: Where it ends.
        chance: What unrelated rankings would share.
    """

    n: int
    overlap: float
    low: float
    high: float
    chance: float


@dataclass(frozen=True)
class Pair(Result):
    """How alike two rankings are.

    Attributes:
        a: Name of the first.
        b: Name of the second.
        n: Samples that both score.
        kendall: Tau-b.
        spearman: Of ranks.
        pearson: Of scores.
        shared_groups: How many sets of samples encoders of both were trained on. What else is in
            a sample's set is part of its score's error, which such runs repeat: they agree by it,
            and are no two witnesses. None where one plan is unknown.
        groups: How many sets the run has that has fewer; None as well.
        disattenuated: ``pearson`` over the root of both reliabilities (Spearman 1904), which
            supposes errors that have nothing in common; None where groups are shared, or where one
            reliability is unknown or not above 0.
        tops: The most memorized of each, from the fewest on where none were asked for.
    """

    a: str
    b: str
    n: int
    kendall: Correlation
    spearman: Correlation
    pearson: Correlation
    shared_groups: int | None
    groups: int | None
    disattenuated: float | None
    tops: tuple[Top, ...]


@dataclass(frozen=True)
class Agreement(Result):
    """How alike rankings are.

    Attributes:
        names: Of the R rankings.
        pairs: Every two of them, in the order of ``names``.
    """

    names: tuple[str, ...]
    pairs: tuple[Pair, ...]

    def matrix(self, kind: str) -> np.ndarray:
        """Return one kind of correlation between all rankings, (R, R), 1 on the diagonal."""
        out = np.eye(len(self.names))
        spots = itertools.combinations(range(len(self.names)), 2)
        for (i, j), pair in zip(spots, self.pairs, strict=True):
            out[i, j] = out[j, i] = getattr(pair, kind).value
        return out


def agree(rankings: Sequence[Ranking], tops: Sequence[int] = ()) -> Agreement:
    """Compare every two of some rankings on the samples that both score, matched by uid.

    Args:
        rankings: Two or more, of one dataset.
        tops: How many of the most memorized to intersect; empty takes ``SHARES``.

    Raises:
        UsageError: If there are fewer than two rankings, or a top is not between 1 and n.
        DataError: If two rankings share fewer than five samples, or one is constant on them.
    """
    if len(rankings) < 2:
        raise UsageError("agreement is between two or more runs; name at least two.")
    pairs = [_pair(a, b, tops) for a, b in itertools.combinations(rankings, 2)]
    return Agreement(tuple(ranking.name for ranking in rankings), tuple(pairs))


def _pair(a: Ranking, b: Ranking, tops: Sequence[int]) -> Pair:
    x, y = _matched(a, b)
    n = len(x)
    tests = {"kendall": stats.kendalltau, "spearman": stats.spearmanr, "pearson": stats.pearsonr}
    correlations = {}
    for kind, test in tests.items():
        result = test(x, y)
        r = float(result.statistic)
        interval = correlation_interval(kind, r, n)
        correlations[kind] = Correlation(r, *interval, float(result.pvalue))
    sizes = tops or sorted({max(1, round(share * n)) for share in SHARES})
    r = correlations["pearson"].value
    known = a.groups is not None and b.groups is not None
    shared = len((a.groups or frozenset()) & (b.groups or frozenset())) if known else None
    return Pair(
        a=a.name,
        b=b.name,
        n=n,
        **correlations,
        shared_groups=shared,
        groups=None if shared is None else min(len(a.groups or ()), len(b.groups or ())),
        disattenuated=None if shared else _disattenuated(r, a.reliability, b.reliability),
        tops=tuple(_overlap(x, y, top) for top in sizes),
    )


def _matched(a: Ranking, b: Ranking) -> tuple[np.ndarray, np.ndarray]:
    """Return both scores of the samples that both have, (n,) float64 each, sorted by uid."""
    first, second = (_scored(ranking.table) for ranking in (a, b))
    x, y = first["memorization"], second["memorization"]
    if not first["uid"].equals(second["uid"]):
        place = places(one_chunk(first["uid"]), one_chunk(second["uid"]))
        both = pc.is_valid(place)
        x, y = x.filter(both), y.take(place.filter(both))
    x, y = x.to_numpy(), y.to_numpy()
    if len(x) < 5:
        raise DataError(
            f"{a.name} and {b.name} share {len(x)} scored samples, and 5 are needed; are they runs "
            "of one dataset?"
        )
    for ranking, values in ((a, x), (b, y)):
        if not np.ptp(values) > 0:
            raise DataError(f"{ranking.name} gives all {len(values):,} samples one score.")
    return x, y


def _scored(table: pa.Table) -> pa.Table:
    """Return uid and memorization of what is scored, sorted by uid."""
    table = table.select(["uid", "memorization"])
    if table["memorization"].null_count:
        table = table.filter(pc.is_valid(table["memorization"]))
    return sorted_by_uid(table)


def _disattenuated(r: float, a: float | None, b: float | None) -> float | None:
    if a is None or b is None or a <= 0 or b <= 0:
        return None
    return r / math.sqrt(a * b)


def _overlap(x: np.ndarray, y: np.ndarray, top: int) -> Top:
    n = len(x)
    if not 1 <= top <= n:
        raise UsageError(f"top {top}: both runs score {n:,} samples; 1 to {n:,} can be compared.")
    # Ties go by uid, in whose order the samples are.
    shared = int((highest(x, None, top) & highest(y, None, top)).sum())
    interval = stats.binomtest(shared, top).proportion_ci(CONFIDENCE, method="wilson")
    return Top(top, shared / top, float(interval.low), float(interval.high), top / n)
