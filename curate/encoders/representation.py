"""Representations of images, and how far apart they lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from curate.data.canvas import Canvas
from curate.encoders.backbone import allow_tf32
from curate.runtime.progress import Progress, silent

if TYPE_CHECKING:
    from curate.encoders.backbone import Encoder


def represent(
    encoder: Encoder,
    pixels: torch.Tensor,
    representation: str,
    centre: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return unit representations z, (B, D) float32, of float pixels (B, C, H, W) in [0, 1].

    Args:
        encoder: In evaluation mode.
        pixels: As above.
        representation: ``full`` (flattened tokens) or ``pooled`` (their mean).
        centre: (D,) is taken off before they are scaled to length 1; None takes nothing off.
    """
    flat = flattened(encoder, pixels, representation)
    return torch.nn.functional.normalize(flat if centre is None else flat - centre, dim=1)


def flattened(encoder: Encoder, pixels: torch.Tensor, representation: str) -> torch.Tensor:
    """Return representations at their own length, (B, D) float32; arguments as ``represent``."""
    tokens = encoder.forward_float(pixels).float()
    return tokens.mean(dim=1) if representation == "pooled" else tokens.flatten(1)


def distance(a: torch.Tensor, b: torch.Tensor, kind: str) -> torch.Tensor:
    """Return the distance between unit vectors (B, D), (B,): ``l2``, ``cosine`` or ``angular``."""
    apart: torch.Tensor = torch.linalg.vector_norm(a - b, dim=1)
    if kind == "l2":
        return apart
    if kind == "cosine":
        return apart.square() / 2
    # 2 asin(|a - b| / 2) is exact where acos(a . b) loses half the digits: at small angles.
    return 2 * torch.asin((apart / 2).clamp(max=1))


def features(
    encoder: Encoder, canvas: Canvas, rows: np.ndarray, progress: Progress = silent
) -> np.ndarray:
    """Return pooled representations (mean over tokens) of clean images, (n, D) float32."""
    device = next(encoder.parameters()).device
    allow_tf32("float32")
    out = np.empty((len(rows), encoder.dim), dtype=np.float32)
    # A card takes hardly longer for small images that are many.
    pixels = max(1, int(np.prod(canvas.array.shape[2:])))
    size = 256 if device.type == "cpu" else max(256, min(2048, (1 << 21) // pixels))
    with torch.inference_mode():
        for start in range(0, len(rows), size):
            batch = np.ascontiguousarray(canvas.array[rows[start : start + size]])
            tokens = encoder(torch.from_numpy(batch).to(device))
            out[start : start + size] = tokens.mean(dim=1).float().cpu().numpy()
            progress("features", min(start + size, len(rows)), len(rows))
    return out


def standardiser(x: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return the map of features to mean 0 and deviation 1 over ``x`` (n, D), as float32.

    A feature that does not vary over ``x`` becomes 0.
    """
    mean = x.mean(axis=0, dtype=np.float64)
    deviation = x.std(axis=0, dtype=np.float64)
    varies = deviation > 1e-7 * np.maximum(np.abs(mean), 1e-30)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=varies)
    return lambda features: ((features - mean) * scale).astype(np.float32)
