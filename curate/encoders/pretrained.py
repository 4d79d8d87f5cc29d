"""Pretrained networks of timm, as spaces to look for neighbours in."""

from __future__ import annotations

import difflib

import torch
from torch import Tensor, nn

from curate.errors import ResourceError, UsageError


class Pretrained(nn.Module):
    """A pretrained network of timm: images to one representation each, with its own normalisation.

    Attributes:
        dim: D, length of a representation.
    """

    def __init__(self, net: nn.Module, *, side: int, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.net, self.side = net, side
        self.dim = int(net.num_features)  # type: ignore[arg-type]
        self.register_buffer("mean", mean.view(1, -1, 1, 1), persistent=False)
        self.register_buffer("deviation", deviation.view(1, -1, 1, 1), persistent=False)

    mean: Tensor
    deviation: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Return representations (B, 1, D) float32 of images (B, C, H, W) uint8; grey becomes RGB.

        Images are brought to the side that the network was trained at.
        """
        pixels = (images.float() / 255).expand(-1, len(self.mean.flatten()), -1, -1)
        if pixels.shape[-1] != self.side:
            pixels = nn.functional.interpolate(
                pixels, (self.side, self.side), mode="bicubic", antialias=True
            )
        out: Tensor = self.net((pixels - self.mean) / self.deviation)
        return out.float()[:, None]


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


def pretrained(name: str, *, random: bool = False, device: str = "cpu") -> Pretrained:
    """Return a network of timm in evaluation mode; its weights may be downloaded.

    Args:
        name: As timm has it.
        random: Whether it has random weights, always the same, instead of pretrained ones.
        device: ``cpu`` or ``cuda``.

    Raises:
        UsageError: If timm has no network of this name.
        ResourceError: If there are no weights of it, or they cannot be had.
    """
    import timm
    from timm.data.config import resolve_data_config

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
            "Without a network use an encoder of the run, or embeddings in a file."
        ) from error
    config = resolve_data_config({}, model=net)
    network = Pretrained(
        net,
        side=int(config["input_size"][-1]),
        mean=torch.tensor(config["mean"]),
        deviation=torch.tensor(config["std"]),
    )
    return network.to(device).eval().requires_grad_(False)
