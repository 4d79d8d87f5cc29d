"""Views of a batch, every sample with its own parameters, in a few dense operations.

Crop, resize and flip are two matrix products a sample (rows, then columns), and so is blur; nothing
loops over samples. Parameters are torchvision's: a crop is what ``RandomResizedCrop`` would draw,
and each operation equals torchvision's functional one on the same parameters.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from curate.encoders.views.draws import Draws
from curate.encoders.views.spec import ViewSpec
from curate.runtime import randomness

TRIES = 10
"""Crops that are drawn before the whole image is taken, as in torchvision."""
ORDERS = tuple(itertools.permutations(range(4)))
LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in torchvision's greyscale."""

CROP_AREA, CROP_RATIO, CROP_TOP, CROP_LEFT = 0, 10, 20, 21
FLIP, JITTER, GRAYSCALE, BLUR, SIGMA, SOLARIZE = 22, 23, 24, 25, 26, 27
FACTORS = 28
SHIFT = 32
MASK = 64
NOISE = 1 << 16
METHOD = 1 << 31
"""Slots of a view's draws; those from ``METHOD`` on are for methods, such as MAE's masks."""


def augment(pixels: Tensor, spec: ViewSpec, *, key: int, keys: Tensor, view: int) -> Tensor:
    """Return one random view of each image.

    A view is a pure function of (key, word of the sample, view): the same whatever the batch.

    Args:
        pixels: (B, C, H, W) uint8.
        spec: Which operations.
        key: 64-bit key from ``randomness.stream``.
        keys: (B,) int64, one for each sample (the bits of ``randomness.uid_keys``).
        view: Number of the view, 0 to 2^32 - 1.

    Returns:
        (B, C, H, W) float32 in [0, 1]; H = W = ``spec.side`` where it is given.
    """
    return view_of(pixels.float() / 255, spec, Draws.of(key, keys, view))


def view_of(x: Tensor, spec: ViewSpec, draws: Draws) -> Tensor:
    """Return the view of images (B, C, H, W) float32 in [0, 1] that some draws make, as augment."""
    flipped = draws.uniform(FLIP, 1)[:, 0] < spec.flip if spec.flip else None
    if spec.crop is not None:
        x = resized_crop(x, *crop_boxes(draws, spec, *x.shape[2:]), flipped, spec.side)
    elif spec.side is not None and x.shape[2:] != (spec.side, spec.side):
        x = resized_crop(x, *whole_boxes(x), flipped, spec.side)
    elif flipped is not None:
        x = torch.where(_each(flipped), x.flip(-1), x)
    if spec.shift:
        x = shifted(x, draws.uniform(SHIFT, 2), spec.shift)
    if spec.rotate:
        x = torch.rot90(x, spec.rotate // 90, (2, 3))
    if spec.jitter:
        mask = draws.uniform(JITTER, 1)[:, 0] < spec.jitter
        changed = jitter(x, draws.uniform(FACTORS, 4), spec, order_of(draws))
        x = torch.where(_each(mask), changed, x)
    if spec.grayscale:
        mask = draws.uniform(GRAYSCALE, 1)[:, 0] < spec.grayscale
        x = torch.where(_each(mask), grayscale(x), x)
    if spec.blur:
        mask = draws.uniform(BLUR, 1)[:, 0] < spec.blur
        low, high = spec.blur_sigma
        sigma = low + (high - low) * draws.uniform(SIGMA, 1)[:, 0]
        x = torch.where(_each(mask), blur(x, sigma), x)
    if spec.solarize:
        mask = draws.uniform(SOLARIZE, 1)[:, 0] < spec.solarize
        x = torch.where(_each(mask) & (x >= 0.5), 1 - x, x)
    if spec.noise:
        grain = draws.normal(NOISE, x[0].numel()).view_as(x)
        x = (x + spec.noise * grain).clamp(0, 1)
    if spec.mask:
        _, rows, columns = mask_grid(x)
        x = masked(x, draws.uniform(MASK, rows * columns), spec.mask)
    return x


def shown(
    specs: Sequence[ViewSpec],
    key: int,
    pixels: Tensor,
    state: Tensor,
    view: int | Tensor,
    orders: Tensor | None = None,
) -> tuple[list[Tensor], list[Tensor], list[int | Tensor]]:
    """Return several views of each image, and the first draws and the number of each view.

    Args:
        specs: How each view is made.
        key: As in ``augment``.
        pixels: (B, C, H, W) uint8.
        state: (B,) int64, ``draws.hash64(key, keys)``.
        view: Number of the first view, and the others follow; or a tensor, as ``Draws`` takes it.
        orders: As ``Draws`` takes them.

    Returns:
        (B, C, H, W) float32 in [0, 1] each, (B, ``draws.HELD``) float32 each, and numbers as
        ``view`` is one.
    """
    draws = Draws.of_views(key, state, view, len(specs), orders)
    x = pixels.float() / 255
    views = [view_of(x, spec, d) for spec, d in zip(specs, draws, strict=True)]
    firsts = [d.first for d in draws if d.first is not None]
    return views, firsts, [d.view for d in draws]


def order_of(draws: Draws) -> tuple[int, ...] | Tensor:
    """Return the order of a view's four changes of colour, (4,) int64 where its number is a tensor.

    There is one a view, whatever the batch: it hangs on key and view alone.
    """
    if isinstance(draws.view, Tensor):
        assert draws.orders is not None
        return draws.orders.index_select(0, draws.view.view(1))[0]
    return ORDERS[randomness.stream(draws.key, "order", draws.view) % len(ORDERS)]


def orders(key: int, views: int) -> Tensor:
    """Return the orders of views 0 to ``views`` - 1 under a key, (``views``, 4) int64."""
    each = [ORDERS[randomness.stream(key, "order", view) % len(ORDERS)] for view in range(views)]
    return torch.tensor(each)


def _each(values: Tensor) -> Tensor:
    """Return (B,) as (B, 1, 1, 1)."""
    return values.view(-1, 1, 1, 1)


def crop_boxes(
    draws: Draws, spec: ViewSpec, height: int, width: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return top, left, height and width of each sample's crop in whole pixels, (B,) float32 each.

    As torchvision's ``RandomResizedCrop``: the first of ten draws that fits, else all of the image.
    """
    assert spec.crop is not None
    low, high = spec.crop
    area = height * width * (low + (high - low) * draws.uniform(CROP_AREA, TRIES))
    least, most = math.log(spec.ratio[0]), math.log(spec.ratio[1])
    ratio = torch.exp(least + (most - least) * draws.uniform(CROP_RATIO, TRIES))
    w, h = torch.sqrt(area * ratio).round(), torch.sqrt(area / ratio).round()
    fits = (w >= 1) & (w <= width) & (h >= 1) & (h <= height)
    first = fits.int().argmax(dim=1, keepdim=True)
    any_fits = fits.any(dim=1)
    h = torch.where(
        any_fits, h.gather(1, first)[:, 0], torch.full_like(any_fits, height, dtype=h.dtype)
    )
    w = torch.where(
        any_fits, w.gather(1, first)[:, 0], torch.full_like(any_fits, width, dtype=w.dtype)
    )
    top = torch.floor(draws.uniform(CROP_TOP, 1)[:, 0] * (height - h + 1))
    left = torch.floor(draws.uniform(CROP_LEFT, 1)[:, 0] * (width - w + 1))
    return top, left, h, w


def whole_boxes(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return top, left, height and width of boxes that are all of each image, (B,) each."""
    start = torch.zeros(len(x), device=x.device)
    return start, start, start + x.shape[2], start + x.shape[3]


def resized_crop(
    x: Tensor,
    top: Tensor,
    left: Tensor,
    h: Tensor,
    w: Tensor,
    flipped: Tensor | None,
    side: int | None = None,
) -> Tensor:
    """Return crops of ``x`` (B, C, H, W), resized bilinearly and flipped where asked.

    Crops get the side that is given, or the image's own again; what shrinks is smoothed, as with
    torchvision's ``antialias``.
    """
    if x.shape[2] == x.shape[3]:
        # Both axes at once, in half as many operations.
        reverse = None if flipped is None else torch.cat([torch.zeros_like(flipped), flipped])
        both = _resample(
            torch.cat([top, left]), torch.cat([h, w]), x.shape[2], side or x.shape[2], reverse
        )
        rows, columns = both.chunk(2)
    else:
        rows = _resample(top, h, x.shape[2], side or x.shape[2], None)
        columns = _resample(left, w, x.shape[3], side or x.shape[3], flipped)
    return rows[:, None] @ x @ columns[:, None].transpose(2, 3)


def _resample(
    start: Tensor, length: Tensor, size: int, side: int, reverse: Tensor | None
) -> Tensor:
    """Return bilinear weights (B, side, size), output by input, of an interval of each axis."""
    inside = torch.arange(side, device=start.device, dtype=torch.float32)
    inside = (inside + 0.5)[None] * (length / side)[:, None] - 0.5
    # Pixels beyond a crop's edge are not part of it: the edge is repeated, as torchvision does.
    source = start[:, None] + inside.clamp(min=0).minimum(length[:, None] - 1)
    if reverse is not None:
        source = torch.where(reverse[:, None], source.flip(1), source)
    place = torch.arange(size, device=start.device, dtype=torch.float32)
    distance = (source[:, :, None] - place).abs()
    if side >= size:
        return (1 - distance).clamp(min=0)
    # Where pixels merge, the triangle is as wide as the step between them, and ends at the edge.
    step = (length / side).clamp(min=1)[:, None, None]
    part = (place >= start[:, None]) & (place < (start + length)[:, None])
    weights = (1 - distance / step).clamp(min=0) * part[:, None]
    return weights / weights.sum(dim=2, keepdim=True)


def shifted(x: Tensor, u: Tensor, share: float) -> Tensor:
    """Return images moved by whole pixels, black where nothing was.

    That is torchvision's ``RandomCrop`` to the image's own size after padding.

    Args:
        x: (B, C, H, W).
        u: (B, 2) uniform draws for the two axes.
        share: Largest shift as a share of the side, rounded to pixels.
    """
    matrices = []
    for size, draw in zip(x.shape[2:], u.unbind(1), strict=True):
        most = round(share * size)
        start = torch.floor(draw * (2 * most + 1)) - most
        place = torch.arange(size, device=x.device, dtype=torch.float32)
        matrices.append((start[:, None, None] + place[:, None] == place).to(x.dtype))
    rows, columns = matrices
    return rows[:, None] @ x @ columns[:, None].transpose(2, 3)


def mask_grid(x: Tensor) -> tuple[int, int, int]:
    """Return side, rows and columns of the patches by which images (B, C, H, W) are masked."""
    patch = max(1, x.shape[3] // 8)
    return patch, -(-x.shape[2] // patch), -(-x.shape[3] // patch)


def masked(x: Tensor, u: Tensor, share: float) -> Tensor:
    """Return images with ``share`` of their patches black, exactly as many in each (rounded).

    Args:
        x: (B, C, H, W).
        u: (B, P) uniform draws for the P patches of ``mask_grid``; the smallest become black.
        share: In [0, 1).
    """
    patch, rows, columns = mask_grid(x)
    order = u.argsort(dim=1, stable=True)[:, : round(share * u.shape[1])]
    hidden = torch.zeros_like(u, dtype=torch.bool).scatter(1, order, True)
    hidden = hidden.view(-1, 1, rows, columns)
    hidden = hidden.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    return x.masked_fill(hidden[:, :, : x.shape[2], : x.shape[3]], 0)


def jitter(x: Tensor, u: Tensor, spec: ViewSpec, order: tuple[int, ...] | Tensor) -> Tensor:
    """Return images with brightness, contrast, saturation and hue changed, in ``order`` (0 to 3).

    Args:
        x: (B, C, H, W) in [0, 1].
        u: (B, 4) uniform draws for the four changes.
        spec: Gives their strengths.
        order: Order in which they are applied; (4,) int64 where the device alone knows it.
    """
    strengths = (spec.brightness, spec.contrast, spec.saturation, spec.hue)
    changes = [k for k in range(4) if strengths[k] and (k < 2 or x.shape[1] == 3)]
    turns = spec.hue * (2 * u[:, 3] - 1) if 3 in changes else None
    factors = {k: _factor(u[:, k], strengths[k]) for k in changes if k < 3}
    if isinstance(order, Tensor):
        return _jitter_on_device(x, factors, turns, order)
    for which in order:
        if which == 3 and turns is not None:
            x = shift_hue(x, turns)
        elif which in factors:
            factor = _each(factors[which])
            if which == 0:
                x = (x * factor).clamp(0, 1)
            elif which == 1:
                mean = luma(x).mean(dim=(1, 2, 3), keepdim=True)
                x = (factor * x + (1 - factor) * mean).clamp(0, 1)
            else:
                x = (factor * x + (1 - factor) * luma(x)).clamp(0, 1)
    return x


def _factor(u: Tensor, strength: float) -> Tensor:
    """Return factors (B,) of a change, from uniform draws."""
    low, high = max(0.0, 1 - strength), 1 + strength
    return low + (high - low) * u


def _jitter_on_device(
    x: Tensor, factors: Mapping[int, Tensor], turns: Tensor | None, order: Tensor
) -> Tensor:
    """Return what ``jitter`` does, bit for bit, without knowing the order.

    Hue, which costs most, is changed once: the three others are tried in front of it and behind it,
    and count at one of the two places.
    """
    if not factors:
        return x if turns is None else shift_hue(x, turns)
    none = torch.ones(len(x), device=x.device)
    # By place, (4, B, 1, 1, 1) and (4,).
    factor = torch.stack([factors.get(k, none) for k in range(4)]).index_select(0, order)
    factor = factor[:, :, None, None, None]
    rest, black, mean = 1 - factor, order == 0, order == 1
    left_out = [k for k in range(4) if k not in factors and (k < 3 or turns is None)]
    counts = [order != k for k in left_out]

    def changed(x: Tensor, place: int, *counts: Tensor) -> Tensor:
        # Each is a mixture: with black, with the mean grey, with the grey of the pixel.
        base = luma(x)
        base = torch.where(mean[place], base.mean(dim=(1, 2, 3), keepdim=True), base)
        base = base.masked_fill(black[place], 0)
        mixed = (factor[place] * x + rest[place] * base).clamp(0, 1)
        for condition in counts:
            mixed = torch.where(condition[place], mixed, x)
        return mixed

    if turns is None:
        for place in range(4):
            x = changed(x, place, *counts)
        return x
    of_hue = (order == 3).to(torch.int32).argmax()
    places = torch.arange(4, device=x.device)
    before, behind = places < of_hue, places > of_hue
    for place in range(3):
        x = changed(x, place, before, *counts)
    x = shift_hue(x, turns)
    for place in range(1, 4):
        x = changed(x, place, behind, *counts)
    return x


def luma(x: Tensor) -> Tensor:
    """Return the grey values of images, (B, 1, H, W)."""
    if x.shape[1] == 1:
        return x
    red, green, blue = x.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def grayscale(x: Tensor) -> Tensor:
    """Return images without colour, as many channels as before."""
    return luma(x).expand_as(x)


def shift_hue(x: Tensor, turns: Tensor) -> Tensor:
    """Return RGB images (B, 3, H, W) with their hues shifted by ``turns`` (B,) of the circle."""
    value, _ = x.max(dim=1)
    least, _ = x.min(dim=1)
    chroma = value - least
    grey = chroma == 0
    scale = torch.where(grey, torch.ones_like(chroma), chroma)
    red, green, blue = x.unbind(1)
    sector = torch.where(
        value == red,
        (green - blue) / scale,
        torch.where(value == green, 2 + (blue - red) / scale, 4 + (red - green) / scale),
    )
    hue = torch.remainder(sector / 6 + turns.view(-1, 1, 1), 1.0)
    # f(n) = v - c max(0, min(k, 4 - k, 1)), k = (n + 6 hue) mod 6, for red 5, green 3, blue 1.
    channels = []
    for n in (5.0, 3.0, 1.0):
        k = torch.remainder(n + 6 * hue, 6.0)
        channels.append(value - chroma * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.where(grey[:, None], x, torch.stack(channels, dim=1))


def blur(x: Tensor, sigma: Tensor) -> Tensor:
    """Return images blurred by Gaussians of ``sigma`` (B,) pixels, edges reflected.

    The kernel spans about a tenth of the image, at least 3 pixels, as SimCLR's does.
    """
    rows, columns = (_blur_weights(sigma, size) for size in x.shape[2:])
    return rows[:, None] @ x @ columns[:, None].transpose(2, 3)


def blur_radius(size: int) -> int:
    """Return how many pixels a blur reaches to each side in an image of ``size`` pixels."""
    return min(max(1, size // 20), size - 1)


def _blur_weights(sigma: Tensor, size: int) -> Tensor:
    """Return (B, size, size) weights of a blur along one axis, output by input."""
    radius = blur_radius(size)
    offset = torch.arange(-radius, radius + 1, device=sigma.device)
    kernel = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2)
    kernel = kernel / kernel.sum(dim=1, keepdim=True)
    place = torch.arange(size, device=sigma.device)[:, None] + offset
    place = (size - 1 - (size - 1 - place.abs()).abs()).expand(len(sigma), size, -1)
    weights = torch.zeros(len(sigma), size, size, device=sigma.device)
    return weights.scatter_add(2, place, kernel[:, None].expand(-1, size, -1).contiguous())
