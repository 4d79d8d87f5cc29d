"""MAE (He et al. 2022): most patches are hidden, and a small decoder reconstructs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from curate.encoders.backbone import Encoder, transformer_block
from curate.encoders.methods import base
from curate.encoders.methods.base import Batch
from curate.encoders.parts import averaged
from curate.encoders.views.apply import METHOD
from curate.encoders.views.draws import Draws
from curate.errors import UsageError


class Config(BaseModel):
    """MAE's own settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
    """Share of the patches that is hidden (section 4.1)."""
    norm_pix: bool = True
    """Whether the loss compares patches normalised to mean 0 and variance 1 each."""
    decoder_dim: Annotated[int, Field(ge=4)] = 512
    """Width of the decoder; a multiple of 4 and of ``decoder_heads``."""
    decoder_depth: Annotated[int, Field(ge=1)] = 8
    """Blocks of the decoder."""
    decoder_heads: Annotated[int, Field(ge=1)] = 16
    """Attention heads of the decoder."""


def sin_cos_positions(side: int, dim: int) -> Tensor:
    """Return fixed positions (1 + side^2, dim) of a class token (zeros) and a grid of patches.

    Half of the features encode the row and half the column, each as sines and cosines
    (Vaswani et al. 2017, in two dimensions as He et al. 2022).
    """
    frequency = 1.0 / 10000 ** (torch.arange(dim // 4, dtype=torch.float64) / (dim / 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequency
    axis = torch.cat([angles.sin(), angles.cos()], dim=1)
    columns = axis.repeat(side, 1)
    rows = axis.repeat_interleave(side, dim=0)
    grid = torch.cat([columns, rows], dim=1)
    return torch.cat([torch.zeros(1, dim, dtype=torch.float64), grid]).float()


def patchify(pixels: Tensor, patch: int) -> Tensor:
    """Return (B, C, H, W) as patches (B, P, patch * patch * C), row by row."""
    b, c, h, w = pixels.shape
    grid = pixels.reshape(b, c, h // patch, patch, w // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(b, -1, patch * patch * c)


def visible_patches(u: Tensor, mask_ratio: float) -> Tensor:
    """Return which patches stay visible, ascending, (B, V) int64.

    Args:
        u: (B, P) uniform draws; the smallest stay.
        mask_ratio: Share that is hidden; V = P - round(P * mask_ratio), at least 1.
    """
    visible = max(1, u.shape[1] - round(u.shape[1] * mask_ratio))
    return u.argsort(dim=1, stable=True)[:, :visible].sort(dim=1).values


def reconstruction_loss(predicted: Tensor, target: Tensor, hidden: Tensor) -> Tensor:
    """Return the mean squared error over hidden patches (He et al. 2022, section 3).

    Args:
        predicted: (B, P, F).
        target: (B, P, F).
        hidden: (B, P) 1 where a patch is hidden, else 0.
    """
    error = (predicted.to(target.dtype) - target).square().mean(dim=2)
    return (error * hidden).sum() / hidden.sum()


def normalised_patches(patches: Tensor) -> Tensor:
    """Return patches (B, P, F) with mean 0 and variance 1 each (norm_pix)."""
    mean = patches.mean(dim=2, keepdim=True)
    return (patches - mean) / (patches.var(dim=2, keepdim=True) + 1e-6).sqrt()


class MAE(base.Method):
    """A masked autoencoder around a Vision Transformer; positions are fixed sines and cosines."""

    per_sample: ClassVar[bool] = True  # as many patches are hidden of every sample
    n_views = 1

    def __init__(self, encoder: Encoder, config: Config) -> None:
        super().__init__(encoder)
        self.config = config
        vit: Any = encoder.net
        self.patch: int = vit.patch_embed.patch_size[0]
        side = encoder.size // self.patch
        with torch.no_grad():
            vit.pos_embed.copy_(sin_cos_positions(side, encoder.dim))
        vit.pos_embed.requires_grad_(False)
        width = config.decoder_dim
        self.decoder_embed = nn.Linear(encoder.dim, width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.normal_(self.mask_token, std=0.02)
        self.register_buffer("decoder_positions", sin_cos_positions(side, width), persistent=False)
        self.decoder = nn.Sequential(
            *[transformer_block(width, config.decoder_heads) for _ in range(config.decoder_depth)],
            nn.LayerNorm(width),
        )
        self.predict = nn.Linear(width, self.patch**2 * encoder.channels)
        for module in [self.decoder_embed, self.predict, *self.decoder.modules()]:
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    decoder_positions: Tensor

    def encode(self, pixels: Tensor, visible: Tensor) -> Tensor:
        """Return tokens (B, 1 + V, D) of the visible patches alone, class token first."""
        vit: Any = self.encoder.net
        x = vit.patch_embed(self.encoder.normalise(pixels))
        x = x + vit.pos_embed[:, 1:]
        x = x.gather(1, visible[:, :, None].expand(-1, -1, x.shape[2]))
        first = vit.cls_token + vit.pos_embed[:, :1]
        x = torch.cat([first.expand(len(x), -1, -1), x], dim=1)
        out: Tensor = vit.norm(vit.blocks(x))
        return out

    def reconstruct(self, tokens: Tensor, visible: Tensor) -> Tensor:
        """Return predicted patches (B, P, F) from the tokens of the visible ones."""
        x = self.decoder_embed(tokens)
        n = len(self.decoder_positions) - 1
        patches = self.mask_token.to(x.dtype).expand(len(x), n, -1)
        place = visible[:, :, None].expand(-1, -1, x.shape[2])
        patches = patches.scatter(1, place, x[:, 1:])
        x = torch.cat([x[:, :1], patches], dim=1) + self.decoder_positions
        out: Tensor = self.predict(self.decoder(x)[:, 1:])
        return out

    def drawn(self, draws: Sequence[Draws]) -> tuple[Tensor, ...]:
        """Return which patches of the view stay visible, (B, V) int64."""
        n = len(self.decoder_positions) - 1
        return (visible_patches(draws[0].uniform(METHOD, n), self.config.mask_ratio),)

    def forward(self, batch: Batch) -> Tensor:
        """Return the reconstruction loss of one view."""
        (pixels,), (visible,) = batch.views, batch.drawn
        predicted = self.reconstruct(self.encode(pixels, visible), visible)
        target = patchify(self.encoder.normalise(pixels), self.patch)
        if self.config.norm_pix:
            target = normalised_patches(target)
        hidden = torch.ones(target.shape[:2], device=target.device)
        hidden = hidden.scatter(1, visible, 0.0)
        return averaged(reconstruction_loss(predicted, target, hidden))


def build(encoder: Encoder, config: Config, classes: int) -> MAE:
    """Return MAE around ``encoder``.

    Raises:
        UsageError: If the encoder has no patches, or the decoder's sizes do not fit together.
    """
    if not hasattr(encoder.net, "patch_embed"):
        raise UsageError("method mae needs a backbone with patches, such as vit_tiny.")
    width, heads = config.decoder_dim, config.decoder_heads
    if width % 4 or width % heads:
        raise UsageError(
            f"encoder.decoder_dim {width} must be a multiple of 4 and of decoder_heads {heads}."
        )
    if encoder.dim % 4:
        raise UsageError(
            f"method mae needs a width that 4 divides; this backbone's is {encoder.dim}."
        )
    return MAE(encoder, config)
