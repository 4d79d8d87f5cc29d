"""Covariates: what foretells the memorization of a sample before it is estimated.

They are fixed before scoring and named in ``scores.json``. Those of images need no encoder; those
of encoders come in two halves, one of each half of the plan's repeats, so that what an estimate is
foretold by was measured on other encoders than the estimate itself (``posterior.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from curate.inspection.triage import luma
from curate.runtime import randomness
from curate.runtime.threads import torch_threads

REFERENCES = 4096
"""Samples that outlierness and components are taken against; all, where there are no more."""
NEAREST = 10
"""How many of the nearest others outlierness is the mean distance to."""
SIDE = 8
"""Side of the images whose pixels are looked at."""
PIXEL_COMPONENTS, EMBEDDING_COMPONENTS = 16, 24
EMBEDDED = 2048
"""Most dimensions that the representations of several encoders are put together to."""
CELLS = 64
"""Most cells that samples are kept together in."""
FOLDS = 10
"""A sample is foretold by what the samples of the other folds say."""
MOST_LABELS = 256
"""Labels that are covariates, the most frequent."""


def drawn(keys: np.ndarray, most: int) -> np.ndarray:
    """Return the rows of a drawn part of the samples, sorted, (min(N, most),) int64.

    Args:
        keys: (N,) uint64 from ``randomness.uid_keys``, which alone decide who is drawn.
        most: How many are drawn; all of fewer.
    """
    hashes = randomness.hash64(randomness.stream(0, "covariates"), np.asarray(keys))
    if most >= len(hashes):
        return np.arange(len(hashes))
    return np.sort(np.argpartition(hashes, most)[:most])


def thumbnails(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what is seen of images without an encoder.

    Args:
        images: (n, C, H, W) uint8.

    Returns:
        Pixels (n, D) float32 in [0, 1] at ``SIDE`` pixels; brightness, the mean luma, (n,) in [0,
        1]; and contrast, its standard deviation, (n,) in [0, 0.5].
    """
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    grey = luma(pixels).flatten(1).double()
    small = F.adaptive_avg_pool2d(pixels.float() / 255, min(SIDE, pixels.shape[2]))
    return small.flatten(1).numpy(), grey.mean(dim=1).numpy(), grey.std(1, correction=0).numpy()


def likeness(pixels: np.ndarray) -> np.ndarray:
    """Return pixels (n, D) at mean 0 and length 1, whatever brightness and contrast were."""
    points = torch.from_numpy(pixels)
    unit: np.ndarray = _unit(points - points.mean(dim=1, keepdim=True)).numpy()
    return unit


class Cloud:
    """Reference points of a space, against which any point is held: R of D dimensions.

    What it computes does not depend on how many cores there are: each product takes one.

    Args:
        references: (R, D) float32.
        components: How many principal components are kept.
    """

    def __init__(self, references: np.ndarray, components: int) -> None:
        points = torch.from_numpy(np.asarray(references, dtype=np.float32))
        self._centre = points.double().mean(dim=0)
        apart = points.double() - self._centre
        # Of few points with many dimensions the singular vectors are those of the small matrix.
        with torch_threads(1, "cpu"):
            _, _, basis = torch.linalg.svd(apart, full_matrices=False)
        self._basis = basis[:components].mT
        self._unit = _unit(apart)

    def components(self, points: np.ndarray) -> np.ndarray:
        """Return the coordinates of points (n, D) on the principal components, (n, c) float64."""
        with torch_threads(1, "cpu"):
            return np.asarray(
                ((torch.from_numpy(points).double() - self._centre) @ self._basis).numpy()
            )

    def distances(self, points: np.ndarray) -> Tensor:
        """Return how far points (n, D) lie from the references, (n, R), in [0, 2].

        Both are centred and scaled to length 1 before.
        """
        unit = _unit(torch.from_numpy(points).double() - self._centre)
        with torch_threads(1, "cpu"):
            return (2 - 2 * (unit @ self._unit.mT)).clamp_min(0).sqrt()

    def outlierness(self, points: np.ndarray, itself: np.ndarray) -> np.ndarray:
        """Return the mean distance to the nearest references, (n,) in [0, 2]; higher = more alone.

        Args:
            points: (n, D) float32.
            itself: (n,) which reference each point is, -1 for none: that one does not count.
        """
        apart = self.distances(points)
        known = np.flatnonzero(itself >= 0)
        apart[known, itself[known]] = torch.inf
        k = min(NEAREST, len(self._unit) - 1)
        if k < 1:
            return np.zeros(len(points))
        return np.asarray(apart.topk(k, dim=1, largest=False).values.mean(dim=1).numpy())

    def nearest(self, points: np.ndarray) -> np.ndarray:
        """Return the reference that lies nearest to each point, (n,) int64."""
        return np.asarray(self.distances(points).argmin(dim=1).numpy())


def _unit(points: Tensor) -> Tensor:
    """Return points scaled to length 1, float32; what lies at the centre stays there."""
    return F.normalize(points.float(), dim=1)


def centred_units(embeddings: Sequence[np.ndarray], centres: Sequence[np.ndarray]) -> np.ndarray:
    """Return what several encoders make of samples as one point each, (n, sum of D) float32.

    Args:
        embeddings: (n, D) of each encoder.
        centres: (D,) the mean of each encoder's over the references.
    """
    parts = [
        _unit(torch.from_numpy(points - centre)).numpy()
        for points, centre in zip(embeddings, centres, strict=True)
    ]
    return np.concatenate(parts, axis=1) / np.float32(np.sqrt(len(parts)))


def fitting(dims: Sequence[int]) -> int:
    """Return how many of the first encoders fit into ``EMBEDDED`` dimensions together; one does."""
    return max(1, int((np.cumsum(dims) <= EMBEDDED).sum()))


def frequent(labels: np.ndarray) -> np.ndarray:
    """Return the most frequent labels, at most ``MOST_LABELS``; -1 is none.

    Args:
        labels: (N,) int64, -1 for a sample without one.
    """
    names, count = np.unique(labels[labels >= 0], return_counts=True)
    return np.sort(names[np.argsort(-count, kind="stable")][:MOST_LABELS])


def one_hot(labels: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return (n, L) float64, 1 where a sample has the label; none where it has none of them."""
    columns: np.ndarray = (labels[:, None] == names).astype(np.float64)
    return columns
