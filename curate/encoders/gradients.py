"""What a training takes from its samples: which of them a step draws, and their gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from curate.encoders.backbone import in_bfloat16
from curate.encoders.config import TrainConfig
from curate.encoders.methods.base import Batch, Method
from curate.runtime import randomness

Loss = Callable[[Batch], Tensor]
"""The loss of a batch, a scalar."""


class Gradients(ABC):
    """How a training draws samples and finds gradients: plainly, or with differential privacy.

    Attributes:
        loss: The loss of a batch; a training on a card may give it one that is compiled.
        skips: Whether the loop leaves out a step whose loss is not finite.
        skipping: What the loop says became of such steps.
    """

    loss: Loss
    skips: ClassVar[bool] = True
    skipping: ClassVar[str] = "skipped"

    @abstractmethod
    def sample(self, step: int) -> np.ndarray:
        """Return the positions (m,) of the samples that a step draws; there may be none."""

    @abstractmethod
    def backward(self, batch: Batch, step: int) -> Tensor | None:
        """Set the gradient of every parameter.

        Args:
            batch: The samples that ``sample`` drew.
            step: From 0.

        Returns:
            The loss, a scalar on the device, NaN if it or the gradient is not finite; None for an
            empty batch.
        """

    def identity(self) -> dict[str, Any]:
        """Return what a stored state must agree with, beyond what every training compares."""
        return {}

    def promise(self) -> dict[str, Any]:
        """Return what the encoder's files and the completion record add, as JSON."""
        return {}


class PlainGradients(Gradients):
    """Every sample once an epoch, and the gradient of a batch's loss."""

    def __init__(
        self,
        method: Method,
        loss: Loss,
        *,
        keys: np.ndarray,
        seed: int,
        config: TrainConfig,
        device: str,
    ) -> None:
        """Take gradients of ``loss``, which calls ``method``.

        Args:
            method: What is trained.
            loss: Its loss.
            keys: (n,) uint64, one for each sample, all different.
            seed: The training's.
            config: The recipe's ``train``.
            device: ``cpu`` or ``cuda``.
        """
        self.method, self.loss, self.keys, self.seed = method, loss, keys, seed
        self.batch = config.batch_of(len(keys))
        self.limit = float("inf") if config.clip_norm is None else config.clip_norm
        self.device, self.autocast = device, in_bfloat16(config.precision, device)
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def sample(self, step: int) -> np.ndarray:
        """Return the next batch of the epoch's order."""
        epoch, k = divmod(step, len(self.keys) // self.batch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self.order(epoch)
        return self._order[k * self.batch : (k + 1) * self.batch]

    def order(self, epoch: int) -> np.ndarray:
        """Return the order of the samples in an epoch; those that fill no batch are left out."""
        key = randomness.stream(self.seed, "order", epoch)
        return np.argsort(randomness.hash64(key, self.keys), kind="stable")

    def backward(self, batch: Batch, step: int) -> Tensor:
        """Set the gradients, clipped to the recipe's norm; the host is not told of any number."""
        with self.lower():
            loss = self.loss(batch)
        self.method.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        return self.clipped(loss.detach())

    def lower(self) -> torch.autocast:
        """Return the context of the loss: in bfloat16 where that is asked for."""
        return torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.autocast)

    def clipped(self, loss: Tensor) -> Tensor:
        """Clip the gradients that are set; returns the loss, NaN where they are not finite."""
        norm = nn.utils.clip_grad_norm_(self.method.parameters(), self.limit, foreach=True)
        # 0 times what is not finite is NaN; of a finite norm it is 0.
        return loss + 0 * norm


class Called(nn.Module):
    """A loss as a module, so that the weights it is taken at can be given."""

    def __init__(self, method: Method, loss: Loss) -> None:
        """Call ``loss``, which calls ``method``: its weights are named ``method.NAME``."""
        super().__init__()
        assert not isinstance(loss, nn.Module), "its weights would be here twice"
        self.method, self.loss = method, loss

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""
        return self.loss(batch)
