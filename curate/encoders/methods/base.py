"""What a method is: an encoder with its heads, and a loss of some views of each sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from curate.encoders.backbone import Encoder
from curate.encoders.views.draws import Draws
from curate.encoders.views.spec import ViewSpec


@dataclass(frozen=True)
class Batch:
    """What one training step shows a method.

    Attributes:
        views: ``n_views`` times (B, C, H, W) float in [0, 1], as ``view`` asks for them.
        extra: Further views, as the recipe has them, for what is asked of every method.
        drawn: What ``Method.drawn`` made of the views' random numbers.
        labels: (B,) int64; None unless the method is supervised.
        numbers: What ``Method.numbers`` says of this step; scalar tensors on the device where a
            step is repeated there without the host.
        settled: Whether ``Method.settles`` epochs are done.
    """

    views: Sequence[Tensor]
    extra: Sequence[Tensor] = ()
    drawn: Sequence[Tensor] = ()
    labels: Tensor | None = None
    numbers: Sequence[float | Tensor] = ()
    settled: bool = True


def expander(dim: int, width: int) -> nn.Sequential:
    """Return the three layers behind the pooled representation that VICReg and Barlow Twins share.

    Without biases in front of batch normalisation, which takes them off again.

    Args:
        dim: D of the encoder.
        width: Of each layer.
    """
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Linear(dim, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        dim = width
    return nn.Sequential(*layers, nn.Linear(dim, width, bias=False))


class Method(nn.Module, ABC):
    """An encoder in training.

    Attributes:
        supervised: Whether the loss takes labels.
        per_sample: Whether the loss is a mean of one that each sample has by itself.
        n_views: Views of each sample that the loss takes.
        encoder: The network that gradients train.
        settles: Epochs after which steps differ in their samples and in numbers alone, so that a
            card can repeat one for all.
    """

    supervised: ClassVar[bool] = False
    per_sample: ClassVar[bool] = False
    n_views: int
    settles: float = 0.0
    left: Tensor | None = None

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def kept(self) -> Encoder:
        """The network whose representations are kept: the trained one, or its teacher."""
        return self.encoder

    @property
    def classifier(self) -> nn.Linear | None:
        """The head upon the pooled representation, which is kept as well; None without one."""
        return None

    def view(self, number: int, spec: ViewSpec) -> ViewSpec:
        """Return how view ``number`` (0 to ``n_views`` - 1) is made, given the recipe's views."""
        return spec

    def numbers(self, epoch: float, done: float) -> tuple[float, ...]:
        """Return what a step takes that changes over a training, such as a temperature.

        Args:
            epoch: Epochs done before the step, with its fraction.
            done: Share of the training's steps done before it, in [0, 1).
        """
        return ()

    def drawn(self, draws: Sequence[Draws]) -> tuple[Tensor, ...]:
        """Return what the loss draws besides its views, (B, ...) each; it is no part of the loss.

        A card compiles the loss, which draws and their sorting would keep it from.

        Args:
            draws: Of each view; slots from ``views.apply.METHOD`` on are the method's.
        """
        return ()

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Return the loss, a scalar, lower = better.

        Of a batch in parts, tensors are ``Parted``: what compares samples with each other takes
        them by ``parts.gathered``, and a mean over samples is made that of all by
        ``parts.averaged``. Of a plain batch both give back what they get.
        """

    def after_step(self, batch: Batch) -> None:
        """Do what follows a step of the optimizer, such as moving a teacher."""
