"""Probes: how well classes can be read off frozen representations. One kind a file."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.errors import DataError, DivergedError, unknown
from curate.evaluation.probes import knn, linear
from curate.evaluation.probes.base import Probe, Tested

PROBES: dict[str, Probe] = {"linear": linear.fit, "knn": knn.fit}
"""Kinds by name; see ``probes.base.Probe``."""


def run(
    kind: str,
    train_x: np.ndarray,
    train_y: np.ndarray,
    test_x: np.ndarray,
    test_y: np.ndarray,
    *,
    seed: int,
) -> tuple[Tested, np.ndarray]:
    """Fit a probe on training features and test it once.

    Whatever the probe has to choose it chooses on a fifth of the training samples, never on the
    test samples. Features are standardised with the training samples' mean and deviation.

    Args:
        kind: A name in ``PROBES``.
        train_x: (n, D) float32 features.
        train_y: (n,) integer labels.
        test_x: (m, D) float32 features.
        test_y: (m,) integer labels; classes that training lacks count as errors.
        seed: Seed of the validation split.

    Returns:
        What the probe reached, and which test samples it classified rightly, (m,) bool.

    Raises:
        UsageError: For an unknown kind.
        DataError: If labels are missing, there is one class only, or there are no samples.
        DivergedError: If a feature is not finite.
    """
    if kind not in PROBES:
        raise unknown("probe", kind, PROBES)
    labels = [_labels(train_y, "training"), _labels(test_y, "test")]
    assert len(train_x) == len(labels[0])
    assert len(test_x) == len(labels[1])
    classes, train = np.unique(labels[0], return_inverse=True)
    if len(classes) < 2 or not len(labels[1]):
        raise DataError(
            f"a probe needs 2 classes and test samples; here are {len(labels[0]):,} training "
            f"samples of {len(classes)} classes and {len(labels[1]):,} test samples."
        )
    if not (np.isfinite(train_x).all() and np.isfinite(test_x).all()):
        raise DivergedError(
            "the encoder gives representations that are not finite; train it again."
        )
    position = np.searchsorted(classes, labels[1]).clip(max=len(classes) - 1)
    test = np.where(classes[position] == labels[1], position, -1)
    fitted = PROBES[kind](train_x, train, test_x, seed)
    right = fitted.predicted == test
    tested = Tested(
        accuracy=float(right.mean()),
        validation_accuracy=fitted.validation_accuracy,
        chosen=fitted.chosen,
        n_train=len(train),
        n_test=len(test),
        classes=len(classes),
    )
    return tested, right


def _labels(labels: np.ndarray | None, side: str) -> np.ndarray:
    """Return labels as int64.

    Raises:
        DataError: If there are none, or some are missing.
    """
    values = pa.array([None] if labels is None else labels, from_pandas=True)
    if values.null_count:
        raise DataError(
            f"labels missing: {values.null_count:,} of {len(values):,} {side} samples have none, "
            "and a probe needs them (class sub-folders, or a label column in metadata.csv)."
        )
    return np.asarray(values.cast(pa.int64()))
