"""Encoders that were trained elsewhere: timm's networks and files of weights, as they want images.

An encoder of our own is a network and the pixels that all have in common. One from elsewhere brings
a side, a mean, a deviation and an interpolation of its own: its ``Preprocessing``.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from curate.encoders import backbone as own
from curate.encoders.backbone import DEVIATION, MEAN, Encoder
from curate.encoders.state_dicts import Matched, check_fit, match, read_tensors
from curate.errors import DataError, ResourceError, UsageError
from curate.runtime.options import option
from curate.runtime.text import short

TIMM, TIMM_RANDOM = "timm:", "timm-random:"
"""Networks of timm with pretrained weights, and with random ones, for tests and controls."""
INTERPOLATIONS = ("bicubic", "bilinear", "nearest")
"""How images may be brought to an encoder's side."""
LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue (ITU-R 601), where an encoder takes grey and images have colour."""


@dataclass(frozen=True)
class Preprocessing:
    """How a network wants its images.

    Attributes:
        size: Their side in pixels.
        mean: Of each channel, in [0, 1], which is taken off.
        deviation: Of each channel, by which the rest is divided.
        interpolation: How images of another side are brought to it, one of ``INTERPOLATIONS``.
    """

    size: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    interpolation: str = "bicubic"

    @property
    def channels(self) -> int:
        """1 or 3."""
        return len(self.mean)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, as ``of`` reads it."""
        return {**dataclasses.asdict(self), "mean": [*self.mean], "deviation": [*self.deviation]}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Preprocessing:
        """Return what ``to_json`` gave, and anybody may have written.

        Raises:
            ValueError: If it is no preprocessing.
        """
        size, kind = content.get("size"), content.get("interpolation")
        mean, deviation = (content.get(key) for key in ("mean", "deviation"))
        if type(size) is not int or not 1 <= size <= own.LARGEST:
            raise ValueError(f"size is {short(size)}")
        if kind not in INTERPOLATIONS:
            raise ValueError(f"interpolation is {short(kind)}, not {', '.join(INTERPOLATIONS)}")
        for name, values in (("mean", mean), ("deviation", deviation)):
            if (
                not isinstance(values, list | tuple)
                or len(values) not in MEAN
                or not all(isinstance(v, int | float) and math.isfinite(v) for v in values)
                or (name == "deviation" and min(values) <= 0)
            ):
                raise ValueError(f"{name} is {short(values)}, not 1 or 3 numbers")
        assert mean is not None and deviation is not None
        if len(mean) != len(deviation):
            raise ValueError(f"mean has {len(mean)} numbers and deviation {len(deviation)}")
        return cls(size, tuple(map(float, mean)), tuple(map(float, deviation)), str(kind))


@dataclass(frozen=True)
class Given:
    """What a user says of a network's images; None is what the network says itself.

    Attributes:
        size: As in ``Preprocessing``, and so are ``mean``, ``deviation`` and ``interpolation``.
        prefix: What the names of its weights begin with in their file.
    """

    size: int | None = None
    mean: Sequence[float] | None = None
    deviation: Sequence[float] | None = None
    interpolation: str | None = None
    prefix: str | None = None


class Foreign(Encoder):
    """An encoder trained elsewhere: images to representations, by its own preprocessing.

    Attributes:
        backbone: ``timm:NAME``, or a backbone of ours.
        preprocessing: How it wants images; those of another side are brought to its own.
        pooling: ``tokens`` gives whole representations (B, T, D), as our own encoders do; ``own``
            what the network itself makes of them, (B, 1, D): a class token or a mean.
    """

    def __init__(
        self,
        net: nn.Module,
        *,
        backbone: str,
        preprocessing: Preprocessing,
        pooling: Literal["tokens", "own"] = "tokens",
    ) -> None:
        """Take a network, whose outputs are looked at once."""
        # Not Encoder's own, which makes a network.
        nn.Module.__init__(self)
        self.net, self.backbone, self.preprocessing = net.eval(), backbone, preprocessing
        self.size, self.channels, self.pooling = (
            preprocessing.size,
            preprocessing.channels,
            pooling,
        )
        cells: Any = getattr(net, "patch_embed", None)
        self.patch, self.has_class_token = 1 if cells is None else cells.patch_size[0], False
        self.layout = torch.channels_last if cells is None else torch.contiguous_format
        net.to(memory_format=self.layout)
        for name in ("mean", "deviation"):
            values = torch.tensor(getattr(preprocessing, name)).view(1, -1, 1, 1)
            self.register_buffer(name, values, persistent=False)
        with torch.no_grad():
            shape = self.forward_float(torch.zeros(1, self.channels, self.size, self.size)).shape
        self.tokens, self.dim = shape[1], shape[2]

    def forward_float(self, pixels: Tensor) -> Tensor:
        """Return representations (B, T, D) of pixels (B, C, H, W) in [0, 1], brought to its side.

        Grey becomes RGB where the network takes that, and colour grey.
        """
        if pixels.shape[1] > self.channels:
            luma = torch.tensor(LUMA, device=pixels.device).view(1, 3, 1, 1)
            pixels = (pixels * luma).sum(dim=1, keepdim=True)
        pixels = pixels.expand(-1, self.channels, -1, -1)
        if pixels.shape[-1] != self.size:
            kind = self.preprocessing.interpolation
            smooth: dict[str, Any] = {} if kind == "nearest" else {"antialias": True}
            side = (self.size, self.size)
            pixels = nn.functional.interpolate(pixels, side, mode=kind, **smooth)
            if kind == "bicubic":
                # It overshoots; images that come from files never do.
                pixels = pixels.clamp(0, 1)
        x = self.normalise(pixels)
        if self.pooling == "own":
            return _as_tokens(self.net(x), self.net).float().mean(dim=1, keepdim=True)
        return _as_tokens(self.net.forward_features(x), self.net).float()  # type: ignore[operator]

    def about(self) -> dict[str, Any]:
        """Return what ``config.json`` says of the encoder, from which ``load_encoder`` makes it."""
        patch = self.patch if hasattr(self.net, "patch_embed") else None
        look = self.preprocessing.to_json()
        return {"backbone": self.backbone, "patch": patch, "preprocessing": look}


def _as_tokens(features: Tensor, net: nn.Module) -> Tensor:
    """Return what a network gives, (B, D), (B, T, D) or a feature map, as (B, T, D)."""
    if features.ndim == 2:
        return features[:, None]
    if features.ndim == 4:
        if str(getattr(net, "output_fmt", "NCHW")).endswith("NHWC"):
            return features.flatten(1, 2)
        return features.flatten(2).transpose(1, 2)
    return features


def check_pretrained(name: str) -> None:
    """Check that timm has a network of this name.

    Raises:
        UsageError: If not; the nearest name is offered.
    """
    import timm

    if not timm.is_model(name.partition(".")[0]):
        near = difflib.get_close_matches(name, timm.list_models(), n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"timm has no network {name!r}.{hint} timm.list_pretrained() names them.")


def pretrained(
    name: str,
    *,
    random: bool = False,
    given: Given = Given(),
    pooling: Literal["tokens", "own"] = "own",
) -> Foreign:
    """Return a network of timm in evaluation mode, on the CPU; its weights may be downloaded.

    Args:
        name: As timm has it.
        random: Whether it has random weights, always the same, instead of pretrained ones.
        given: How it wants images, where that is not as timm says.
        pooling: As in ``Foreign``.

    Raises:
        UsageError: If timm has no network of this name, or what is given does not fit it.
        ResourceError: If there are no weights of it, or they cannot be had.
    """
    import timm

    check_pretrained(name)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            net = timm.create_model(name, pretrained=not random, num_classes=0)
    except Exception as error:
        # Whatever timm, the hub or the network between raise: there are no weights.
        why = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]
        raise ResourceError(
            f"pretrained weights of timm:{name} cannot be had ({why}); they are downloaded once. "
            "Without a network use weights or embeddings in a file."
        ) from error
    return _finished(net, f"{TIMM}{name}", _preprocessing(net, given, 3), pooling)


def from_file(
    path: Path,
    backbone: str,
    *,
    given: Given = Given(),
    pooling: Literal["tokens", "own"] = "tokens",
) -> tuple[Foreign, Matched]:
    """Return a network with the weights of a file, in evaluation mode, on the CPU.

    Args:
        path: Safetensors, or a checkpoint of PyTorch's; names of timm, torchvision, lightly and
            Hugging Face are known.
        backbone: ``timm:NAME``, or a backbone of ours. Patch, channels and, where positions are
            learned, the side of images are told by the weights.
        given: How it wants images, where that is not as timm says or as our own networks do.
        pooling: As in ``Foreign``.

    Returns:
        The network, and what of the file it has.

    Raises:
        UsageError: If there is no such file or backbone, or what is given does not fit it.
        DataError: If the file is damaged, or its weights are not those of the backbone.
    """
    if not backbone.startswith(TIMM) and backbone not in own.BACKBONES:
        raise UsageError(
            f"backbone {backbone!r}: say timm:NAME, or one of {', '.join(own.BACKBONES)}."
        )
    if backbone.startswith(TIMM):
        check_pretrained(backbone.removeprefix(TIMM))
    tensors = read_tensors(path)
    names = _network(backbone, None, None, None).state_dict()
    matched = match(tensors, names, path=path, prefix=given.prefix)
    channels, patch, size = _shape(matched.tensors)
    if channels not in MEAN:
        raise DataError(f"{path} is of a network for images of {channels} channels, not 1 or 3.")
    net = _network(backbone, given.size or size, channels, patch)
    weights = net.state_dict()
    if given.size and size not in (None, given.size):
        matched.tensors["pos_embed"] = _resampled(matched.tensors["pos_embed"], net)
    check_fit(matched, weights, path=path, backbone=backbone)
    net.load_state_dict(matched.tensors, strict=False)
    look = _preprocessing(net, given, channels, side=size)
    return _finished(net, backbone, look, pooling), matched


def read_encoder(
    name: str,
    backbone: str | None = None,
    *,
    given: Given = Given(),
    pooling: Literal["tokens", "own"] = "own",
) -> tuple[Foreign, tuple[str, ...]]:
    """Return an encoder by the name that a user gives it, in evaluation mode, on the CPU.

    Args:
        name: ``timm:NAME``, ``timm-random:NAME``, or a file of weights.
        backbone: The network of a file, as in ``from_file``.
        given: How it wants images.
        pooling: As in ``Foreign``.

    Returns:
        The encoder, and the names in its file that are no part of it.

    Raises:
        UsageError: If there is nothing of that name, or no backbone is said for a file.
        DataError: If the file is damaged, or its weights are not those of the backbone.
        ResourceError: If pretrained weights cannot be had.
    """
    if name.startswith((TIMM, TIMM_RANDOM)):
        kind, _, inside = name.partition(":")
        random = f"{kind}:" == TIMM_RANDOM
        return pretrained(inside, random=random, given=given, pooling=pooling), ()
    if backbone is None:
        if not Path(name).is_file():
            raise UsageError(f"there is no file {name}, and {TIMM}NAME it is not either.")
        raise UsageError(
            f"say of which network {name} has the weights, such as "
            f"{option(backbone='timm:resnet50')}."
        )
    network, matched = from_file(Path(name), backbone, given=given, pooling=pooling)
    return network, matched.left_over


def load_foreign(backbone: Any, preprocessing: Any, patch: Any) -> Foreign:
    """Return the network of a stored encoder from elsewhere, without its weights.

    Raises:
        ValueError: If these are no settings of one.
        UsageError: If there is no such backbone.
    """
    if not isinstance(backbone, str) or not isinstance(preprocessing, dict):
        raise ValueError("config.json names no backbone")
    if patch is not None and type(patch) is not int:
        raise ValueError(f"config.json: encoder.patch is {short(patch)}")
    look = Preprocessing.of(preprocessing)
    if backbone.startswith(TIMM):
        check_pretrained(backbone.removeprefix(TIMM))
    net = _network(backbone, look.size, look.channels, patch)
    return Foreign(net, backbone=backbone, preprocessing=look)


def _finished(
    net: nn.Module, backbone: str, look: Preprocessing, pooling: Literal["tokens", "own"]
) -> Foreign:
    """Return a network in evaluation mode.

    Raises:
        UsageError: If it does not take images of that side.
    """
    try:
        network = Foreign(net, backbone=backbone, preprocessing=look, pooling=pooling)
    except Exception as error:  # whatever a network of timm raises on images that are too small
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"{backbone} takes no images of {look.size} pixels: {line}.") from error
    return network.eval().requires_grad_(False)


def _network(backbone: str, size: int | None, channels: int | None, patch: int | None) -> nn.Module:
    """Return the bare network of a backbone, with random weights; None leaves what is usual.

    Raises:
        UsageError: If there is no such backbone, or it cannot have that size or patch.
    """
    import timm

    with torch.random.fork_rng(devices=[]):
        if not backbone.startswith(TIMM):
            side = size or (patch or 16) * 2
            return Encoder(backbone, size=side, channels=channels or 3, patch=patch).net
        name = backbone.removeprefix(TIMM)
        plain: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
        arguments: dict[str, Any] = {}
        if channels not in (None, plain.pretrained_cfg["input_size"][0]):  # type: ignore[index]
            arguments["in_chans"] = channels
        cells = getattr(plain, "patch_embed", None)
        if cells is not None and patch not in (None, cells.patch_size[0]):
            arguments["patch_size"] = patch
        if cells is not None and size not in (None, (getattr(cells, "img_size", None) or [0])[0]):
            arguments["img_size"] = size
        if not arguments:
            return plain
        try:
            changed: nn.Module = timm.create_model(
                name, pretrained=False, num_classes=0, **arguments
            )
        except Exception as error:  # each network of timm refuses in its own way
            what = ", ".join(f"{key} {value}" for key, value in arguments.items())
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise UsageError(f"{backbone} cannot be had with {what}: {line}.") from error
        return changed


def _shape(tensors: Mapping[str, Tensor]) -> tuple[int, int | None, int | None]:
    """Return channels, side of a patch, and side of an image; None where weights do not tell."""
    cells = tensors.get("patch_embed.proj.weight")
    if cells is None:
        first = next((t for t in tensors.values() if t.ndim == 4), None)
        # The first convolution of a residual network, by name; of others the first by name.
        first = tensors.get("conv1.weight", first)
        return (3 if first is None else first.shape[1]), None, None
    patch, positions = int(cells.shape[-1]), tensors.get("pos_embed")
    if positions is None or positions.ndim != 3:
        return int(cells.shape[1]), patch, None
    # A class token, and others beside it, have positions or none: the rest is a square.
    side = math.isqrt(positions.shape[1])
    return int(cells.shape[1]), patch, side * patch


def _resampled(positions: Tensor, net: nn.Module) -> Tensor:
    """Return learned positions for another side, interpolated as timm does."""
    from timm.layers.pos_embed import resample_abs_pos_embed

    first = 0 if getattr(net, "no_embed_class", False) else int(net.num_prefix_tokens)  # type: ignore[arg-type]
    cells: Any = net.patch_embed
    out: Tensor = resample_abs_pos_embed(
        positions.float(), new_size=list(cells.grid_size), num_prefix_tokens=first
    )
    return out


def _preprocessing(
    net: nn.Module, given: Given, channels: int, *, side: int | None = None
) -> Preprocessing:
    """Return how a network wants images: as given, else as timm says, else as our own do.

    Args:
        net: The network.
        given: What is given.
        channels: That it takes.
        side: Of images, as its weights tell it.

    Raises:
        UsageError: If what is given is none.
    """
    from timm.data.config import resolve_data_config

    if hasattr(net, "pretrained_cfg"):
        usual = resolve_data_config({}, model=net)
        size, mean, deviation = int(usual["input_size"][-1]), usual["mean"], usual["std"]
        kind = str(usual["interpolation"])
    else:
        size, mean, deviation, kind = 0, MEAN[channels], DEVIATION[channels], "bicubic"
    if channels == 1 and len(mean) == 3:
        mean, deviation = ((sum(values) / 3,) for values in (mean, deviation))
    content = {
        "size": given.size or side or size,
        "mean": given.mean or mean,
        "deviation": given.deviation or deviation,
        "interpolation": given.interpolation or (kind if kind in INTERPOLATIONS else "bicubic"),
    }
    if not content["size"]:
        raise UsageError(
            f"the weights do not tell the side of their images; say it: {option(size='N')}"
        )
    try:
        look = Preprocessing.of(content)
    except ValueError as error:
        raise UsageError(f"preprocessing: {error}.") from error
    if look.channels != channels:
        raise UsageError(
            f"the network takes {channels} channels; mean has {look.channels} numbers."
        )
    return look
