"""The schedule of a training: learning rate, optimizer, and when encoders are kept."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from curate.encoders.config import TrainConfig


def learning_rate(step: int, total: int, warmup: int, peak: float) -> float:
    """Return the learning rate of step 0 to total - 1: linear warm-up, then half a cosine to 0."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


def optimizer(method: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """Return the recipe's optimizer; biases and normalisation are not decayed (nor adapted).

    On a card each steps all weights at once (``foreach``, or ``fused``); LARS does since timm
    1.0.31.
    """
    trained = [p for p in method.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95), fused=True)
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=0.9)
    from timm.optim.lars import Lars

    # timm adapts only what is decayed, which is LARS as SimCLR uses it.
    return Lars(groups, lr=config.lr, momentum=0.9)


def snapshot_epochs(config: TrainConfig) -> range:
    """Return the epochs after which an encoder is kept besides its end."""
    every = config.snapshots or config.epochs
    return range(every, config.epochs, every)
