"""grand: the gradient's norm early in training (Paul et al. 2021, arXiv 2107.07075)."""

from __future__ import annotations

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

    needs_labels = True
    text = "GraNd (Paul et al. 2021): gradient norm of early heads, from 0, higher = harder"

    def add(self, look: Look) -> None:
        """Take in the mean over one encoder's early heads."""
        self.mean.add(look.early[1], look.inside)
