"""alignment: plain mean alignment, with no contrast between encoders."""

from __future__ import annotations

import numpy as np

from curate.scores.measures.base import Given


class MeanAlignment(Given):
    """How far apart the views of x lie, averaged over all encoders of the plan.

    Eq. 1 of arXiv 2401.12233, without the difference that Eq. 2 takes: an image whose views differ
    much is high for every encoder, whether or not it was trained on it. What memorization adds is
    that difference between encoders.

    Unit: the recipe's distance. Range: 0 to 2 (``angular``: pi); higher = views lie farther apart.
    Defined for every sample.
    """

    text = (
        "mean alignment (arXiv 2401.12233, Eq. 1): distance, from 0, higher = views farther apart"
    )

    def values(self) -> np.ndarray:
        """Return mean alignments, (N,)."""
        assert self.samples.align is not None, "it is what this measure is"
        return self.samples.align
