"""Barlow Twins (Zbontar et al. 2021): features of two views correlate each with itself alone."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from curate.encoders.backbone import Encoder, pool
from curate.encoders.methods import base
from curate.encoders.methods.base import Batch
from curate.encoders.parts import gathered


class Config(BaseModel):
    """Barlow Twins' own settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    redundancy: Annotated[float, Field(ge=0)] = 0.005
    """Weight lambda of the redundancy reduction term (section 2.2)."""
    expansion: Annotated[int, Field(ge=1)] = 4
    """Width of the projector's three layers, in widths of the encoder; 4 makes the paper's 8,192 of
    a ResNet-50's 2,048 (section 2.2)."""


def cross_correlation(z_1: Tensor, z_2: Tensor) -> Tensor:
    """Return the correlations (D, D) in [-1, 1] of features of two views over the batch (Eq. 2).

    Features are standardised as batch normalisation does it: biased variance plus 1e-5, as in the
    authors' code.

    Args:
        z_1: (B, D) embeddings of the first views, B at least 2.
        z_2: (B, D) embeddings of the second views.
    """
    one, two = (F.batch_norm(z, None, None, training=True) for z in (z_1, z_2))
    return one.T @ two / len(z_1)


def invariance_term(correlation: Tensor) -> Tensor:
    """Return the sum of squared differences of the diagonal from 1 (Eq. 1, first term)."""
    return (1 - correlation.diagonal()).square().sum()


def redundancy_term(correlation: Tensor) -> Tensor:
    """Return the sum of the squares off the diagonal (Eq. 1, second term, without lambda)."""
    return (correlation - correlation.diagonal().diag()).square().sum()


def barlow_twins_loss(z_1: Tensor, z_2: Tensor, redundancy: float) -> Tensor:
    """Return the loss of Zbontar et al. 2021, Eq. 1.

    Args:
        z_1: (B, D) embeddings of the first views.
        z_2: (B, D) embeddings of the second views.
        redundancy: lambda.
    """
    z_1, z_2 = (z.to(torch.promote_types(z.dtype, torch.float32)) for z in (z_1, z_2))
    correlation = cross_correlation(z_1, z_2)
    return invariance_term(correlation) + redundancy * redundancy_term(correlation)


class BarlowTwins(base.Method):
    """Barlow Twins around an encoder: pooled representation, projector, cross-correlation."""

    n_views = 2

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.redundancy = config.redundancy
        self.projector = base.expander(encoder.dim, config.expansion * encoder.dim)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of two views."""
        # Each view by itself, so that batch statistics are one view's, as in the authors' code.
        z_1, z_2 = (self.projector(pool(self.encoder.forward_float(x))) for x in batch.views)
        z_1, z_2 = gathered(z_1), gathered(z_2)
        # Sums over a batch of products of many features need more than 16 bits.
        with torch.autocast(z_1.device.type, enabled=False):
            return barlow_twins_loss(z_1, z_2, self.redundancy)


def build(encoder: Encoder, config: Config, classes: int) -> BarlowTwins:
    """Return Barlow Twins around ``encoder``."""
    return BarlowTwins(encoder, config)
