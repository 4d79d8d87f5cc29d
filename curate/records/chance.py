"""How sure a sample's place in a selection is, given the standard errors of the scores."""

from __future__ import annotations

import numpy as np

CHUNK = 1 << 20
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


def luck(p: np.ndarray) -> float:
    """Return ``sum p (1 - p)``: how many places of a selection are decided by chance."""
    return float((p * (1.0 - p)).sum())


def _threshold(values: np.ndarray, errors: np.ndarray, hard: np.ndarray, n: int) -> float:
    """Return t where the expected number of scores above it falls to n."""
    from scipy import optimize

    if not len(values):
        return float(hard[len(hard) - n])
    low = min([(values - REACH * errors).min(), *hard[:1]])
    high = max([(values + REACH * errors).max(), *hard[-1:]])

    def excess(t: float) -> float:
        return _expected(values, errors, t) + len(hard) - np.searchsorted(hard, t, "left") - n

    margin = 1e-9 * (high - low)
    # Brent's method takes about ten passes where bisection takes fifty.
    return float(
        optimize.brentq(
            excess, low - margin, high + margin, xtol=1e-3 * margin, rtol=1e-14, maxiter=200
        )
    )


def _expected(values: np.ndarray, errors: np.ndarray, t: float) -> float:
    """Return ``sum Phi((values - t) / errors)``, a chunk at a time."""
    from scipy import special

    total = 0.0
    for start in range(0, len(values), CHUNK):
        part = slice(start, start + CHUNK)
        total += float(special.ndtr((values[part] - t) / errors[part]).sum())
    return total


def _phi(values: np.ndarray, errors: np.ndarray, t: float) -> np.ndarray:
    from scipy import special

    return np.asarray(special.ndtr((values - t) / errors))
