"""What a method is: an encoder with its heads, and a loss of some views of each sample."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from curate.backbone import Encoder
from curate.views.draws import Draws


class Method(nn.Module, ABC):
    """An encoder in training.

    Attributes:
        n_views: Views of each sample that the loss takes.
        encoder: The network whose representations are kept.
    """

    n_views: ClassVar[int]

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @abstractmethod
    def forward(self, views: Sequence[Tensor], draws: Sequence[Draws]) -> Tensor:
        """Return the loss, a scalar, lower = better.

        Args:
            views: ``n_views`` times (B, C, H, W) float in [0, 1].
            draws: The views' random numbers, for what a method draws besides (slots from
                ``views.apply.METHOD`` on).
        """
