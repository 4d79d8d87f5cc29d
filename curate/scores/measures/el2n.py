"""el2n: the error of a head early in its training (Paul et al. 2021, arXiv 2107.07075)."""

from __future__ import annotations

import numpy as np

from curate.scores.measures.base import Average, Look


class El2n(Average):
    """Error L2 norm: how far off early predictions of a training sample are.

    The mean of ``|p(x) - onehot(y)|_2`` over the encoders trained on x and over ``heads.DRAWS``
    linear heads each, stopped after ``heads.EPOCHS`` epochs on the encoder's own labelled training
    samples. The encoder is frozen at the end of its training: early is the head, not the network,
    which is what makes it cheap and is how it differs from the paper.

    Unit: none. Range: 0 to sqrt 2; higher = harder, more important to training. Undefined where no
    encoder was trained on x, or x has no label.
    """

    needs_labels, trained = True, True
    text = "EL2N (Paul et al. 2021): error of early heads, 0 to 1.42, higher = harder"

    def says(self, look: Look) -> np.ndarray:
        """Return the mean over one encoder's early heads."""
        return look.early[0]
