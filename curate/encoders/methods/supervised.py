"""Supervised cross-entropy: labels train an encoder and a head, which is kept beside it.

Table 11 of arXiv 2401.12233 compares with it: a classifier whose last layer is taken off. With that
layer it is what Feldman and Zhang 2020 measure (``scores.measures.feldman``).
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from curate.encoders.backbone import Encoder, pool
from curate.encoders.methods import base
from curate.encoders.methods.base import Batch
from curate.encoders.parts import averaged
from curate.errors import DataError


class Config(BaseModel):
    """The settings of supervised training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a label's weight that is spread over all classes (Szegedy et al. 2016, section 7);
    0 is plain cross-entropy."""


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Return the mean cross-entropy with smoothed labels (Szegedy et al. 2016, section 7).

    Args:
        logits: (B, K), one for each class.
        labels: (B,) int64 in [0, K).
        smoothing: epsilon.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


class Supervised(base.Method):
    """A classifier: an encoder with a linear head on its pooled representation."""

    supervised: ClassVar[bool] = True
    per_sample: ClassVar[bool] = True
    n_views = 1

    def __init__(self, encoder: Encoder, config: Config, classes: int) -> None:
        super().__init__(encoder)
        self.smoothing = config.label_smoothing
        self.head = nn.Linear(encoder.dim, classes)

    @property
    def classifier(self) -> nn.Linear:
        """The head, by which the network says what it takes an image for."""
        return self.head

    def forward(self, batch: Batch) -> Tensor:
        """Return the cross-entropy of one view."""
        assert batch.labels is not None
        (pixels,) = batch.views
        logits = self.head(pool(self.encoder.forward_float(pixels)))
        return averaged(cross_entropy(logits, batch.labels, self.smoothing))


def build(encoder: Encoder, config: Config, classes: int) -> Supervised:
    """Return a classifier of ``classes`` labels around ``encoder``.

    Raises:
        DataError: If there are fewer than 2 labels to tell apart.
    """
    if classes < 2:
        raise DataError(
            f"method supervised needs a dataset with labels of 2 or more classes; "
            f"this one has {classes or 'none'}."
        )
    return Supervised(encoder, config, classes)
