"""What a card is asked for, compiled: fewer kernels, each of which moves less memory."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

import torch

log = logging.getLogger("curate")

LONG = 10_000
"""Steps from which a loss pays: it takes one or two minutes, and then saves some 10 ms a step."""
MANY = 200_000
"""Views that a training makes of a batch, in all its steps, from which they pay: 107 s (on a CPU),
and then half a millisecond each."""

P = ParamSpec("P")
R = TypeVar("R")


def pays(steps: int, device: str) -> bool:
    """Return whether the loss of a training of so many steps on a device is worth the wait.

    Steps decide, and not a clock, so that the same training is compiled or not wherever it runs.
    """
    return device != "cpu" and steps >= LONG


def views_pay(steps: int, views: int, device: str) -> bool:
    """Return the same of its views, of which each step makes ``views``."""
    return device != "cpu" and steps * views >= MANY


class Compiled(Generic[P, R]):
    """A function that is compiled when it is first called.

    It must take what changes from step to step as tensors: for another number of the host it would
    be compiled anew.
    """

    def __init__(self, function: Callable[P, R], backend: str = "inductor") -> None:
        """Compile ``function``; ``backend`` is torch's name of the compiler."""
        self._plain = function
        self._compiled: Callable[P, R] = torch.compile(function, backend=backend, dynamic=False)
        self._works = False

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what it does; uncompiled, with a warning, where it cannot be compiled."""
        if self._works or self._compiled is self._plain:
            return self._compiled(*args, **kwargs)
        try:
            result = self._compiled(*args, **kwargs)
        except Exception as error:
            # Of the compiler, of Triton or of the C compiler that they call.
            # torch says in the first line which backend raised, and in the second what.
            said = " ".join(str(error).split("\n")[:2]).strip() or type(error).__name__
            log.warning("the training is not compiled, and takes longer: %s", said)
            self._compiled = self._plain
            return self._plain(*args, **kwargs)
        self._works = True
        return result
