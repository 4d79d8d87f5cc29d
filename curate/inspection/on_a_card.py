"""Exact search on a card by torch, where FAISS cannot search on it."""

from __future__ import annotations

import numpy as np
import torch

BLOCK = 1 << 16
"""Points that a batch of queries is held against at a time: similarities take 256 MiB for 1,024."""


class ExactSearch:
    """The inner products of queries with all points, in float32, and the largest of them.

    It answers as an index of FAISS does, the ``IndexFlatIP``.
    """

    def __init__(self, points: np.ndarray, device: str) -> None:
        """Bring points (N, D) float32 to a device, such as ``cuda``."""
        self.points = torch.from_numpy(points).to(device)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return similarities and positions of the k points most like each query, (n, k) each.

        Args:
            queries: (n, D) float32.
            k: At most N.
        """
        on_device = torch.from_numpy(np.ascontiguousarray(queries)).to(self.points.device)
        best = torch.empty((len(on_device), 0), device=on_device.device)
        place = torch.empty((len(on_device), 0), dtype=torch.int64, device=on_device.device)
        for start in range(0, len(self.points), BLOCK):
            similar = on_device @ self.points[start : start + BLOCK].T
            some, at = similar.topk(min(k, similar.shape[1]), dim=1)
            best, place = torch.cat([best, some], dim=1), torch.cat([place, at + start], dim=1)
            best, order = best.topk(min(k, best.shape[1]), dim=1)
            place = place.gather(1, order)
        return best.cpu().numpy(), place.cpu().numpy()
