"""feldman: label memorization of classifiers (Feldman & Zhang 2020, arXiv 2008.03703, Eq. 1)."""

from __future__ import annotations

import numpy as np

from curate.scores.measures.base import Contrast, Look, Mean


class Feldman(Contrast):
    """How much oftener a network is right about x when it was trained on x.

    ``share of the networks trained on x that give x its label - the same of those that were not``.
    The networks are classifiers trained end to end on the subsets of the plan (method
    ``supervised``), each asked with the head it was trained with about the image as it is, without
    random views. This is the estimator of Feldman and Zhang's Algorithm 1, whose subsets are 70 %
    of the samples (``plan: {kind: subsets, fraction: 0.7}``).

    The standard error is that of a difference of two shares, each by the rule of succession,
    ``(right + 1) / (networks + 2)``: a side that is unanimous is not taken to be sure. It counts
    other networks on other subsets, not other samples.

    Unit: probability. Range: -1 to 1; higher = more memorized. Undefined where all networks or none
    were trained on x, or x has no label.
    """

    needs_labels = needs_heads = True
    text = "label memorization of classifiers (Feldman & Zhang 2020): -1 to 1, higher = memorized"

    def says(self, look: Look) -> np.ndarray:
        """Return which samples one network is right about."""
        return look.answers[0]

    def errors(self) -> np.ndarray:
        """Return the standard errors, (N,)."""
        return np.asarray(np.sqrt(_variance(self.inside) + _variance(self.outside)))


def _variance(side: Mean) -> np.ndarray:
    """Return the variance of each share of right answers, (N,), NaN where nobody answered."""
    n = side.count
    share = (n * side.values() + 1) / (n + 2)
    return np.asarray(share * (1 - share) / np.maximum(n, 1))
