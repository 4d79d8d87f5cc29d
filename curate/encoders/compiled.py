"""What a card is asked for, compiled: fewer kernels, each of which moves less memory."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

import torch

log = logging.getLogger("curate")

SHOWN = 10_000_000
"""Images that a training shows, each view counted, from which a compiled loss pays: on an H200 it
takes half a minute, and then saves 4 us (ResNet-18) to 27 us (a masked ViT) of each."""
SEEN = 2_000_000
"""Images that encoders see while they are measured, each view counted, from which that pays: it
takes 14 s, and then saves 13 us of each (ViT-tiny of 257 tokens)."""
MANY = 200_000
"""Views that a training makes of a batch, in all its steps, from which they pay: 107 s (on a CPU),
and then half a millisecond each."""

P = ParamSpec("P")
R = TypeVar("R")


def pays(shown: int, device: str) -> bool:
    """Return whether the loss of a training that shows so many images is worth the wait.

    Images decide, and not a clock, so that the same training is compiled or not wherever it runs.
    """
    return device != "cpu" and shown >= SHOWN


def measuring_pays(seen: int, device: str) -> bool:
    """Return the same of encoders that see so many images in all shards, whoever measures which."""
    return device != "cpu" and seen >= SEEN


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
            # Of the compiler, Triton or the C compiler that they call: what torch says has the
            # traces of all of them, each with its error, and the last is why.
            errors = re.findall(r"^\s*((?:\w+\.)*\w*(?:Error|Exception): .+)$", str(error), re.M)
            reason = errors[-1] if errors else f"{type(error).__name__}: {error}".splitlines()[0]
            log.warning("what the card computes is not compiled, and takes longer: %s", reason)
            self._compiled = self._plain
            return self._plain(*args, **kwargs)
        self._works = True
        return result
