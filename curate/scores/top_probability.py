"""How sure a sample's place in a selection is, given the standard errors of the scores."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate.data.chunks import one_chunk

CHUNK = 1 << 20
PART = 64
"""One in so many says where a threshold is, of more scores than a chunk."""
REACH = 10.0
"""Standard errors beyond which a normal tail is nothing: Phi(-10) is below 1e-23."""
ROUNDING = 1e-6
"""What a sum of millions of probabilities may be off by."""


def p_top(m: np.ndarray, se: np.ndarray, n: int) -> np.ndarray:
    """Return the probability of each sample to be among the n highest, (N,) float64 in [0, 1].

    Solves ``sum_i Phi((m_i - t) / se_i) = n`` for the threshold t and gives
    ``Phi((m_i - t) / se_i)``: the scores are taken as independent normal variables and the
    threshold as known. A sample whose own error is smaller than what the threshold wavers by,
    ``sqrt(luck) / (density of scores at t)``, is therefore given less doubt than it has; that
    spread falls with N. The probabilities add up to n.

    Args:
        m: (N,) scores, no NaN.
        se: (N,) standard errors. Where NaN or 0 the score is certain and the result 0 or 1; of
            equal certain scores at the threshold the first ones count, so sort by uid before.
        n: Size of the selection, 0 to N.
    """
    m = np.asarray(m, dtype=np.float64)
    se = np.asarray(se, dtype=np.float64)
    assert m.shape == se.shape == (len(m),)
    assert 0 <= n <= len(m)
    if n in (0, len(m)):
        return np.full(len(m), float(n > 0))
    soft = np.isfinite(se) & (se > 0)
    hard = np.sort(m[~soft])
    values, errors = m[soft], se[soft]
    t = _threshold(values, errors, hard, n)
    out = np.empty(len(m))
    out[soft] = _phi(values, errors, t)
    # Certain scores fill what the others leave of n, from the highest down; at most one of them,
    # at the threshold itself, gets a part.
    certain = np.flatnonzero(~soft)
    order = certain[np.argsort(-m[certain], kind="stable")]
    left = n - float(out[soft].sum())
    if abs(left - round(left)) < ROUNDING:
        left = round(left)
    out[order] = np.clip(left - np.arange(len(order)), 0.0, 1.0)
    return out


def shrunk(
    m: np.ndarray, se: np.ndarray, reliability: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return what is to be believed of true scores: posterior means and deviations, (N,) float64.

    The highest scores found are high by luck as well, so that ``N(m_i, se_i)`` taken for the truth
    is too sure of them. With true scores normal around their mean, with the variance that errors
    leave of that of ``m`` (an empirical Bayes estimate, Efron & Morris 1975), each is moved towards
    the mean by the share of its variance that is error. Where errors explain all of it every score
    is the mean, with deviation 0. Where the truth has a heavy tail (a gamma of shape 2), what
    follows for a top is up to 0.11 too low for single probabilities.

    Args:
        m: (N,) scores, no NaN.
        se: (N,) standard errors; NaN and 0 are certain.
        reliability: ``1 - mean(se^2) / var(m)`` where it is known; None takes it from ``se``.
    """
    m, se = np.asarray(m, dtype=np.float64), np.nan_to_num(np.asarray(se, dtype=np.float64))
    if len(m) < 2:
        return m, se
    variance = float(m.var(ddof=1))
    error = float(np.mean(se**2)) if reliability is None else (1 - reliability) * variance
    true, noise = max(variance - error, 0.0), se**2
    part = np.divide(true, true + noise, out=np.ones(len(m)), where=noise > 0)
    mean = float(m.mean())
    return mean + part * (m - mean), np.sqrt(part) * se


def p_selected(
    m: np.ndarray, se: np.ndarray, n: int, reliability: float | None = None
) -> np.ndarray:
    """Return the probability of each sample to be among the truly n highest, (N,) in [0, 1].

    ``p_top`` of ``shrunk``: ``n / N`` for all where the scores are nothing but error.
    """
    values, errors = shrunk(m, se, reliability)
    if len(values) and not errors.any() and not np.ptp(values) and np.nan_to_num(se).any():
        return np.full(len(values), n / len(values))
    return p_top(values, errors, n)


def expected_overlap(
    m: np.ndarray, se: np.ndarray, n: int, *, reliability: float | None = None
) -> float:
    """Return the share of the n highest expected to be among the truly n highest, in [0, 1].

    Args:
        m: (N,) scores, no NaN.
        se: (N,) standard errors.
        n: 1 to N.
        reliability: As in ``shrunk``.
    """
    chosen = np.argpartition(-np.asarray(m, dtype=np.float64), n - 1)[:n]
    return float(p_selected(m, se, n, reliability)[chosen].sum() / n)


def luck(p: np.ndarray) -> float:
    """Return ``sum p (1 - p)``: how many places of a selection are decided by chance."""
    return float((p * (1.0 - p)).sum())


def _threshold(values: np.ndarray, errors: np.ndarray, hard: np.ndarray, n: float) -> float:
    """Return t where the expected number of scores above it falls to n."""
    from scipy import optimize

    if not len(values):
        return float(hard[len(hard) - int(n)])
    low = min([(values - REACH * errors).min(), *hard[:1]])
    high = max([(values + REACH * errors).max(), *hard[-1:]])

    def excess(t: float) -> float:
        return _expected(values, errors, t) + len(hard) - np.searchsorted(hard, t, "left") - n

    margin = 1e-9 * (high - low)
    low, high = low - margin, high + margin
    if len(values) > CHUNK:
        # What a part of them says is close, and spares half of the passes over all.
        near = _threshold(values[::PART], errors[::PART], hard[::PART], n / PART)
        low, high = _bracket(excess, near, 1e5 * margin, (low, high))
    # Brent's method takes about ten passes where bisection takes fifty.
    return float(optimize.brentq(excess, low, high, xtol=1e-3 * margin, rtol=1e-14, maxiter=200))


def _bracket(
    excess: Callable[[float], float], near: float, step: float, ends: tuple[float, float]
) -> tuple[float, float]:
    """Return two values between ``ends`` and close to ``near`` where ``excess`` falls below 0."""
    low, high = ends
    way = 1 if excess(near) > 0 else -1
    last, here = near, near + way * step
    while low < here < high and way * excess(here) > 0:
        step *= 4
        last, here = here, here + way * step
    here = min(max(here, low), high)
    return (last, here) if way > 0 else (here, last)


def _expected(values: np.ndarray, errors: np.ndarray, t: float) -> float:
    """Return ``sum Phi((values - t) / errors)``, a chunk at a time."""
    from scipy import special

    def of(start: int) -> float:
        part = slice(start, start + CHUNK)
        return float(special.ndtr((values[part] - t) / errors[part]).sum())

    # numpy and scipy work outside the interpreter's lock.
    with ThreadPoolExecutor(2) as pool:
        return sum(pool.map(of, range(0, len(values), CHUNK)))


def _phi(values: np.ndarray, errors: np.ndarray, t: float) -> np.ndarray:
    from scipy import special

    return np.asarray(special.ndtr((values - t) / errors))


DOUBT = 0.05
"""A sample is in doubt where its probability to be selected is between this and 1 minus this."""


@dataclass(frozen=True)
class Doubtful:
    """The scored samples whose place among the n highest is in doubt, M of them.

    Attributes:
        uids: (M,) strings.
        views: (M,) int32, with how many they are measured now.
        by_views: Share of their squared error that more views would lessen, in [0, 1].
    """

    uids: pa.Array
    views: np.ndarray
    by_views: float


def doubtful(scores: pa.Table, n: int, reliability: float) -> Doubtful:
    """Return the samples whose place in a selection is in doubt.

    Args:
        scores: Rows of a score table that have a score.
        n: Size of the selection, of the highest.
        reliability: As in ``shrunk``.
    """
    m, se = scores["memorization"].to_numpy(), scores["se"].to_numpy()
    p = p_selected(m, se, n, reliability)
    rows = np.flatnonzero((p > DOUBT) & (p < 1 - DOUBT))
    doubted = scores.take(rows)
    views, both = (float((doubted[c].to_numpy() ** 2).sum()) for c in ("se_views", "se"))
    return Doubtful(
        uids=one_chunk(doubted["uid"]),
        views=doubted["n_views"].to_numpy(),
        by_views=min(views / both, 1.0) if both > 0 else 0.0,
    )
