"""A decoder upon an encoder: feature maps of four sizes, UPerNet or UNet, one map at full size."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from curate.encoders.backbone import Encoder
from curate.errors import DataError, ResourceError
from curate.evaluation.config import DenseConfig

LEVELS = 4
"""Feature maps that a decoder takes."""
NO_MAP = "this encoder gives one vector an image, and no map to decode; probe it on classes."
INSTALL = (
    "segmentation and depth probes need segmentation-models-pytorch, which is not installed: "
    "pip install 'curate[seg]'."
)


def check_installed() -> None:
    """Check that the decoders are there.

    Raises:
        ResourceError: If not; the message says what to install.
    """
    try:
        import segmentation_models_pytorch  # noqa: F401
    except ImportError as error:
        raise ResourceError(INSTALL) from error


class Dense(nn.Module):
    """An encoder with a decoder: images (B, C, S, S) in [0, 1] to maps (B, outputs, S, S).

    Attributes:
        encoder: The encoder; frozen, it stays in evaluation mode.
        frozen: Whether it is.
    """

    def __init__(self, encoder: Encoder, config: DenseConfig, outputs: int) -> None:
        """Put a decoder with random weights upon an encoder.

        Raises:
            DataError: If the encoder has no feature maps.
            ResourceError: If the decoders are not installed.
        """
        super().__init__()
        check_installed()
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
        from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

        self.encoder, self.frozen = encoder, config.frozen
        self.upernet = config.decoder == "upernet"
        encoder.requires_grad_(not config.frozen)
        with torch.no_grad():
            device = next(encoder.parameters()).device
            example = torch.zeros(1, encoder.channels, encoder.size, encoder.size, device=device)
            maps = feature_maps(encoder.eval(), example)
        self.pyramid: nn.Module
        if is_grid(encoder):
            self.pyramid = SimplePyramid(maps[-1].shape[1], encoder.size / maps[-1].shape[-1])
        else:
            self.pyramid = Extended(len(maps))
        channels = self.pyramid.to(device).eval()(maps)
        widths = [channel_map.shape[1] for channel_map in channels]
        decoder: Any
        if self.upernet:
            # Of the five maps that it takes it leaves the first two out.
            decoder = UPerNetDecoder((encoder.channels, 0, *widths), 5, config.width)
            last = config.width
        else:
            steps = [max(8, config.width >> k) for k in range(LEVELS)]
            decoder = UnetDecoder((encoder.channels, *widths), steps, LEVELS)
            last = steps[-1]
        self.decoder = decoder
        self.head = nn.Conv2d(last, outputs, 3, padding=1)
        self.train()

    def train(self, mode: bool = True) -> Dense:
        """Set the mode of all but a frozen encoder."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Return maps (B, outputs, S, S) of pixels (B, C, S, S) in [0, 1]."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            levels = feature_maps(self.encoder, pixels)
        maps = self.pyramid(levels)
        if self.upernet:
            maps = [pixels, *maps]
        out: Tensor = self.head(self.decoder([pixels, *maps]))
        if out.shape[-1] == pixels.shape[-1]:
            return out
        return nn.functional.interpolate(
            out, size=pixels.shape[-2:], mode="bilinear", align_corners=False
        )


def is_grid(encoder: Encoder) -> bool:
    """Return whether an encoder has one size of maps, the grid of its patches."""
    staged = hasattr(encoder.net, "layers") or hasattr(encoder.net, "stages")
    return hasattr(encoder.net, "patch_embed") and not staged


def feature_maps(encoder: Encoder, pixels: Tensor) -> list[Tensor]:
    """Return an encoder's feature maps (B, D, h, w), the finest first, one for each size.

    A network with stages has one for each, of which the last four sizes are taken; a Vision
    Transformer has the grid of its last tokens alone.

    Raises:
        DataError: If the encoder gives one vector an image.
    """
    net: Any = encoder.net
    if is_grid(encoder):
        tokens = encoder.forward_float(pixels)
        side = pixels.shape[-1] // encoder.patch
        # A class token and registers come before the patches.
        before = tokens.shape[1] - side * side
        if before < 0:
            raise DataError(NO_MAP)
        grid = tokens[:, before:]
        return [grid.transpose(1, 2).reshape(len(grid), -1, side, side)]
    x = encoder.normalise(pixels)
    if isinstance(net, nn.Sequential):
        every = []
        for layer in net:
            x = layer(x)
            every.append(x)
    elif hasattr(net, "forward_intermediates"):
        every = net.forward_intermediates(x, intermediates_only=True, output_fmt="NCHW")
    else:
        every = [net.forward_features(x)]
    by_side = {feature_map.shape[-1]: feature_map for feature_map in every if feature_map.ndim == 4}
    if not by_side:
        raise DataError(NO_MAP)
    return [feature_map.float() for feature_map in by_side.values()][-LEVELS:]


class SimplePyramid(nn.Module):
    """The simple feature pyramid of a plain transformer (Li et al. 2022, ViTDet, section 3).

    Maps of all sizes are made from the last one alone: up to four times as fine by transposed
    convolutions, though never finer than the image, and coarser by pooling; each then has a 1x1 and
    a 3x3 convolution with layer norm.
    """

    def __init__(self, dim: int, stride: float) -> None:
        super().__init__()
        finest = min(2, int(math.log2(max(1.0, stride))))
        self.levels = nn.ModuleList()
        for level in range(LEVELS):
            up = finest - level
            layers: list[nn.Module] = []
            width = dim
            for step in range(up):
                layers += [nn.GELU()] if step else []
                layers += [nn.ConvTranspose2d(width, width // 2, 2, stride=2)]
                width //= 2
                layers += [ChannelNorm(width)] if step + 1 < up else []
            if up < 0:
                layers.append(nn.MaxPool2d(2**-up, ceil_mode=True))
            layers += [nn.Conv2d(width, dim, 1, bias=False), ChannelNorm(dim)]
            layers += [nn.Conv2d(dim, dim, 3, padding=1, bias=False), ChannelNorm(dim)]
            self.levels.append(nn.Sequential(*layers))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return four maps (B, D, h, w), the finest first, of the last one."""
        return [level(maps[-1]) for level in self.levels]


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each place, (B, D, h, w)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Return the map of the same shape, normalised."""
        out: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out


class Extended(nn.Module):
    """A network's own maps, and behind the last one what is pooled of it, four in all."""

    def __init__(self, n_maps: int) -> None:
        super().__init__()
        self.n_maps = n_maps

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return four maps (B, D, h, w), the finest first."""
        out = list(maps)
        for _ in range(LEVELS - self.n_maps):
            out.append(nn.functional.max_pool2d(out[-1], 2, ceil_mode=True))
        return out
