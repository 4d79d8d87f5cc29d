"""A loss, and its gradient, compiled for a card: fewer kernels, each of which moves less memory."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from curate.encoders.gradients import Loss
from curate.encoders.methods.base import Batch

log = logging.getLogger("curate")

LONG = 10_000
"""Steps from which it pays: it takes one or two minutes, and then saves some 10 ms a step."""


def pays(steps: int, device: str) -> bool:
    """Return whether a training of so many steps on a device is worth the wait.

    Steps decide, and not a clock, so that the same training is compiled or not wherever it runs.
    """
    return device != "cpu" and steps >= LONG


class CompiledLoss:
    """A loss that is compiled when it is first asked for.

    It must take what changes from step to step as tensors: for another number of the host it would
    be compiled anew.
    """

    def __init__(self, loss: Loss, backend: str = "inductor") -> None:
        """Compile ``loss``; ``backend`` is torch's name of the compiler."""
        self._plain = loss
        self._loss: Loss = torch.compile(loss, backend=backend, dynamic=False)
        self._works = False

    def __call__(self, batch: Batch) -> Tensor:
        """Return the loss of a batch; uncompiled, with a warning, where it cannot be compiled."""
        if self._works or self._loss is self._plain:
            return self._loss(batch)
        try:
            loss = self._loss(batch)
        except Exception as error:
            # Of the compiler, of Triton or of the C compiler that they call.
            # torch says in the first line which backend raised, and in the second what.
            said = " ".join(str(error).split("\n")[:2]).strip() or type(error).__name__
            log.warning("the training is not compiled, and takes longer: %s", said)
            self._loss = self._plain
            return self._loss(batch)
        self._works = True
        return loss
