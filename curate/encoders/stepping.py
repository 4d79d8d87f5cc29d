"""Steps of a training, or of several side by side: asked for one by one, or repeated by a card."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from curate.encoders.captured import Capture, Captured, Work, captured
from curate.encoders.feed import Feed
from curate.encoders.schedule import Now, Steps, Tables

ALIKE = 3
"""Steps of a kind that are made before a card repeats one: the first makes moments, the second
their copies."""


class Stepping(ABC):
    """Makes one step after the other.

    Attributes:
        device: ``cpu`` or ``cuda``.
        steps: The numbers of every step.
        feed: Brings the samples of each.
        capture: How a card notes down a step that it then repeats; None asks for every one.
        repeated: What the card repeats, once it does.
    """

    device: str
    steps: Steps
    feed: Feed
    capture: Capture | None
    repeated: Captured | None = None
    _alike: tuple[Tables, Work] | None = None
    _alike_steps: int = 0

    @abstractmethod
    def batch(self, now: Now, places: Tensor, pixels: Tensor) -> Any:
        """Return what a step sees of some samples, as the feed gives them."""

    @abstractmethod
    def step(self, batch: Any, rate: float | Tensor) -> Tensor | None:
        """Make a step; returns its loss, or those of all trainings; None for an empty batch."""

    @abstractmethod
    def orders(self, views: int) -> Tensor:
        """Return the orders of so many views (``views.apply.orders``)."""

    @abstractmethod
    def compile(self) -> None:
        """Have compiled from now on what pays."""

    @abstractmethod
    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return what steps the weights."""

    def advance(self, at: int) -> Tensor | None:
        """Make step ``at`` on the samples that it draws; returns what ``step`` does.

        A card is asked for the first steps kernel by kernel. What is alike from then on it repeats
        by itself.
        """
        places, pixels = self.feed.take(at)
        if self.repeated is not None:
            return self.repeated(at, places, pixels)
        now = self.steps.at(at)
        if self.capture is None or not now.settled:
            return self.step(self.batch(now, places, pixels), now.rate)
        if self._alike is None:
            self._alike = self._settle()
        tables, work = self._alike
        self._alike_steps += 1
        if self._alike_steps == ALIKE + 1:
            self.repeated = captured(work, tables.step, places, pixels, self.capture)
            if self.repeated is not None:
                return self.repeated(at, places, pixels)
        tables.step.fill_(at)
        return work(places, pixels)

    def _settle(self) -> tuple[Tables, Work]:
        """Return the tables of all steps, and the step that they make of its samples alone."""
        steps = self.steps
        views = (steps.total // steps.per_epoch + 1) * steps.views
        tables = Tables(steps, self.orders(views), self.device)
        for optimizer in self.optimizers():
            for group in optimizer.param_groups:
                if "capturable" in group:
                    group["capturable"] = self.device != "cpu"
        self.compile()

        def work(places: Tensor, pixels: Tensor) -> Tensor:
            now = tables.now()
            loss = self.step(self.batch(now, places, pixels), now.rate)
            assert loss is not None
            return loss

        return tables, work
