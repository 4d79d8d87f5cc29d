"""The images of a training, brought to its device: gathered on the host, or kept on a card."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

SHARE = 0.4
"""Most of a card's free memory that images may take; the rest is for activations."""
BLOCK = 1 << 28
"""Bytes that are brought to a card at a time."""
AHEAD = 50
"""Steps whose samples a card is told of together."""


@dataclass
class Feed:
    """Images in host memory, of which every step takes some.

    Attributes:
        images: (N, C, H, W) uint8.
        rows: (n,) int64, those that are trained on.
        sample: Gives the places in ``rows`` that a step draws, (m,) int64; asked for one step after
            the other.
        steps: Steps of the training.
        device: ``cpu`` or ``cuda``.
    """

    images: np.ndarray
    rows: np.ndarray
    sample: Callable[[int], np.ndarray]
    steps: int
    device: str

    def of(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return places (m,) int64 in ``rows`` and their images (m, C, H, W) on the device."""
        pixels = torch.from_numpy(self.images[self.rows[chosen]])
        return torch.from_numpy(chosen).to(self.device), pixels.to(self.device)

    def take(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the same of what ``step`` draws; steps are taken in their order."""
        return self.of(self.sample(step))


@dataclass
class Resident(Feed):
    """Images in the memory of a card, which gathers them itself."""

    def __post_init__(self) -> None:
        """Bring the images there, a block after the other."""
        shape = (len(self.rows), *self.images.shape[1:])
        self.pixels = torch.empty(shape, dtype=torch.uint8, device=self.device)
        block = max(1, BLOCK // max(1, self.images[0].nbytes))
        for start in range(0, len(self.rows), block):
            part = torch.from_numpy(self.images[self.rows[start : start + block]])
            self.pixels[start : start + block] = part.to(self.device)
        self._chosen_on_card: dict[int, Tensor] = {}

    def of(self, chosen: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return places and images, gathered on the card."""
        places = torch.from_numpy(chosen).to(self.device)
        return places, self.pixels.index_select(0, places)

    def take(self, step: int) -> tuple[Tensor, Tensor]:
        """Return the same of what a step draws; the card is told of many steps at once."""
        if step not in self._chosen_on_card:
            some = range(step, min(step + AHEAD, self.steps))
            samples = [self.sample(s) for s in some]
            together = torch.from_numpy(np.concatenate(samples)).to(self.device)
            parts = torch.split(together, [len(c) for c in samples])
            self._chosen_on_card = dict(zip(some, parts, strict=True))
        places = self._chosen_on_card.pop(step)
        return places, self.pixels.index_select(0, places)


@dataclass
class Streamed(Feed):
    """Images that a card cannot hold: a thread brings those of the next step while it computes."""

    def __post_init__(self) -> None:
        """Start the thread, and a stream of copies beside that of the work."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="feed")
        self._stream: torch.cuda.Stream | None = None
        if self.device != "cpu":
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._coming: dict[int, Future[tuple[Tensor, Tensor]]] = {}

    def take(self, step: int) -> tuple[Tensor, Tensor]:
        """Return what the thread has brought, and let it bring the next step's."""
        coming = self._coming.pop(step, None) or self._thread.submit(self._bring, step)
        if step + 1 < self.steps:
            self._coming[step + 1] = self._thread.submit(self._bring, step + 1)
        places, pixels = coming.result()
        if self._stream is not None:
            # The memory is the copying stream's until the work on it is done.
            now = torch.cuda.current_stream()
            now.wait_stream(self._stream)
            places.record_stream(now)
            pixels.record_stream(now)
        return places, pixels

    def _bring(self, step: int) -> tuple[Tensor, Tensor]:
        samples = self.sample(step)
        places, pixels = (
            torch.from_numpy(samples),
            torch.from_numpy(self.images[self.rows[samples]]),
        )
        if self._stream is None:
            return places, pixels
        # Pages that stay where they are can be copied while the card computes; torch keeps them
        # until that is done, and uses them again.
        with torch.cuda.stream(self._stream):
            there = places.pin_memory().to(self.device, non_blocking=True)
            return there, pixels.pin_memory().to(self.device, non_blocking=True)


def feed_of(
    images: np.ndarray,
    rows: np.ndarray,
    sample: Callable[[int], np.ndarray],
    *,
    steps: int,
    device: str,
) -> Feed:
    """Return the feed of a training: a card keeps the images where they take 40 % of its memory."""
    kind = Feed
    if device != "cpu":
        free, _ = torch.cuda.mem_get_info()
        kind = Resident if len(rows) * images[0].nbytes <= SHARE * free else Streamed
    return kind(images, rows, sample, steps, device)
