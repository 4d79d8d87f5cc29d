"""Leaks: test images that probes were fitted to a copy of, so that their accuracy shows less."""

from __future__ import annotations

import numpy as np

from curate.data.canvas import Canvas
from curate.inspection import duplicates, thumbnails
from curate.runtime.progress import Progress, silent

DIGEST = 32
"""Hex digits of a uid that are the file's digest."""


def leaked(
    canvas: Canvas,
    train: np.ndarray,
    test: np.ndarray,
    *,
    device: str = "cpu",
    progress: Progress = silent,
) -> np.ndarray:
    """Return which test images have a copy among the training images, (m,) bool.

    As ``curate copies`` finds them, in the images as they stand on the canvas.

    Args:
        canvas: Decoded images of both.
        train: (n,) uids, bytes.
        test: (m,) uids, bytes.
        device: ``cpu`` or ``cuda``.
        progress: Progress callback.

    Raises:
        ResourceError: If FAISS is not installed.
    """
    # By uid, as inspection has them, so that one search serves both.
    by_uid = np.argsort(train, kind="stable"), np.argsort(test, kind="stable")
    rows, n = canvas.rows(np.concatenate([train[by_uid[0]], test[by_uid[1]]])), len(train)
    images = thumbnails.of_canvas(canvas.array, progress=progress, device=device).take(rows)
    pairs = duplicates.find(images, device=device, progress=progress)
    copied = np.isin(test.astype(f"S{DIGEST}"), train.astype(f"S{DIGEST}"))[by_uid[1]]
    copied[pairs.b[(pairs.a < n) & (pairs.b >= n)] - n] = True
    # Test images that equal an earlier one make a pair with that alone.
    equal = (pairs.a >= n) & (pairs.similarity == 1.0)
    copied[pairs.b[equal] - n] |= copied[pairs.a[equal] - n]
    out = np.empty_like(copied)
    out[by_uid[1]] = copied
    return out
