"""relative: memorization in proportion to how far apart the views of the sample lie."""

from __future__ import annotations

import numpy as np

from curate.scores.measures.base import Given


def of_alignment(
    memorization: np.ndarray, align_in: np.ndarray, align_out: np.ndarray
) -> np.ndarray:
    """Return memorization relative to alignment, (N,) float64, NaN where one is undefined.

    Args:
        memorization: (N,), about ``align_out - align_in``.
        align_in: (N,) mean alignment on encoders that were trained on each sample.
        align_out: (N,) the same on those that were not.
    """
    total = align_in + align_out
    # Views that nobody tells apart leave nothing to memorize.
    out: np.ndarray = np.where(total == 0, 0.0, np.nan)
    np.divide(memorization, total, out=out, where=total > 0)
    return out


class Relative(Given):
    """Memorization of x over the sum of its alignments, on encoders that saw x and on the others.

    Memorization (arXiv 2401.12233, Eq. 2) is a difference of distances, so that a plain image whose
    views hardly differ cannot have much of it, however odd it is. This is the same difference in
    proportion to the distances: (out - in) / (out + in), the form of Morcos et al. 2018
    (arXiv 1803.06959) for units. It finds drawings among photographs, which the difference does
    not. Its noise is that of memorization, and largest where the distances are small.

    Unit: none. Range: about -1 to 1; higher = more memorized. Defined where memorization is.
    """

    text = "memorization by alignment, (out - in) / (out + in): -1 to 1, higher = memorized"

    def values(self) -> np.ndarray:
        """Return relative memorization, (N,)."""
        assert self.samples.relative is not None, "it is what this measure is"
        return self.samples.relative
