"""Segmentation: the class of every pixel; mean IoU over classes, void pixels left out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from curate.data.pairs import MASKS
from curate.errors import DataError
from curate.evaluation.config import SegConfig
from curate.evaluation.dense.base import DenseSet, Prepared, Task, known
from curate.evaluation.measures import mean_iou

MOST = 2**16
"""Classes are numbered below this: a mask of larger numbers is something else."""
VOID = (255,)
"""What is no class where nothing is said: the border of Pascal VOC's and Cityscapes' masks."""


def target(numbers: np.ndarray, config: SegConfig) -> np.ndarray:
    """Return the numbers of classes (H, W) as float32, NaN where void.

    Raises:
        DataError: If they are no whole numbers from 0 on; the message is the reason alone.
    """
    if numbers.dtype.kind == "f" or numbers.min(initial=0) < 0 or numbers.max(initial=0) >= MOST:
        raise DataError(f"its mask holds other numbers than whole ones from 0 to {MOST - 1}")
    void = VOID if config.void is None else config.void
    return np.where(np.isin(numbers, void), np.nan, numbers).astype(np.float32)


def prepare(data: DenseSet) -> Prepared:
    """Return loss and sums for the classes of a set."""
    count = len(data.classes)

    def loss(out: Tensor, truth: Tensor) -> Tensor:
        is_known = known(truth)
        each = nn.functional.cross_entropy(
            out, torch.where(is_known, truth, 0).long(), reduction="none"
        )
        return (each * is_known).sum() / is_known.sum().clamp(min=1)

    def sums(out: Tensor, truth: Tensor) -> dict[str, Tensor]:
        is_known = known(truth)
        named, truth = out.argmax(dim=1), torch.where(is_known, truth, 0).long()
        first = torch.arange(len(out), device=out.device).view(-1, 1, 1) * count

        def counted(numbers: Tensor, which: Tensor) -> Tensor:
            cells = torch.bincount((first + numbers)[which], minlength=len(out) * count)
            return cells.view(len(out), count)

        both = counted(truth, is_known & (named == truth))
        return {
            "intersection": both,
            "union": counted(truth, is_known) + counted(named, is_known) - both,
        }

    return Prepared(count, loss, sums)


TASK = Task(
    MASKS, target, prepare, {"mIoU": lambda sums: mean_iou(sums["intersection"], sums["union"])}
)
