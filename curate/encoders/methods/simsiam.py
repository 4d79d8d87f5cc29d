"""SimSiam (Chen & He 2021): one view predicts the other, which gets no gradient."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from curate.encoders.backbone import Encoder, pool
from curate.encoders.methods import base
from curate.encoders.methods.base import Batch
from curate.encoders.parts import averaged


class Config(BaseModel):
    """SimSiam's own settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    projection: Annotated[int, Field(ge=1)] = 2048
    """Width d of the projection z and of its prediction p (section 3)."""
    bottleneck: Annotated[int, Field(ge=1)] = 512
    """Width of the predictor's hidden layer (section 3)."""


def negative_cosine(p: Tensor, z: Tensor) -> Tensor:
    """Return the mean negative cosine similarity, in [-1, 1] (Chen & He 2021, Eq. 1).

    Args:
        p: (B, D) predictions.
        z: (B, D) what they predict; gradients stop here.
    """
    p, z = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (p, z))
    return -F.cosine_similarity(p, z.detach(), dim=1).mean()


def symmetrised(p_1: Tensor, p_2: Tensor, z_1: Tensor, z_2: Tensor) -> Tensor:
    """Return the loss of both directions, in [-1, 1] (Chen & He 2021, Eq. 4).

    Args:
        p_1: (B, D) predictions from the first views.
        p_2: (B, D) predictions from the second views.
        z_1: (B, D) projections of the first views.
        z_2: (B, D) projections of the second views.
    """
    return negative_cosine(p_1, z_2) / 2 + negative_cosine(p_2, z_1) / 2


class SimSiam(base.Method):
    """SimSiam around an encoder, the paper's backbone: pooled representation, projector, predictor.

    What the paper calls encoder f is the backbone and the projector; only the former is kept.
    """

    n_views = 2

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        dim, width = encoder.dim, config.projection
        self.projector = nn.Sequential(
            nn.Linear(dim, dim, bias=False),
            nn.BatchNorm1d(dim),
            nn.ReLU(),
            nn.Linear(dim, dim, bias=False),
            nn.BatchNorm1d(dim),
            nn.ReLU(),
            nn.Linear(dim, width, bias=False),
            nn.BatchNorm1d(width, affine=False),
        )
        self.predictor = nn.Sequential(
            nn.Linear(width, config.bottleneck, bias=False),
            nn.BatchNorm1d(config.bottleneck),
            nn.ReLU(),
            nn.Linear(config.bottleneck, width),
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of two views."""
        # Each view by itself, so that batch statistics are one view's, as in the authors' code.
        z_1, z_2 = (self.projector(pool(self.encoder.forward_float(x))) for x in batch.views)
        return averaged(symmetrised(self.predictor(z_1), self.predictor(z_2), z_1, z_2))


def build(encoder: Encoder, config: Config, classes: int) -> SimSiam:
    """Return SimSiam around ``encoder``."""
    return SimSiam(encoder, config)
