"""What dense probes share: what they are fitted to, and what a task gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.data.pairs import Kind
from curate.runtime.results import Result


@dataclass(frozen=True)
class DenseSet:
    """Images of one source with a number for every pixel, split for a probe.

    Attributes:
        name: What the source is called in results.
        kind: ``seg`` or ``depth``.
        images: (n, C, S, S) uint8 to fit to, memory-mapped.
        targets: (n, S, S) float32 beside them: a class from 0 on, or metres; NaN where void.
        test: (m,) uids of the test images, bytes.
        test_images: (m, C, S, S) uint8.
        test_targets: (m, S, S) float32.
        keys: (n,) uint64, what draws of a training image are keyed by.
        classes: Numbers that the classes have in masks, C of them; none for depths.
        made_of: A digest of all of it.
    """

    name: str
    kind: str
    images: np.ndarray
    targets: np.ndarray
    test: np.ndarray
    test_images: np.ndarray
    test_targets: np.ndarray
    keys: np.ndarray
    classes: tuple[int, ...]
    made_of: str

    @property
    def size(self) -> int:
        """Side of the images in pixels."""
        return int(self.images.shape[-1])

    @property
    def channels(self) -> int:
        """1 or 3."""
        return int(self.images.shape[1])


@dataclass(frozen=True)
class DenseResult(Result):
    """What a dense probe reached on one source.

    Attributes:
        source: ``seg:DIR`` or ``depth:DIR``.
        kind: The measure: ``mIoU`` (0 to 1), ``RMSE`` (metres) or ``AbsRel``.
        value: On the test images.
        low: Where its 95 % interval over the choice of test images begins; None for one image.
        high: Where it ends.
        n_train: Training images.
        n_test: Test images.
        classes: How many; 0 for depths.
        held_out: False: there is a split for tests.
        decoder: ``upernet`` or ``unet``.
        frozen: Whether the encoder stayed as it was.
    """

    source: str
    kind: str
    value: float
    low: float | None
    high: float | None
    n_train: int
    n_test: int
    classes: int
    held_out: bool
    decoder: str
    frozen: bool


@dataclass(frozen=True)
class Prepared:
    """What a training has to know of its targets.

    Attributes:
        outputs: Maps that the network gives.
        loss: Of the network's maps (B, outputs, S, S) and targets (B, S, S): a number.
        sums: Of the same, for each image: columns (B,) or (B, C) float64 of sums over its pixels.
    """

    outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]
    sums: Callable[[Tensor, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class Task:
    """Something to predict for every pixel.

    Attributes:
        beside: What stands beside the images.
        target: Of numbers as they are stored (H, W) and the settings, what is predicted, float32,
            NaN where nothing is.
        prepare: Looks at a set's training targets.
        measures: By name, each image's part (I,) of a measure, of the sums of all images.
    """

    beside: Kind
    target: Callable[[np.ndarray, Any], np.ndarray]
    prepare: Callable[[DenseSet], Prepared]
    measures: Mapping[str, Callable[[Mapping[str, np.ndarray]], np.ndarray]]


def known(target: Tensor) -> Tensor:
    """Return which pixels of targets are not void, bool."""
    return ~torch.isnan(target)
