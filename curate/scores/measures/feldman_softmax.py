"""feldman-softmax: ``feldman`` by probabilities, as Table 12 of arXiv 2401.12233 takes it."""

from __future__ import annotations

import numpy as np

from curate.scores.measures.base import Contrast, Look


class FeldmanSoftmax(Contrast):
    """How much likelier networks find the label of x when they were trained on x.

    ``mean softmax probability of x's label over the networks trained on x - the same over those
    that were not``, of the networks of ``feldman``. It is Feldman and Zhang's estimator for a
    classifier that draws its answer from its probabilities, tells samples apart where a pair of
    networks is all there is, and is what arXiv 2401.12233 (appendix B.3) ranks by for its Table 12.

    The standard error is from the spread of the probabilities on each side; undefined where a side
    has fewer than two networks.

    Unit: probability. Range: -1 to 1; higher = more memorized. Undefined where all networks or none
    were trained on x, or x has no label.
    """

    needs_labels = needs_heads = True
    text = "label memorization by softmax (arXiv 2401.12233, B.3): -1 to 1, higher = memorized"

    def says(self, look: Look) -> np.ndarray:
        """Return the probability of each label by one network."""
        return look.answers[1]

    def errors(self) -> np.ndarray:
        """Return the standard errors, (N,)."""
        sides = (self.inside, self.outside)
        return np.asarray(np.sqrt(sum(side.variance() / side.count for side in sides)))
