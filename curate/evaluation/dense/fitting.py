"""Fitting: a decoder, and the encoder below it, are trained and tested once.

The order of images and which are mirrored are functions of (seed, epoch, image), and the decoder's
weights of the seed: one seed gives one result, byte for byte on a CPU.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from curate.encoders.backbone import Encoder, allow_tf32
from curate.errors import DivergedError
from curate.evaluation.config import DenseConfig
from curate.evaluation.dense.base import DenseSet, Prepared
from curate.evaluation.dense.network import Dense
from curate.runtime import randomness
from curate.runtime.progress import Progress, silent
from curate.runtime.threads import torch_threads

POWER = 0.9
"""Of the polynomial that the rate falls by."""
TESTED = 32
"""Images that are tested at a time."""


def fit_and_test(
    encoder: Encoder,
    data: DenseSet,
    prepared: Prepared,
    config: DenseConfig,
    *,
    seed: int,
    progress: Progress = silent,
) -> dict[str, np.ndarray]:
    """Train on a set's training images and return sums over each test image.

    Args:
        encoder: Left as it is: what is trained on is a copy.
        data: A set at the encoder's size.
        prepared: Loss and sums.
        config: Decoder and schedule.
        seed: Of the decoder's weights, the order and the mirroring.
        progress: Progress callback.

    Returns:
        By name, (m,) or (m, C) float64, in the order of the test images.

    Raises:
        DivergedError: If the loss is not finite.
    """
    device = next(encoder.parameters()).device
    allow_tf32("float32")
    with torch_threads(config.threads, device.type):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(randomness.seed_for(seed, "dense", "decoder"))
            network = Dense(copy.deepcopy(encoder), config, prepared.outputs).to(device)
            # Within, so that a network that draws by itself draws the same.
            _train(network, data, prepared, config, seed, device, progress)
        return _test(network, data, prepared, device)


def _train(
    network: Dense,
    data: DenseSet,
    prepared: Prepared,
    config: DenseConfig,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> None:
    """Train for the epochs of a schedule; what is left over of a batch waits for the next epoch."""
    n = len(data.images)
    batch = min(config.batch_size, n)
    total = config.epochs * (n // batch)
    optimizer = torch.optim.SGD(
        [p for p in network.parameters() if p.requires_grad],
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
    )
    step = 0
    for epoch in range(config.epochs):
        order = np.argsort(_draws(seed, "order", epoch, data.keys), kind="stable")
        flipped = _draws(seed, "flip", epoch, data.keys) < config.flip
        for start in range(0, n - batch + 1, batch):
            rows = order[start : start + batch]
            pixels, truth = _batch(data.images, data.targets, rows, device)
            mirrored = torch.from_numpy(flipped[rows]).to(device)
            pixels = torch.where(mirrored.view(-1, 1, 1, 1), pixels.flip(-1), pixels)
            truth = torch.where(mirrored.view(-1, 1, 1), truth.flip(-1), truth)
            for group in optimizer.param_groups:
                group["lr"] = config.lr * (1 - step / total) ** POWER
            loss = prepared.loss(network(pixels).float(), truth)
            if not torch.isfinite(loss):
                raise DivergedError(
                    f"the probe on {data.name} diverged at step {step} of {total}: lower "
                    f"probe.{data.kind}.lr, which is {config.lr:g}."
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            step += 1
            progress(data.kind, step, total)


def _draws(seed: int, purpose: str, epoch: int, keys: np.ndarray) -> np.ndarray:
    """Return a draw in [0, 1) for each image, (n,) float64."""
    drawn: np.ndarray = randomness.hash64(randomness.stream(seed, "dense", purpose, epoch), keys)
    return drawn / 2.0**64


def _batch(
    images: np.ndarray, targets: np.ndarray, rows: np.ndarray, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return pixels (B, C, S, S) in [0, 1] and targets (B, S, S) of some rows."""
    pixels = torch.from_numpy(np.ascontiguousarray(images[rows])).to(device).float() / 255
    return pixels, torch.from_numpy(np.ascontiguousarray(targets[rows])).to(device)


@torch.no_grad()
def _test(
    network: Dense,
    data: DenseSet,
    prepared: Prepared,
    device: torch.device,
) -> dict[str, np.ndarray]:
    network.eval()
    parts: list[Mapping[str, Tensor]] = []
    n = len(data.test_images)
    for start in range(0, n, TESTED):
        rows = np.arange(start, min(start + TESTED, n))
        pixels, truth = _batch(data.test_images, data.test_targets, rows, device)
        by_measure = prepared.sums(network(pixels).float(), truth)
        parts.append({name: sums.double().cpu() for name, sums in by_measure.items()})
    return {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
