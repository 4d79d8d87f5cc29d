"""A step of a training that a card repeats by itself: captured once, as a CUDA graph.

A network for small images waits for the host, which asks for a thousand kernels a step; a graph is
asked for once. What is captured reads what differs from step to step from places that stay where
they are, and asks the host for nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

log = logging.getLogger("curate")

Work = Callable[[Tensor, Tensor], Tensor]
"""A step: the places (B,) int64 and the images (B, C, H, W) of its samples to its loss, ()."""
Capture = Callable[[Callable[[], Tensor]], tuple[Callable[[], object], Tensor]]
"""Notes down work without doing it; returns what does it, and where its result then lies."""


def cuda_graph(work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
    """Capture work of the current stream as a CUDA graph."""
    graph = torch.cuda.CUDAGraph()
    # Another thread brings images meanwhile.
    with torch.cuda.graph(
        graph, stream=torch.cuda.current_stream(), capture_error_mode="thread_local"
    ):
        result = work()
    return graph.replay, result


class Captured:
    """A step that is repeated for other samples and other numbers."""

    def __init__(
        self, work: Work, step: Tensor, places: Tensor, pixels: Tensor, capture: Capture
    ) -> None:
        """Capture a step; nothing is done yet.

        Args:
            work: The step. All that it takes beside its arguments stays where it is, and the number
                of the step is in ``step``.
            step: () int64 on the device.
            places: (B,) int64, such as will be given.
            pixels: (B, C, H, W), such as will be given.
            capture: How.

        Raises:
            RuntimeError: If the step asks the host for something.
        """
        self._step = step
        self._places, self._pixels = places.clone(), pixels.clone()
        self._repeat, self._loss = capture(lambda: work(self._places, self._pixels))

    def __call__(self, step: int, places: Tensor, pixels: Tensor) -> Tensor:
        """Make step ``step`` on some samples, as many as at first; returns its loss."""
        self._step.fill_(step)
        self._places.copy_(places)
        self._pixels.copy_(pixels)
        self._repeat()
        # The next step writes where this one's loss is.
        return self._loss.clone()


def captured(
    work: Work, step: Tensor, places: Tensor, pixels: Tensor, capture: Capture
) -> Captured | None:
    """Return a captured step; None, with a warning, where a card cannot."""
    try:
        return Captured(work, step, places, pixels, capture)
    except RuntimeError as error:
        _forget_capture()
        first = (str(error).splitlines() or [""])[0]
        log.warning("a step is asked for kernel by kernel, since it was not captured: %s", first)
        return None


def _forget_capture() -> None:
    """Let random numbers be drawn again: a capture that failed leaves the card's in its midst."""
    for generator in torch.cuda.default_generators:
        generator.graphsafe_set_state(generator.clone_state())


@contextlib.contextmanager
def own_stream(device: str) -> Iterator[None]:
    """Work on a stream beside the default one, which cannot be captured; nothing on a CPU."""
    if device == "cpu":
        yield
        return
    before = torch.cuda.current_stream()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(before)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        before.wait_stream(stream)
