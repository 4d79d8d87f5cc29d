"""What the probes share: their result, the validation split, and standardisation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from curate.runtime import randomness
from curate.runtime.results import Result

HELD_OUT = 0.2
"""Share of each class's training samples that a probe chooses on."""


@dataclass(frozen=True)
class Fitted:
    """What a probe gives.

    Attributes:
        predicted: (m,) class of every test sample, 0 to C - 1.
        validation_accuracy: In [0, 1], of what was chosen; None without a validation split.
        chosen: What was chosen on the validation split, by name.
    """

    predicted: np.ndarray
    validation_accuracy: float | None
    chosen: dict[str, Any]


@dataclass(frozen=True)
class Tested(Result):
    """What a probe reached.

    Attributes:
        accuracy: On the test samples, 0 to 1.
        validation_accuracy: Of what was chosen, 0 to 1; None where every class is too small to
            hold any out.
        chosen: What was chosen on the validation split, by name.
        n_train: Training samples.
        n_test: Test samples.
        classes: How many.
    """

    accuracy: float
    validation_accuracy: float | None
    chosen: dict[str, Any]
    n_train: int
    n_test: int
    classes: int


Probe = Callable[[np.ndarray, np.ndarray, np.ndarray, int], Fitted]
"""(train_x (n, D), train_y (n,) in 0..C-1, test_x (m, D), seed) -> Fitted."""


def validation_split(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return which training samples are held out, (n,) bool: a fifth of every class, rounded.

    A class of one or two samples keeps them all.
    """
    draws = randomness.hash64(
        randomness.stream(seed, "probe", "validation"), np.arange(len(labels))
    )
    order = np.lexsort((draws, labels))
    counts = np.bincount(labels)
    place = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    out = np.zeros(len(labels), dtype=bool)
    out[order] = place < np.round(HELD_OUT * counts)[labels[order]]
    return out
