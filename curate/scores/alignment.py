"""Alignment: how far an encoder's representations of random views of a sample lie apart (Eq. 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import torch

from curate.encoders.backbone import in_bfloat16
from curate.encoders.representation import distance, flattened, represent
from curate.encoders.views.apply import augment
from curate.runtime import randomness
from curate.scores.config import ScoreConfig

if TYPE_CHECKING:
    from curate.encoders.backbone import Encoder
    from curate.encoders.views import ViewSpec

HELD_BYTES = 1 << 30
"""Representations held at a time stay below this, whatever the views and the encoder."""


@dataclass(frozen=True)
class Alignment:
    """Alignment of one encoder on n samples.

    Attributes:
        align: (n,) float64, mean distance over the view pairs, 0 = views coincide; at most 2 for
            l2 and cosine, pi for angular.
        leave_one_out: (n, K) float32, the same without view k; (n, 0) for a single view.
    """

    align: np.ndarray
    leave_one_out: np.ndarray

    @property
    def se(self) -> np.ndarray:
        """Jackknife standard error over the views, (n,) float64; NaN for a single view."""
        k = self.leave_one_out.shape[1]
        if k < 2:
            return np.full(len(self.align), np.nan)
        spread = self.leave_one_out.astype(np.float64).var(axis=1)
        error: np.ndarray = np.sqrt((k - 1) * spread)
        return error

    def to_table(self, uids: np.ndarray, n_views: int) -> pa.Table:
        """Return uid, align, se, n_views and leave_one_out as a table."""
        n, k = self.leave_one_out.shape
        flat = pa.array(self.leave_one_out.ravel(), pa.float32())
        replicates = pa.ListArray.from_arrays(np.arange(n + 1, dtype=np.int32) * k, flat)
        return pa.table(
            {
                "uid": pa.array(uids).cast(pa.string()),
                "align": self.align,
                "se": pa.array(self.se, from_pandas=True),
                "n_views": np.full(n, n_views, dtype=np.int32),
                "leave_one_out": replicates,
            }
        )

    @classmethod
    def from_table(cls, table: pa.Table) -> Alignment:
        """Return what ``to_table`` stored."""
        replicates = table["leave_one_out"].combine_chunks()
        flat = replicates.values.to_numpy(zero_copy_only=False)
        n = table.num_rows
        return cls(
            align=table["align"].to_numpy(),
            leave_one_out=flat.reshape(n, len(flat) // n if n else 0),
        )


def align_images(
    encoders: Mapping[str, Encoder],
    images: np.ndarray,
    keys: np.ndarray,
    spec: ViewSpec,
    config: ScoreConfig,
    *,
    representation: str,
    device: str,
    centres: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, Alignment]:
    """Return the alignment of every encoder on the same views of the same images.

    A view is a pure function of (score seed, sample, view), so that the result depends neither on
    the batch size nor on the order of the images.

    Args:
        encoders: Modules by name, in evaluation mode on ``device``.
        images: (n, C, H, W) uint8.
        keys: (n,) uint64 from ``randomness.uid_keys``.
        spec: The measuring views.
        config: The recipe's ``score`` section.
        representation: ``full`` (flattened tokens) or ``pooled`` (their mean).
        device: Where to compute.
        centres: (D,) of each encoder, from ``centres_of``; None takes nothing off.
    """
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in encoders}
    key = randomness.stream(config.seed, "measure")
    for batch in _batches(len(images), encoders, config, representation):
        pixels = torch.from_numpy(np.ascontiguousarray(images[batch])).to(device)
        ids = torch.from_numpy(keys[batch].astype(np.int64)).to(device)
        with torch.inference_mode():
            views = (
                augment(pixels, spec, key=key, keys=ids, view=k) for k in range(1, config.views + 1)
            )
            measured = _measure(encoders, pixels, views, config, representation, centres or {})
            for name, found in measured.items():
                parts[name].append(found)
    empty = (np.zeros(0), np.zeros((0, config.views if config.views > 1 else 0), np.float32))
    out = {}
    for name, batches in parts.items():
        align, replicates = zip(*(batches or [empty]), strict=True)
        out[name] = Alignment(np.concatenate(align), np.concatenate(replicates))
    return out


def centres_of(
    encoders: Mapping[str, Encoder],
    images: np.ndarray,
    config: ScoreConfig,
    *,
    representation: str,
    device: str,
) -> dict[str, torch.Tensor]:
    """Return the mean representation of clean images by each encoder, (D,) float32 on ``device``.

    All representations of an encoder point one way, by its bias; without that way distances show
    more of what differs between images.

    Args:
        encoders: As in ``align_images``, and so are the others.
        images: (n, C, H, W) uint8, n > 0.
        config: The recipe's ``score`` section.
        representation: ``full`` or ``pooled``.
        device: Where to compute.
    """
    total: dict[str, torch.Tensor] = {}
    for batch in _batches(len(images), encoders, config, representation):
        clean = torch.from_numpy(np.ascontiguousarray(images[batch])).to(device).float() / 255
        with torch.inference_mode(), _lower(config, clean.device.type):
            for name, encoder in encoders.items():
                part = flattened(encoder, clean, representation).double().sum(dim=0)
                total[name] = total[name] + part if name in total else part
    return {name: (value / len(images)).float() for name, value in total.items()}


def _lower(config: ScoreConfig, device: str) -> torch.autocast:
    """Return the context in which encoders run in bfloat16, where that is asked for."""
    return torch.autocast(
        device, dtype=torch.bfloat16, enabled=in_bfloat16(config.precision, device)
    )


def _batches(
    n: int, encoders: Mapping[str, Encoder], config: ScoreConfig, representation: str
) -> list[slice]:
    """Split n images so that the representations held at a time fit ``HELD_BYTES``."""
    largest = max((_dim(e, representation) for e in encoders.values()), default=1)
    held = (config.views if config.pairing == "all" else 2) * len(encoders)
    size = max(1, min(config.batch_size, HELD_BYTES // (4 * largest * held)))
    return [slice(start, start + size) for start in range(0, n, size)]


def _dim(encoder: Encoder, representation: str) -> int:
    return encoder.dim if representation == "pooled" else encoder.dim * encoder.tokens


def _measure(
    encoders: Mapping[str, Encoder],
    pixels: torch.Tensor,
    views: Iterable[torch.Tensor],
    config: ScoreConfig,
    representation: str,
    centres: Mapping[str, torch.Tensor],
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return (align, leave-one-out) of each encoder on one batch."""

    def z_of(name: str, shown: torch.Tensor) -> torch.Tensor:
        with _lower(config, shown.device.type):
            return represent(encoders[name], shown, representation, centres.get(name))

    anchors = {}
    if config.pairing == "anchored":
        clean = pixels.float() / 255
        anchors = {name: z_of(name, clean) for name in encoders}
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in encoders}
    for view in views:
        for name in encoders:
            z = z_of(name, view)
            if anchors:
                seen[name].append(distance(anchors[name], z, config.distance))
            else:
                seen[name].append(z)
    if anchors:
        return {name: _anchored(torch.stack(d, dim=1)) for name, d in seen.items()}
    return {name: _all_pairs(z, config.distance) for name, z in seen.items()}


def _anchored(distances: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of (B, K) distances to the clean view, and its leave-one-out means."""
    d = distances.double().cpu().numpy()
    k = d.shape[1]
    total = d.sum(axis=1)
    left_out = (total[:, None] - d) / (k - 1) if k > 1 else d[:, :0]
    return total / k, left_out.astype(np.float32)


def _all_pairs(z: list[torch.Tensor], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over the K(K-1)/2 pairs of views, and the same without view k."""
    k = len(z)
    total = np.zeros(len(z[0]))
    touching = np.zeros((len(z[0]), k))
    for i in range(k):
        for j in range(i + 1, k):
            d = distance(z[i], z[j], kind).double().cpu().numpy()
            total += d
            touching[:, i] += d
            touching[:, j] += d
    pairs = k * (k - 1) / 2
    left = (k - 1) * (k - 2) / 2
    left_out = (total[:, None] - touching) / left if left else touching[:, :0]
    return total / pairs, left_out.astype(np.float32)
