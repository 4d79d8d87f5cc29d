"""loss: how hard the label of a sample is for heads that were not trained on it."""

from __future__ import annotations

import numpy as np

from curate.scores.measures.base import Average, Look


class Loss(Average):
    """Cross-entropy of x's label under encoders, and their heads, that never saw x.

    The mean of ``-log P(label of x)`` over the encoders not trained on x, with the heads of
    ``supervised``. It is the plainest loss-based difficulty, and has no contrast: what is hard for
    everyone is high whether or not it is memorized (it is the loss of which Feldman & Zhang 2020,
    arXiv 2008.03703, take the difference).

    Unit: nats. Range: from 0; higher = harder. Undefined where every encoder was trained on x, or x
    has no label.
    """

    needs_labels, trained = True, False
    text = "held-out cross-entropy of the label: nats, from 0, higher = harder"

    def says(self, look: Look) -> np.ndarray:
        """Return the loss of one encoder's head."""
        loss: np.ndarray = -np.log(np.maximum(look.probability, np.finfo(np.float64).tiny))
        return loss
