"""Dense probes: a class or a depth for every pixel, from a decoder upon an encoder.

A task a file (``seg.py``, ``depth.py``); ``network.py`` is the decoder, ``fitting.py`` trains it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from curate.encoders.backbone import Encoder
from curate.errors import DivergedError, MismatchError
from curate.evaluation.config import DenseConfig
from curate.evaluation.dense import depth, seg
from curate.evaluation.dense.base import DenseResult, DenseSet, Task
from curate.evaluation.dense.fitting import fit_and_test
from curate.evaluation.measures import over_images
from curate.runtime.progress import Progress, silent

TASKS: dict[str, Task] = {"seg": seg.TASK, "depth": depth.TASK}
"""Tasks by the kind of source that has them."""


def measure_dense(
    encoder: Encoder,
    data: DenseSet,
    config: DenseConfig,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, np.ndarray]:
    """Train a decoder upon an encoder and test it once.

    Args:
        encoder: In evaluation mode; it is left as it is.
        data: A source at the encoder's size.
        config: Decoder and schedule.
        seed: Of the decoder's weights and of the training.
        progress: Progress callback.

    Returns:
        By name, sums over the pixels of each test image, (m,) or (m, C) float64: all that measures
        and their intervals are made of.

    Raises:
        MismatchError: If the images are not as the encoder wants them.
        DivergedError: If the training diverged.
        ResourceError: If the decoders are not installed.
    """
    if (data.size, data.channels) != (encoder.size, encoder.channels):
        raise MismatchError(
            f"{data.name} was read at {data.size} pixels and {data.channels} channels, and the "
            f"encoder takes {encoder.size} and {encoder.channels}; read it again at its size."
        )
    prepared = TASKS[data.kind].prepare(data)
    sums = fit_and_test(encoder, data, prepared, config, seed=seed, progress=progress)
    if not all(np.isfinite(part).all() for part in sums.values()):
        raise DivergedError(
            f"the probe on {data.name} gives numbers that are not finite: lower "
            f"probe.{data.kind}.lr, which is {config.lr:g}."
        )
    return sums


def measured(
    data: DenseSet, config: DenseConfig, sums: Mapping[str, np.ndarray]
) -> list[tuple[DenseResult, np.ndarray]]:
    """Return each measure of a task, and its part of every test image, (m,) float64."""
    results = []
    for kind, parts in TASKS[data.kind].measures.items():
        values = parts(sums)
        value, low, high = over_images(values)
        about = DenseResult(
            source=data.name,
            kind=kind,
            value=value,
            low=low,
            high=high,
            n_train=len(data.images),
            n_test=len(data.test),
            classes=len(data.classes),
            held_out=False,
            decoder=config.decoder,
            frozen=config.frozen,
        )
        results.append((about, values))
    return results
