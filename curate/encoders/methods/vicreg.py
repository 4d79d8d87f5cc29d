"""VICReg (Bardes et al. 2022): two views agree, and no feature collapses or repeats another."""

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

GAMMA = 1.0
"""Standard deviation that every feature is to keep (section 4.1)."""
EPSILON = 1e-4
"""Keeps the gradient of the root finite (section 4.2)."""


class Config(BaseModel):
    """VICReg's own settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    invariance: Annotated[float, Field(ge=0)] = 25.0
    """Coefficient lambda of the invariance term (section 4.2)."""
    variance: Annotated[float, Field(ge=0)] = 25.0
    """Coefficient mu of the variance term (section 4.2)."""
    covariance: Annotated[float, Field(ge=0)] = 1.0
    """Coefficient nu of the covariance term (section 4.2)."""
    expansion: Annotated[int, Field(ge=1)] = 4
    """Width of the expander's three layers, in widths of the encoder; 4 makes the paper's 8,192 of
    a ResNet-50's 2,048 (section 4.2)."""


def variance_term(z: Tensor) -> Tensor:
    """Return how far features fall short of a standard deviation of 1 (Bardes et al. 2022, Eq. 1).

    Args:
        z: (B, D) embeddings, B at least 2.

    Returns:
        A scalar in [0, 1]; 0 where every feature varies enough.
    """
    deviation = torch.sqrt(z.var(dim=0) + EPSILON)
    return F.relu(GAMMA - deviation).mean()


def covariance_term(z: Tensor) -> Tensor:
    """Return the squared covariances between features, their sum over D (Eq. 3 and 4).

    Args:
        z: (B, D) embeddings, B at least 2.
    """
    centred = z - z.mean(dim=0)
    covariance = centred.T @ centred / (len(z) - 1)
    between = covariance - covariance.diagonal().diag()
    return between.square().sum() / z.shape[1]


def invariance_term(z_1: Tensor, z_2: Tensor) -> Tensor:
    """Return the mean squared difference of two views' embeddings (B, D).

    The mean is over features as well, as in the authors' code; Eq. 5 adds them up, which the
    coefficients of section 4.2 do not fit.
    """
    return F.mse_loss(z_1, z_2)


def vicreg_loss(z_1: Tensor, z_2: Tensor, config: Config) -> Tensor:
    """Return the weighted sum of the three terms (Bardes et al. 2022, Eq. 6).

    The variance term is the mean of both views', as in the authors' code; the covariance term is
    their sum.

    Args:
        z_1: (B, D) embeddings of the first views.
        z_2: (B, D) embeddings of the second views.
        config: Gives the coefficients.
    """
    z_1, z_2 = (z.to(torch.promote_types(z.dtype, torch.float32)) for z in (z_1, z_2))
    variance = (variance_term(z_1) + variance_term(z_2)) / 2
    covariance = covariance_term(z_1) + covariance_term(z_2)
    return (
        config.invariance * invariance_term(z_1, z_2)
        + config.variance * variance
        + config.covariance * covariance
    )


class VICReg(base.Method):
    """VICReg around an encoder: pooled representation, expander, three terms."""

    n_views = 2

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        self.expander = base.expander(encoder.dim, config.expansion * encoder.dim)

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of two views."""
        # Each view by itself, so that batch statistics are one view's, as in the authors' code.
        z_1, z_2 = (self.expander(pool(self.encoder.forward_float(x))) for x in batch.views)
        z_1, z_2 = gathered(z_1), gathered(z_2)
        # Sums over a batch of products of many features need more than 16 bits.
        with torch.autocast(z_1.device.type, enabled=False):
            return vicreg_loss(z_1, z_2, self.config)


def build(encoder: Encoder, config: Config, classes: int) -> VICReg:
    """Return VICReg around ``encoder``."""
    return VICReg(encoder, config)
