"""The schedule of a training: what changes from step to step, and when encoders are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from curate.encoders.config import TrainConfig
from curate.encoders.methods.base import Method


def learning_rate(step: int, total: int, warmup: int, peak: float) -> float:
    """Return the learning rate of step 0 to total - 1: linear warm-up, then half a cosine to 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


@dataclass(frozen=True)
class Now:
    """What a step takes beside its samples: numbers, or scalar tensors on a card.

    Attributes:
        rate: Learning rate.
        view: Number of the first of its views.
        own: What ``Method.numbers`` says.
        settled: Whether ``Method.settles`` epochs are done.
        orders: Of all views, as ``Draws`` has them; None where ``view`` is a number.
    """

    rate: float | Tensor
    view: int | Tensor
    own: Sequence[float | Tensor]
    settled: bool
    orders: Tensor | None = None


@dataclass(frozen=True)
class Steps:
    """The numbers of every step of a training.

    Attributes:
        method: What is trained.
        peak: Highest learning rate.
        total: Steps in all.
        warmup: Of them, those of the warm-up.
        per_epoch: Of them, those of an epoch.
        views: Views of a sample that a step makes.
    """

    method: Method
    peak: float
    total: int
    warmup: int
    per_epoch: int
    views: int

    def at(self, step: int) -> Now:
        """Return the numbers of a step, from 0."""
        epochs = step / self.per_epoch
        return Now(
            rate=learning_rate(step, self.total, self.warmup, self.peak),
            view=step // self.per_epoch * self.views,
            own=self.method.numbers(epochs, step / self.total),
            settled=epochs >= self.method.settles,
        )


class Tables:
    """The same numbers on a device, where the step's own number, a tensor, chooses among them."""

    def __init__(self, steps: Steps, orders: Tensor, device: str) -> None:
        """Bring them there, some 20 bytes a step.

        Args:
            steps: All of them.
            orders: (V, 4) int64 of all views, from ``views.apply.orders``.
            device: ``cuda``; on ``cpu`` they can be tried.
        """
        each = [steps.at(step) for step in range(steps.total)]
        self._view = torch.tensor([now.view for now in each]).to(device)
        self._numbers = torch.tensor([[now.rate, *now.own] for now in each]).to(device)
        self._orders = orders.to(device)
        self.step = torch.zeros((), dtype=torch.int64, device=device)

    def now(self) -> Now:
        """Return the numbers of step ``step`` as tensors, of one that is settled."""
        at = self.step.view(1)
        rate, *own = self._numbers.index_select(0, at)[0].unbind()
        return Now(rate, self._view.index_select(0, at)[0], own, True, self._orders)


class _SGD(torch.optim.SGD):
    """SGD whose weights may have their first gradients at different steps.

    A fused step takes all weights for new or none. A momentum of 0 is what a new one has.
    """

    def step(self, closure: Any = None) -> Any:
        """Make a step."""
        for group in self.param_groups:
            for p in group["params"] if group["fused"] else ():
                if p.grad is not None and p not in self.state:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        return super().step(closure)


def optimizer(method: nn.Module, config: TrainConfig, device: str) -> torch.optim.Optimizer:
    """Return the recipe's optimizer; biases and normalisation are not decayed (nor adapted).

    On a card each steps all weights at once (``foreach``, or ``fused``), and takes a learning rate
    that only the card knows.
    """
    trained = [p for p in method.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95), fused=True)
    if config.optimizer == "sgd":
        return _SGD(groups, lr=config.lr, momentum=0.9, fused=device != "cpu" or None)
    from timm.optim.lars import Lars

    # timm adapts only what is decayed, which is LARS as SimCLR uses it. Left alone, it asks a card
    # for a learning rate that is a tensor.
    return Lars(groups, lr=config.lr, momentum=0.9, foreach=device != "cpu" or None)


def snapshot_epochs(config: TrainConfig) -> range:
    """Return the epochs after which an encoder is kept besides its end."""
    every = config.snapshots or config.epochs
    return range(every, config.epochs, every)


def snapshot_name(epoch: int) -> str:
    """Return where an encoder's snapshot after ``epoch`` epochs lies in its folder."""
    return f"snapshots/{epoch:05d}"
