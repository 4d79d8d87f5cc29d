"""knn-outlierness: mean distance to the nearest neighbours (Ramaswamy et al. 2000)."""

from __future__ import annotations

import numpy as np

from curate.inspection import neighbours
from curate.scores.measures.base import Look, Mean, Measure, Samples

K = 10
"""Nearest others."""


class KnnOutlierness(Measure):
    """How far x lies from the nearest other samples, for encoders that were not trained on x.

    The mean L2 distance to the ``K`` nearest of all N samples between representations that are
    pooled, centred and scaled to length 1, as ``outlier_score`` of ``curate inspect`` (an average
    over neighbours of the k-NN distance of Ramaswamy et al. 2000), averaged over the encoders of
    the plan's first repeat that were not trained on x; where there is none, over all of them.
    ``curate inspect`` takes one encoder for all samples, which is trained on many of them.

    Unit: distance. Range: 0 to 2; higher = more unusual. Exact copies of x make it low.
    """

    text = "k-NN outlierness: mean distance to 10 neighbours, 0 to 2, higher = more unusual"

    def __init__(self, samples: Samples) -> None:
        super().__init__(samples)
        self._outside, self._all = Mean(len(samples)), Mean(len(samples))

    def wants(self, repeat: int) -> bool:
        """Return whether this is the first repeat: one is enough to have encoders without x."""
        return repeat == 0

    def says(self, look: Look) -> np.ndarray:
        """Return the distances in one encoder's space."""
        return neighbours.nearest(look.features, K).outlier_score()

    def take(self, said: np.ndarray, inside: np.ndarray) -> None:
        """Add the distances, of those outside also by themselves."""
        self._outside.add(said, ~inside)
        self._all.add(said, np.ones(len(said), dtype=bool))

    def values(self) -> np.ndarray:
        """Return the mean distances, (N,)."""
        outside = self._outside.values()
        return np.where(np.isfinite(outside), outside, self._all.values())
