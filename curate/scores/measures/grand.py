"""grand: the gradient's norm early in training (Paul et al. 2021, arXiv 2107.07075)."""

from __future__ import annotations

import numpy as np

from curate.scores.measures.base import Average, Look


class Grand(Average):
    """Gradient norm: how hard a training sample pulls at an early head.

    The mean of the L2 norm of the cross-entropy's gradient by the head's weights and bias, over the
    encoders and early heads of ``el2n``. By the last layer alone it is exact,
    ``|p(x) - onehot(y)|_2 sqrt(|h(x)|_2^2 + 1)`` with standardised inputs h; the paper takes the
    gradient by all layers.

    Unit: nats per unit of weight. Range: from 0; higher = harder, more important to training.
    Undefined where no encoder was trained on x, or x has no label.
    """

    needs_labels, trained = True, True
    text = "GraNd (Paul et al. 2021): gradient norm of early heads, from 0, higher = harder"

    def says(self, look: Look) -> np.ndarray:
        """Return the mean over one encoder's early heads."""
        return look.early[1]
