"""How far a training is, and what its losses were."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from curate.errors import DivergedError
from curate.runtime.results import Result

PATIENCE = 10
"""Steps in a row whose loss may be not finite before a training is given up."""


@dataclass(frozen=True)
class Trained(Result):
    """How a training went: what its completion record says.

    Attributes:
        loss: Mean over the last epoch's steps with a finite one; None if there was no such step.
        steps: Steps made.
        epochs: Epochs begun.
        skipped: Steps whose loss was not finite.
        seconds: Time that the steps took.
        privacy: The fields of ``dp_sgd.Guarantee``; None without ``train.dp``.
    """

    loss: float | None
    steps: int
    epochs: int
    skipped: int
    seconds: float
    privacy: Mapping[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields, without ``privacy`` where there is none."""
        content = super().to_json()
        if self.privacy is None:
            del content["privacy"]
        return content


@dataclass
class History:
    """How far a training is; a state stores all of it.

    Attributes:
        step: Steps made.
        skipped: Of them, those whose loss was not finite.
        in_a_row: Of them, those at the end.
        loss_sum: Of the epoch's finite losses.
        counted: How many these are.
        seconds: That the steps took.
        epoch_seconds: That those of the epoch took.
        log: A line of each epoch.
    """

    step: int = 0
    skipped: int = 0
    in_a_row: int = 0
    loss_sum: float = 0.0
    counted: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    log: list[dict[str, Any]] = field(default_factory=list)

    def spend(self, seconds: float) -> None:
        """Add the time that a step took."""
        self.seconds += seconds
        self.epoch_seconds += seconds

    def count(self, made: Sequence[tuple[int, Tensor | None]], total: int) -> None:
        """Read and count the losses of some steps, all at once.

        Args:
            made: Each step, from 1, and its loss, (); None for an empty batch.
            total: Steps of the training.

        Raises:
            DivergedError: If one was the last of too many in a row that were not finite.
        """
        shown = [(step, loss) for step, loss in made if loss is not None]
        losses = torch.stack([loss for _, loss in shown]).tolist() if shown else []
        for (step, _), loss in zip(shown, losses, strict=True):
            if math.isfinite(loss):
                self.in_a_row = 0
                self.loss_sum, self.counted = self.loss_sum + loss, self.counted + 1
                continue
            self.skipped, self.in_a_row = self.skipped + 1, self.in_a_row + 1
            if self.in_a_row >= PATIENCE:
                raise DivergedError(
                    f"training diverged: the loss was not finite for {PATIENCE} steps in a row "
                    f"(step {step} of {total}); lower train.lr or set train.clip_norm."
                )

    def end_epoch(self, epoch: int, rate: float, images: int) -> None:
        """Add a line to the log.

        Args:
            epoch: From 0.
            rate: Learning rate of its last step.
            images: Shown in it.
        """
        spent = self.epoch_seconds
        self.log.append(
            {
                "epoch": epoch + 1,
                "step": self.step,
                "loss": self.loss_sum / self.counted if self.counted else None,
                "lr": rate,
                "images_per_second": round(images / spent, 1) if spent > 0 else None,
                "seconds": round(spent, 4),
            }
        )
        self.loss_sum, self.counted, self.epoch_seconds = 0.0, 0, 0.0
