"""supervised: label memorization of Feldman & Zhang 2020 (arXiv 2008.03703, Eq. 1)."""

from __future__ import annotations

import numpy as np

from curate.scores.measures.base import Contrast, Look


class Supervised(Contrast):
    """How much likelier the label of x becomes by training on it.

    ``mean of P(label of x) over encoders trained on x - the same over those that were not``, where
    P is a converged softmax head on an encoder's frozen, pooled representation, fitted to the
    encoder's own labelled training samples. That is Feldman and Zhang's estimator for the
    randomised classifier that draws its answer from the head's probabilities. In every method the
    head is fitted here, in ``supervised`` training as well, whose own heads ``feldman`` asks.

    Unit: probability. Range: -1 to 1; higher = more memorized. Undefined where all encoders or none
    were trained on x, or x has no label.
    """

    needs_labels = True
    text = "label memorization (Feldman & Zhang 2020): probability, -1 to 1, higher = memorized"

    def says(self, look: Look) -> np.ndarray:
        """Return the label's probability by one encoder's head."""
        return look.probability
