"""Registration: two small images laid upon each other, and how much speaks for one picture.

An affine map with gain and offset of the grey values is fitted by Gauss-Newton (Lucas & Kanade
1981). What speaks for one picture is then counted in edges: directions of gradients, wherever they
are (Fitch et al. 2002, orientation correlation), do not see brightness, contrast and colour, agree
by chance as often as not, and there are many of them in an image that shows anything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

IDENTITY = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
"""The map that leaves an image where it is."""
DAMPING = 1e-3
"""Levenberg's damping, as a share of the curvature along each parameter and along the largest."""
STEP = 0.15
"""Most that a step changes a parameter, in half sides."""
OVERLAP = 0.3
"""Least share of the goal that must lie within the source."""
SMALLEST, LARGEST = 0.15, 4.0
"""Areas of the source, in areas of the goal, that the goal may be."""
FAINT = 2.0
"""Grey levels between neighbouring pixels from which a slope counts for something."""
SPREAD = 2.0
"""Mean deviations at which a pixel counts for a quarter."""
AGREED = 0.997
"""Agreement that is as good as 1: more is rounding."""
AROUND, STEPS, AGREES = 4, 16, 0.8
"""What lies around a place: a square of one fourth of the side, one every sixteenth of it; and how
much the directions in it agree where two images do."""


def most(side: int) -> float:
    """Return the most evidence that images of a side can have."""
    return side * side * math.atanh(AGREED) ** 2


@dataclass(frozen=True)
class Fit:
    """How P pairs lie upon each other.

    Attributes:
        place: (P, 6) float32, rows of the affine maps from points of the goal to points of the
            source, in half sides from the centre.
        correlation: (P,) float32 of their grey values where they overlap, in [-1, 1]; -1 where no
            map is allowed.
    """

    place: Tensor
    correlation: Tensor


@dataclass(frozen=True)
class Evidence:
    """What speaks for P pairs being one picture.

    Attributes:
        evidence: (P,) from 0: the number of edges (effective pixels) times the square of Fisher's
            z of their agreement; twice a log likelihood ratio if edges were independent.
        agreement: (P,) in [-1, 1], correlation of the directions of gradients.
        correlation: (P,) in [-1, 1], of grey values.
        area: (P,) share of the source's area that the goal is.
        overlap: (P,) share of the goal that lies within the source.
    """

    evidence: Tensor
    agreement: Tensor
    correlation: Tensor
    area: Tensor
    overlap: Tensor


def register(source: Tensor, goal: Tensor, place: Tensor, steps: int) -> Fit:
    """Lay goals upon sources.

    Pixels that fit far worse than most, such as those of a caption, count for little (weights of
    Geman & McClure 1987).

    Args:
        source: (P, 1, S, S) float, grey.
        goal: (P, 1, S, S) float.
        place: (P, 6), where to begin.
        steps: Gauss-Newton steps; the best map on the way is returned.
    """
    side = source.shape[-1]
    images, target = with_slopes(source), goal.flatten(1)
    x, y = _points(side, source)
    there, inside = _warped(images, place)
    best, best_place = _correlated(there[:, 0], target, inside), place
    slopes = source.new_empty(len(source), 8, side * side)
    for _ in range(steps):
        trust = inside * _trusted(there[:, 0], target, inside)
        right, down = there[:, 1] * (side / 2), there[:, 2] * (side / 2)
        for first, slope in ((0, right), (3, down)):
            torch.mul(slope, trust, out=slopes[:, first + 2])
            torch.mul(slopes[:, first + 2], x, out=slopes[:, first])
            torch.mul(slopes[:, first + 2], y, out=slopes[:, first + 1])
        torch.mul(there[:, 0], trust, out=slopes[:, 6])
        slopes[:, 7] = trust
        normal = slopes @ slopes.mT
        curve = normal.diagonal(dim1=1, dim2=2)
        damping = torch.full_like(curve, 1e-4)
        damping[:, :6] += DAMPING * (curve[:, :6] + curve[:, :6].amax(dim=1, keepdim=True))
        solution = torch.linalg.solve(
            normal + torch.diag_embed(damping), slopes @ (target * trust)[:, :, None]
        )[:, :, 0]
        # The gain scales the slopes, too; one below 0.1 would be another picture's.
        change = solution[:, :6] / solution[:, 6:7].clamp_min(0.1)
        # What is not a number moves nothing.
        place = place + change.nan_to_num(0.0).clamp(-STEP, STEP)
        there, inside = _warped(images, place)
        now = _correlated(there[:, 0], target, inside)
        area = area_of(place)
        allowed = (inside.mean(dim=1) >= OVERLAP) & (area >= SMALLEST) & (area <= LARGEST)
        better = allowed & (now > best)
        best, best_place = (
            torch.where(better, now, best),
            torch.where(better[:, None], place, best_place),
        )
    return Fit(best_place, best)


def weigh(
    source: Tensor, goal: Tensor, place: Tensor, source_seen: Tensor, goal_seen: Tensor
) -> Evidence:
    """Say what speaks for pairs being one picture, as they are laid upon each other.

    Args:
        source: (P, 1, S, S) float, grey.
        goal: (P, 1, S, S) float.
        place: (P, 6), from ``register``.
        source_seen: (P, 1, S, S) 1 where the source shows something, 0 in its frame.
        goal_seen: (P, 1, S, S), as for the source.
    """
    side = source.shape[-1]
    first, second, there, inside = _edges(source, goal, place, source_seen, goal_seen)
    # Every row of pixels by itself, so that what a caption hides can be left out.
    sums = [
        v.view(-1, side, side).sum(dim=2)
        for v in (
            (first * second).sum(dim=1),
            *(s for v in (first, second) for s in _moments(v.square().sum(dim=1))),
        )
    ]
    parts = torch.stack(sums, dim=1) @ _bands(side, source)
    both, one, other = parts[:, 0], parts[:, 1::2].unbind(dim=1), parts[:, 2::2].unbind(dim=1)
    agreement = both / (one[0] * one[1]).clamp_min(1e-9).sqrt()
    # How many pixels carry the edges, where they share them unequally: Kish's effective number.
    numbers = [s.square() / q.clamp_min(1e-9) for s, q in zip(one, other, strict=True)]
    area = area_of(place)
    # A part of the source that is enlarged has no more edges than before.
    number = torch.minimum(*numbers) * area.clamp_max(1.0)[:, None]
    z = torch.atanh(agreement.clamp(0.0, AGREED))
    evidence, best = (number * z.square()).max(dim=1)
    return Evidence(
        evidence,
        agreement.gather(1, best[:, None])[:, 0],
        _correlated(there, goal.flatten(1), inside),
        area,
        inside.mean(dim=1),
    )


def _edges(
    source: Tensor, goal: Tensor, place: Tensor, source_seen: Tensor, goal_seen: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return directions of sources and of goals, (P, 2, S * S) each, as they lie upon each other.

    Besides, (P, S * S) each, the grey values of sources there, and 1 where the goals lie inside.
    """
    there, inside = _warped(torch.cat([with_slopes(source), source_seen], dim=1), place)
    visible = inside * goal_seen.flatten(1) * (there[:, 3] > 0.5)
    here = with_slopes(goal).flatten(2)
    first, second = _directions(there[:, 1:3], visible), _directions(here[:, 1:], visible)
    return first, second, there[:, 0], inside


def throughout(
    source: Tensor, goal: Tensor, place: Tensor, source_seen: Tensor, goal_seen: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the share of edges around which pairs agree, as they are laid upon each other.

    Of pictures that were taken one after another the background agrees, often with much evidence,
    and what has moved does not.

    Args:
        source: (P, 1, S, S) float, grey.
        goal: (P, 1, S, S) float.
        place: (P, 6), from ``register``.
        source_seen: (P, 1, S, S), as for ``weigh``.
        goal_seen: (P, 1, S, S), as for ``weigh``.

    Returns:
        The share in the whole, (P,) in [0, 1]; and the largest where a quarter, which a caption may
        hide, is left out with every square that it touches, or both are blurred, as an enlarged
        copy is, (P,) in [0, 1].
    """
    sharp, soft = (
        _agreeing(*_edges(first, second, place, source_seen, goal_seen)[:2])
        for first, second in ((source, goal), (blurred(source), blurred(goal)))
    )
    return sharp[:, 0], torch.maximum(sharp[:, 1:].amax(dim=1), soft[:, 0])


def _agreeing(first: Tensor, second: Tensor) -> Tensor:
    """Return the share of edges around which directions (P, 2, S * S) agree, (P, 3): by bands."""
    side = math.isqrt(first.shape[2])
    maps = [
        (one * other).sum(dim=1) for one, other in ((first, second), (first,) * 2, (second,) * 2)
    ]
    both, one, other = F.avg_pool2d(
        torch.stack(maps, dim=1).view(-1, 3, side, side), side // AROUND, side // STEPS
    ).unbind(dim=1)
    edges = (one * other).sqrt()
    agree = edges * (both >= AGREES * edges)
    # Places of which no part lies in what a band leaves out.
    bands = _bands(side, first).mT[:, None]
    rows = -F.max_pool1d(-bands, side // AROUND, side // STEPS)[:, 0].mT
    return (agree.sum(dim=2) @ rows) / (edges.sum(dim=2) @ rows).clamp_min(1e-9)


def blurred(images: Tensor) -> Tensor:
    """Return images (P, C, S, S) of which each pixel is the mean of three by three."""
    return F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)


def _moments(sizes: Tensor) -> tuple[Tensor, Tensor]:
    return sizes, sizes.square()


def _bands(side: int, like: Tensor) -> Tensor:
    """Return which rows count, (side, 3): all, all but the upper quarter, all but the lower."""
    out = torch.ones(side, 3, device=like.device)
    out[: side // 4, 1] = 0
    out[side - side // 4 :, 2] = 0
    return out


def correlated(source: Tensor, goal: Tensor) -> Tensor:
    """Return the correlation of the grey values of images (P, 1, S, S) as they are, (P,)."""
    first, second = source.flatten(1), goal.flatten(1)
    return _correlated(first, second, torch.ones_like(first))


def colour_change(source: Tensor, goal: Tensor, place: Tensor) -> Tensor:
    """Return how far colours are apart where two images overlap, (P,) in [0, 255].

    Args:
        source: (P, C, S, S) float in [0, 255].
        goal: (P, C, S, S) float.
        place: (P, 6), from ``register``.
    """
    there, inside = _warped(source, place)
    apart = (there - goal.flatten(2)).abs().mean(dim=1)
    return (apart * inside).sum(dim=1) / inside.sum(dim=1).clamp_min(1.0)


def area_of(place: Tensor) -> Tensor:
    """Return the area of the source that the goal is, in areas of the source, (P,)."""
    return place[:, 0] * place[:, 4] - place[:, 1] * place[:, 3]


def with_slopes(images: Tensor) -> Tensor:
    """Return images (P, 1, S, S) with their slopes to the right and down: (P, 3, S, S)."""
    wide = F.pad(images, (1, 1, 1, 1), mode="replicate")
    right = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    down = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    return torch.cat([images, right, down], dim=1)


def _points(side: int, like: Tensor) -> tuple[Tensor, Tensor]:
    line = (torch.arange(side, device=like.device) + 0.5) * 2 / side - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return x.reshape(-1), y.reshape(-1)


def _warped(images: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """Return images (P, C, S * S) as the goals would show them, and whether they reach there."""
    side = images.shape[-1]
    x, y = _points(side, images)
    # As affine_grid does, which takes as long as the sampling.
    grid = torch.stack(
        [
            torch.addcmul(torch.addcmul(place[:, row + 2, None], place[:, row, None], x),
                          place[:, row + 1, None], y)
            for row in (0, 3)
        ],
        dim=2,
    )  # fmt: skip
    there = F.grid_sample(
        images, grid.view(-1, side, side, 2), align_corners=False, padding_mode="border"
    )
    inside = (grid.abs().amax(dim=2) <= 1 + 1e-4).to(images.dtype)
    return there.flatten(2), inside


def _correlated(first: Tensor, second: Tensor, inside: Tensor) -> Tensor:
    """Return the correlation of pixels inside, (P,); 0 where either is of one colour there."""
    number = inside.sum(dim=1, keepdim=True).clamp_min(1.0)
    a = (first - (first * inside).sum(dim=1, keepdim=True) / number) * inside
    b = (second - (second * inside).sum(dim=1, keepdim=True) / number) * inside
    spread, other = a.square().sum(dim=1), b.square().sum(dim=1)
    r = (a * b).sum(dim=1) / (spread * other).clamp_min(1e-6).sqrt()
    return torch.where(torch.minimum(spread, other) > number[:, 0], r, torch.zeros_like(r))


def _trusted(first: Tensor, second: Tensor, inside: Tensor) -> Tensor:
    """Return the root of the weight of each pixel, (P, S * S) in (0, 1]."""
    number = inside.sum(dim=1, keepdim=True).clamp_min(1.0)
    a = (first - (first * inside).sum(dim=1, keepdim=True) / number) * inside
    b = (second - (second * inside).sum(dim=1, keepdim=True) / number) * inside
    gain = (a * b).sum(dim=1, keepdim=True) / a.square().sum(dim=1, keepdim=True).clamp_min(1e-6)
    off = torch.addcmul(b, gain.clamp_min(0.1), a, value=-1).abs()
    usual = (off.sum(dim=1, keepdim=True) / number).clamp_min(FAINT)
    return 1 / (1 + (off / (SPREAD * usual)).square())


def _directions(slopes: Tensor, visible: Tensor) -> Tensor:
    """Return slopes (P, 2, S * S) whose lengths say little: steep ones are about 1."""
    length = slopes.square().sum(dim=1).sqrt()
    usual = (length * visible).sum(dim=1) / visible.sum(dim=1).clamp_min(1.0)
    return slopes * (visible / (length + usual[:, None] + FAINT))[:, None]


def begin(windows: Tensor) -> Tensor:
    """Return the maps (P, 6) of windows (P, 4): sides, then centres, right and down."""
    place = torch.zeros(len(windows), 6, device=windows.device)
    place[:, [0, 4, 2, 5]] = windows
    return place
