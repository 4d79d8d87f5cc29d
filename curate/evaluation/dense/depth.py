"""Depth: metres of every pixel; RMSE and AbsRel over all pixels that have one (Eigen et al. 2014).

The paper's RMSE (arXiv 2401.12233, section A) is over pixels. Here it is over those of all test
images together.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from curate.data.pairs import DEPTHS
from curate.errors import DataError
from curate.evaluation.config import DepthConfig
from curate.evaluation.dense.base import DenseSet, Prepared, Task, known
from curate.evaluation.measures import mean_over_pixels, root_mean_square

BLOCK = 256
"""Images whose depths are looked at together."""


def target(numbers: np.ndarray, config: DepthConfig) -> np.ndarray:
    """Return metres (H, W) as float32, NaN where there is no depth: 0, below, or not finite."""
    metres = numbers.astype(np.float64)
    if numbers.dtype.kind != "f":
        metres *= config.unit
    return np.where(np.isfinite(metres) & (metres > 0), metres, np.nan).astype(np.float32)


def prepare(data: DenseSet) -> Prepared:
    """Return loss and sums; the network gives depths in units of the training set's spread.

    The loss is the mean square of the error, whose root is measured.

    Raises:
        DataError: If all depths of the training set are one.
    """
    count, total, square = 0, 0.0, 0.0
    for start in range(0, len(data.targets), BLOCK):
        depths = data.targets[start : start + BLOCK].astype(np.float64)
        depths = depths[~np.isnan(depths)]
        count, total = count + depths.size, total + float(depths.sum())
        square += float(np.square(depths).sum())
    mean = total / count
    spread = float(np.sqrt(max(0.0, square / count - mean**2)))
    if not spread > 1e-6 * mean:
        raise DataError(f"{data.name}: all depths of the training images are {mean:g} m.")

    def loss(out: Tensor, truth: Tensor) -> Tensor:
        is_known = known(truth)
        error = out[:, 0] - (torch.where(is_known, truth, mean) - mean) / spread
        return (error.square() * is_known).sum() / is_known.sum().clamp(min=1)

    def sums(out: Tensor, truth: Tensor) -> dict[str, Tensor]:
        is_known = known(truth)
        metres = torch.where(is_known, truth, 1).double()
        error = (out[:, 0].double() * spread + mean - metres) * is_known
        return {
            "squared_error": error.square().flatten(1).sum(dim=1),
            "relative_error": (error.abs() / metres).flatten(1).sum(dim=1),
            "pixels": is_known.flatten(1).sum(dim=1),
        }

    return Prepared(1, loss, sums)


TASK = Task(
    DEPTHS,
    target,
    prepare,
    {
        "RMSE": lambda sums: root_mean_square(sums["squared_error"], sums["pixels"]),
        "AbsRel": lambda sums: mean_over_pixels(sums["relative_error"], sums["pixels"]),
    },
)
