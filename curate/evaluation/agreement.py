"""Agreement between rankings: how alike two runs score the samples that both have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from curate.data.ordering import one_chunk, places, sorted_by_uid
from curate.errors import DataError, UsageError
from curate.selection.strategies import highest

CONFIDENCE = 0.95
SHARES = (0.01, 0.05, 0.1)
"""Sizes of the tops that are compared, as shares of the samples, where none are asked for."""


@dataclass(frozen=True)
class Ranking:
    """One set of scores.

    Attributes:
        name: What it is called in results.
        table: ``uid`` and ``memorization``, as in ``scores.parquet``; nulls are left out.
        reliability: Correlation to expect with an independent run of its kind, where known.
    """

    name: str
    table: pa.Table
    reliability: float | None = None


def agree(rankings: Sequence[Ranking], tops: Sequence[int] = ()) -> dict[str, Any]:
    """Compare every two of some rankings on the samples that both score, matched by uid.

    Args:
        rankings: Two or more, of one dataset.
        tops: How many of the most memorized to intersect; empty takes ``SHARES``.

    Returns:
        ``names``, and ``pairs``: for each ``a``, ``b``, the number ``n`` of samples both score,
        and with ``value``, ``low``, ``high`` (95 %) and ``p`` of no association ``kendall``
        (tau-b; interval after Fieller et al. 1957), ``spearman`` (after Bonett & Wright 2000) and
        ``pearson`` (Fisher 1921); ``disattenuated``, the Pearson correlation over the root of both
        reliabilities (Spearman 1904), None where one is unknown or not above 0; and ``tops``, each
        with ``n``, ``overlap`` (shared part, in [0, 1], with a Wilson interval), and ``chance``,
        what unrelated rankings would share.

    Raises:
        UsageError: If there are fewer than two rankings, or a top is not between 1 and n.
        DataError: If two rankings share fewer than five samples, or one is constant on them.
    """
    if len(rankings) < 2:
        raise UsageError("agreement is between two or more runs; name at least two.")
    pairs = [_pair(a, b, tops) for a, b in itertools.combinations(rankings, 2)]
    return {"names": [ranking.name for ranking in rankings], "pairs": pairs}


def _pair(a: Ranking, b: Ranking, tops: Sequence[int]) -> dict[str, Any]:
    x, y = _matched(a, b)
    n = len(x)
    tau, spearman, pearson = stats.kendalltau(x, y), stats.spearmanr(x, y), stats.pearsonr(x, y)
    rho = float(spearman.statistic)
    rough = {
        "kendall": (tau, math.sqrt(0.437 / (n - 4))),
        "spearman": (spearman, math.sqrt((1 + rho**2 / 2) / (n - 3))),
        "pearson": (pearson, math.sqrt(1 / (n - 3))),
    }
    sizes = tops or sorted({max(1, round(share * n)) for share in SHARES})
    return {
        "a": a.name,
        "b": b.name,
        "n": n,
        **{
            name: {**_interval(float(found.statistic), spread), "p": float(found.pvalue)}
            for name, (found, spread) in rough.items()
        },
        "disattenuated": _disattenuated(float(pearson.statistic), a.reliability, b.reliability),
        "tops": [_overlap(x, y, top) for top in sizes],
    }


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


def _interval(value: float, spread: float) -> dict[str, float]:
    """Return a correlation with its interval, ``spread`` being the deviation of its arc tangent."""
    reach = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * spread
    middle = math.atanh(max(-1 + 1e-15, min(1 - 1e-15, value)))
    return {"value": value, "low": math.tanh(middle - reach), "high": math.tanh(middle + reach)}


def _disattenuated(r: float, a: float | None, b: float | None) -> float | None:
    if a is None or b is None or a <= 0 or b <= 0:
        return None
    return r / math.sqrt(a * b)


def _overlap(x: np.ndarray, y: np.ndarray, top: int) -> dict[str, Any]:
    n = len(x)
    if not 1 <= top <= n:
        raise UsageError(f"--top {top}: both runs score {n:,} samples; 1 to {n:,} can be compared.")
    # Ties go by uid, in whose order the samples are.
    shared = int((highest(x, None, top) & highest(y, None, top)).sum())
    interval = stats.binomtest(shared, top).proportion_ci(CONFIDENCE, method="wilson")
    return {
        "n": top,
        "overlap": shared / top,
        "low": float(interval.low),
        "high": float(interval.high),
        "chance": top / n,
    }


def matrix(facts: Mapping[str, Any], kind: str) -> np.ndarray:
    """Return one kind of correlation between all rankings, (R, R), 1 on the diagonal."""
    names = list(facts["names"])
    out = np.eye(len(names))
    places = itertools.combinations(range(len(names)), 2)
    for (i, j), pair in zip(places, facts["pairs"], strict=True):
        out[i, j] = out[j, i] = pair[kind]["value"]
    return out
