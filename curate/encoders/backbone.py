"""Encoders: timm's networks, any patch and image size, from pixels to the whole representation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from curate.errors import DataError, UsageError, unknown
from curate.runtime.files import read_json
from curate.runtime.options import option
from curate.runtime.text import short

SMALL = 64
"""Images up to this side get a stem without downsampling (He et al. 2016, section 4.2)."""
MEAN = {1: (0.449,), 3: (0.485, 0.456, 0.406)}
DEVIATION = {1: (0.226,), 3: (0.229, 0.224, 0.225)}
"""ImageNet's, so that an encoder brings its own normalisation and needs nobody else's."""


@dataclass(frozen=True)
class Transformer:
    """A Vision Transformer (Dosovitskiy et al. 2021): width, blocks, heads and default patch."""

    dim: int
    depth: int
    heads: int
    patch: int


@dataclass(frozen=True)
class Residual:
    """A residual network (He et al. 2016): kind of block, blocks of each of four stages, width."""

    bottleneck: bool
    layers: tuple[int, int, int, int]
    base_width: int = 64


@dataclass(frozen=True)
class Plain:
    """A stack of 3x3 convolutions, each with batch normalisation, for minutes on a CPU."""

    channels: tuple[int, ...]
    strides: tuple[int, ...]


BACKBONES: dict[str, Transformer | Residual | Plain] = {
    "vit_micro": Transformer(dim=64, depth=4, heads=4, patch=2),
    "vit_tiny": Transformer(dim=192, depth=12, heads=3, patch=16),
    "vit_small": Transformer(dim=384, depth=12, heads=6, patch=16),
    "vit_base": Transformer(dim=768, depth=12, heads=12, patch=16),
    "convnet": Plain(channels=(32, 32, 64, 64), strides=(2, 1, 2, 1)),
    "resnet18": Residual(bottleneck=False, layers=(2, 2, 2, 2)),
    "resnet50": Residual(bottleneck=True, layers=(3, 4, 6, 3)),
    "wide_resnet50_2": Residual(bottleneck=True, layers=(3, 4, 6, 3), base_width=128),
}
"""Shapes by name."""


class Encoder(nn.Module):
    """An encoder: images to representations, with normalisation inside.

    Attributes:
        size: Side of its images in pixels.
        channels: 1 or 3.
        dim: D, length of one token.
        tokens: T, tokens of one image: class token and patches, or cells of the last feature map.
        patch: Side of a patch in pixels, which divides the side of every image; 1 without patches.
        has_class_token: Whether the first token is one for the whole image.
    """

    def __init__(self, name: str, *, size: int, channels: int, patch: int | None = None) -> None:
        """Make an encoder with random weights.

        Raises:
            UsageError: For an unknown backbone, or a patch that does not fit the size.
        """
        super().__init__()
        check(name, size=size, patch=patch)
        shape = BACKBONES[name]
        self.size, self.channels = size, channels
        self.net: nn.Module
        self.layout = torch.contiguous_format
        self.patch, self.has_class_token = 1, isinstance(shape, Transformer)
        if isinstance(shape, Transformer):
            self.patch = patch or shape.patch
            self.net = _transformer(shape, size, channels, self.patch)
            self.dim, self.tokens = shape.dim, 1 + (size // self.patch) ** 2
        else:
            # Convolutions run about twice as fast in this layout, on CPU and on CUDA.
            self.layout = torch.channels_last
            if isinstance(shape, Plain):
                net, side, self.dim = _plain(shape, size, channels)
            else:
                net, side, self.dim = _residual(shape, size, channels)
            self.net, self.tokens = net.to(memory_format=self.layout), side * side
        mean, deviation = torch.tensor(MEAN[channels]), torch.tensor(DEVIATION[channels])
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("deviation", deviation.view(1, -1, 1, 1), persistent=False)

    mean: Tensor
    deviation: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return representations (B, T, D) float32 of images (B, C, H, W) uint8."""
        return self.forward_float(images.float() / 255)

    def forward_float(self, pixels: Tensor) -> Tensor:
        """Return representations (B, T, D) of pixels (B, C, H, W) float in [0, 1].

        Square images of another side than ``size`` are taken as well; T then is another, and the
        positions of a Vision Transformer are interpolated.
        """
        x = self.normalise(pixels)
        if self.has_class_token and x.shape[3] != self.size:
            features = _tokens_of_another_side(self.net, x)
        else:
            features = self.net.forward_features(x)  # type: ignore[operator]
        if features.ndim == 4:
            features = features.flatten(2).transpose(1, 2)
        return features.float()

    def normalise(self, pixels: Tensor) -> Tensor:
        """Return pixels (B, C, H, W) in [0, 1] as the network takes them."""
        x = (pixels - self.mean) / self.deviation
        return x.contiguous(memory_format=self.layout)


def pool(tokens: Tensor) -> Tensor:
    """Return the pooled representation (B, D) of tokens (B, T, D): their mean."""
    return tokens.mean(dim=1)


def computed_in(precision: str, device: str) -> str:
    """Return what a recipe's ``precision`` means on ``cpu`` or ``cuda``, its own name there."""
    if precision == "auto":
        return "bfloat16" if device == "cuda" else "float32"
    return "float32" if (precision, device) == ("tf32", "cpu") else precision


def allow_tf32(precision: str) -> None:
    """Let products of float32 on CUDA lose bits where a recipe's ``precision`` says so, only there.

    PyTorch's convolutions lose them unasked. It holds for this process until it is asked again.
    """
    kind = "tf32" if precision == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = kind
    torch.backends.cudnn.conv.fp32_precision = kind  # type: ignore[attr-defined]


def in_bfloat16(precision: str, device: str) -> bool:
    """Return whether a recipe's ``precision`` means bfloat16 on ``cpu`` or ``cuda``."""
    return computed_in(precision, device) == "bfloat16"


def check(name: str, *, size: int, patch: int | None) -> None:
    """Check that a backbone exists and that its patch fits the image size.

    Raises:
        UsageError: If not; the nearest name is offered.
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    shape = BACKBONES[name]
    if not isinstance(shape, Transformer):
        if patch is not None:
            raise UsageError(f"encoder.patch: {name} has no patches; leave it out.")
        return
    side = patch or shape.patch
    if size % side:
        raise UsageError(
            f"encoder.patch {side} does not divide data.size {size}; "
            f"use {option(overrides={'encoder.patch': math.gcd(size, side)})} or another size."
        )


def _transformer(shape: Transformer, size: int, channels: int, patch: int) -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=size,
        patch_size=patch,
        in_chans=channels,
        num_classes=0,
        global_pool="",
        embed_dim=shape.dim,
        depth=shape.depth,
        num_heads=shape.heads,
    )


def _tokens_of_another_side(vit: Any, x: Tensor) -> Tensor:
    """Return tokens (B, T, D) of images (B, C, S, S) of a side that the network is not made for.

    Positions are interpolated as in DINO (Caron et al. 2021), bicubically.
    """
    from timm.layers.pos_embed import resample_abs_pos_embed

    patches = vit.patch_embed.proj(x)
    positions = resample_abs_pos_embed(
        vit.pos_embed, new_size=list(patches.shape[2:]), old_size=list(vit.patch_embed.grid_size)
    )
    first = vit.cls_token.expand(len(x), -1, -1)
    tokens = torch.cat([first, patches.flatten(2).transpose(1, 2)], dim=1) + positions
    out: Tensor = vit.norm(vit.blocks(tokens))
    return out


def transformer_block(dim: int, heads: int) -> nn.Module:
    """Return one block of a Vision Transformer, (B, T, dim) to (B, T, dim)."""
    from timm.models.vision_transformer import Block

    block: nn.Module = Block(dim, heads, qkv_bias=True)
    return block


def _residual(shape: Residual, size: int, channels: int) -> tuple[nn.Module, int, int]:
    """Return the network, the side of its last feature map, and its depth."""
    from timm.models.resnet import BasicBlock, Bottleneck, ResNet

    block: Any = Bottleneck if shape.bottleneck else BasicBlock
    net: Any = ResNet(
        block,
        shape.layers,
        num_classes=0,
        in_chans=channels,
        global_pool="",
        base_width=shape.base_width,
    )
    side = size
    if size <= SMALL:
        stem = net.conv1.out_channels
        net.conv1 = nn.Conv2d(channels, stem, kernel_size=3, padding=1, bias=False)
        nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        net.maxpool = nn.Identity()
    else:
        side = -(-size // 4)
    for _ in shape.layers[1:]:
        side = -(-side // 2)
    return net, side, net.num_features


class _Stack(nn.Sequential):
    """Layers in a row, under the name by which timm's networks give their features."""

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map (B, C, H, W)."""
        out: Tensor = self(x)
        return out


def _plain(shape: Plain, size: int, channels: int) -> tuple[nn.Module, int, int]:
    """Return the network, the side of its last feature map, and its depth."""
    layers: list[nn.Module] = []
    side = size
    for width, stride in zip(shape.channels, shape.strides, strict=True):
        convolution = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        channels, side = width, -(-side // stride)
    return _Stack(*layers), side, channels


LARGEST = 2**12
"""Side of the largest images that a stored encoder may be for."""


def _shape_of(config: Any) -> dict[str, Any]:
    """Return the settings of a stored encoder, which anybody may have written.

    Raises:
        ValueError: If one of them is none.
    """
    if not isinstance(config, dict):
        raise ValueError("config.json has no section 'encoder'")
    kinds = {"backbone": str, "size": int, "channels": int, "patch": int}
    for key, kind in kinds.items():
        value = config.get(key)
        if value is None and key == "patch":
            continue
        small = kind is int and type(value) is int and 1 <= value <= LARGEST
        if not small and not (kind is str and isinstance(value, str)):
            raise ValueError(f"config.json: encoder.{key} is {short(value)}")
    if config["channels"] not in MEAN:
        raise ValueError(f"config.json: encoder.channels is {short(config['channels'])}")
    return {key: config.get(key) for key in kinds}


def _as_stored(config: Any) -> Encoder:
    """Return the network of a stored encoder, without its weights.

    Raises:
        ValueError: If a setting is none.
        UsageError: If there is no such backbone, or it cannot have that size.
    """
    if isinstance(config, dict) and "preprocessing" in config:
        # An encoder that was trained elsewhere; those modules stand on this one.
        from curate.encoders.pretrained import load_foreign

        return load_foreign(config.get("backbone"), config["preprocessing"], config.get("patch"))
    shape = _shape_of(config)
    return Encoder(
        shape["backbone"], size=shape["size"], channels=shape["channels"], patch=shape["patch"]
    )


def load_encoder(folder: Path, *, device: str = "cpu") -> Encoder:
    """Return a trained encoder in evaluation mode from ``config.json`` and ``weights.safetensors``.

    Raises:
        DataError: If a file is missing or does not fit the other.
    """
    config = read_json(folder / "config.json").get("encoder", {})
    try:
        encoder = _as_stored(config)
        encoder.load_state_dict(load_file(folder / "weights.safetensors"))
    except (OSError, KeyError, RuntimeError, ValueError, UsageError) as error:
        line = (str(error).splitlines() or [""])[0].rstrip(".")
        raise DataError(f"cannot load the encoder in {folder}: {line}.") from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise DataError(f"{folder / 'weights.safetensors'} is damaged: {error}.") from error
    return encoder.to(device).eval().requires_grad_(False)
