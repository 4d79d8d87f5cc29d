"""SimCLR (Chen et al. 2020): two views of an image attract, views of different images repel."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from curate.encoders.backbone import Encoder, pool
from curate.encoders.methods import base
from curate.encoders.methods.base import Batch
from curate.encoders.parts import gathered


class Config(BaseModel):
    """SimCLR's own settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    temperature: Annotated[float, Field(gt=0)] = 0.5
    """Temperature tau of the loss; 0.5 is the paper's for CIFAR-10 (appendix B.9)."""
    projection: Annotated[int, Field(ge=1)] = 128
    """Width of the projection z that the loss compares."""


def nt_xent(z_1: Tensor, z_2: Tensor, temperature: float) -> Tensor:
    """Return the normalised temperature-scaled cross entropy (Chen et al. 2020, Eq. 1).

    Args:
        z_1: (B, D) projections of the first views.
        z_2: (B, D) projections of the second views.
        temperature: tau.
    """
    z = torch.cat([z_1, z_2])
    z = F.normalize(z.to(torch.promote_types(z.dtype, torch.float32)), dim=1)
    similarity = z @ z.T / temperature
    n = len(z_1)
    itself = torch.eye(2 * n, dtype=torch.bool, device=z.device)
    similarity = similarity.masked_fill(itself, float("-inf"))
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(similarity, partner)


class SimCLR(base.Method):
    """SimCLR around an encoder: pooled representation, projection head, NT-Xent."""

    n_views = 2

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.temperature = config.temperature
        # Batch normalisation in the head as in the authors' code (v1: two layers).
        self.projector = nn.Sequential(
            nn.Linear(encoder.dim, encoder.dim, bias=False),
            nn.BatchNorm1d(encoder.dim),
            nn.ReLU(),
            nn.Linear(encoder.dim, config.projection, bias=False),
            nn.BatchNorm1d(config.projection),
        )

    def forward(self, batch: Batch) -> Tensor:
        """Return NT-Xent of two views."""
        # One pass over both: the batch statistics then are those of both views, as in the paper.
        z = self.projector(pool(self.encoder.forward_float(torch.cat(list(batch.views)))))
        z_1, z_2 = z.chunk(2)
        return nt_xent(gathered(z_1), gathered(z_2), self.temperature)


def build(encoder: Encoder, config: Config, classes: int) -> SimCLR:
    """Return SimCLR around ``encoder``."""
    return SimCLR(encoder, config)
