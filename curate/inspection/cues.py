"""Cues: short descriptions of windows of small images, by which alike ones are found.

Two kinds, since what one loses the other keeps: where edges of which direction lie, whichever side
of them is the brighter (recoloured images and drawings keep these; Freeman & Roth 1995 describe
hands by them), and where it is bright (blurred images keep that). Both are means over cells of a
grid, so that those of every window, mirrored or not, come from one set of maps, and both are
whitened (their principal components get one variance), so that what many images share does not
count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from curate.inspection.registration import blurred, with_slopes

Window = tuple[float, float, float, float]
"""Width and height, as shares of the image's, and the centre from the image's, in half sides."""
WHOLE: Window = (1.0, 1.0, 0.0, 0.0)
EVEN = 0.05
"""Variance that is added to every component before whitening, as a share of the mean one: few
images have components without any."""


def _windows(width: float, height: float, across: int, down: int) -> list[Window]:
    def centres(side: float, number: int) -> list[float]:
        room = 1 - side
        return [0.0] if number == 1 else [room * (2 * i / (number - 1) - 1) for i in range(number)]

    return [(width, height, x, y) for y in centres(height, down) for x in centres(width, across)]


WINDOWS: tuple[Window, ...] = (
    WHOLE,
    *_windows(0.8, 0.8, 3, 3),
    *_windows(0.64, 0.64, 3, 3),
    *_windows(0.5, 0.5, 4, 4),
    *_windows(1.0, 0.75, 1, 3),
    *_windows(0.75, 1.0, 3, 1),
)
"""What is looked up of each image: crops down to half a side, bands without a caption."""


@dataclass(frozen=True)
class Flip:
    """A way to turn an image over: left and right exchanged, top and bottom exchanged, or both."""

    across: bool = False
    down: bool = False

    def of(self, images: Tensor) -> Tensor:
        """Return images (..., S, S) turned over."""
        return images.flip([d for d, on in ((-1, self.across), (-2, self.down)) if on])


@dataclass(frozen=True)
class Cells:
    """Means over the cells of every window of N images.

    Attributes:
        values: (N, C, X, Y), those of one span of columns after another by those of rows.
        spans: Where in X, and in Y, the cells of a span begin: by its size and its centre.
    """

    values: Tensor
    spans: dict[tuple[float, float], int]


@dataclass(frozen=True)
class Cue:
    """One kind of description.

    Attributes:
        edges: Whether it is of edges, else of brightness.
        cells: Cells along each side of a window.
        centre: (channels * cells * cells,) mean over images.
        axes: (channels * cells * cells, D) principal components, each over its deviation.
    """

    edges: bool
    cells: int
    centre: Tensor
    axes: Tensor

    @classmethod
    def fitted(cls, images: Tensor, *, edges: bool, cells: int, dim: int) -> Cue:
        """Return the cue whose axes are those of some images, (N, 1, S, S) float."""
        unfitted = cls(edges, cells, torch.empty(0), torch.empty(0))
        parts = (images[start : start + 1024] for start in range(0, len(images), 1024))
        values = torch.cat([unfitted._values(unfitted.measure(part)) for part in parts])
        values = values.double()
        centre = values.mean(dim=0)
        spread = (values - centre).mT @ (values - centre) / len(values)
        variance, axes = torch.linalg.eigh(spread)
        variance, axes = variance[-dim:].clamp_min(0.0), axes[:, -dim:]
        axes = axes / (variance + EVEN * variance.mean() + 1e-12).sqrt()
        return cls(edges, cells, centre.float(), axes.float())

    def to(self, device: str | torch.device) -> Cue:
        """Return the cue on a device."""
        return Cue(self.edges, self.cells, self.centre.to(device), self.axes.to(device))

    def measure(self, images: Tensor, windows: Sequence[Window] = (WHOLE,)) -> Cells:
        """Return the means over cells of windows of images, (N, 1, S, S) float."""
        maps = self._maps(images)
        spans = sorted(
            {
                (size, sign * centre)
                for w, h, x, y in windows
                for size, centre in ((w, x), (h, y))
                for sign in (1.0, -1.0)
            }
        )
        side = maps.shape[-1]
        shares = torch.cat([_shares(side, self.cells, *span) for span in spans], dim=1)
        shares = shares.to(maps.device)
        columns = (maps.reshape(-1, side) @ shares).view(-1, side, shares.shape[1])
        values = columns.mT.reshape(-1, side) @ shares
        values = values.view(*maps.shape[:2], shares.shape[1], shares.shape[1])
        return Cells(values, {span: i * self.cells for i, span in enumerate(spans)})

    def _maps(self, images: Tensor) -> Tensor:
        """Return what is averaged over cells: (N, C, S, S)."""
        if not self.edges:
            return images
        right, down = with_slopes(blurred(images))[:, 1:].unbind(dim=1)
        # Twice the angle: an edge and its negative are one.
        length = (right.square() + down.square() + 1e-6).sqrt()
        upright, slanted = (right.square() - down.square()) / length, 2 * right * down / length
        halves = (upright, -upright, slanted, -slanted)
        return torch.stack([half.clamp_min(0.0) for half in halves], dim=1)

    def describe(self, cells: Cells, window: Window = WHOLE, flip: Flip | None = None) -> Tensor:
        """Return descriptions of a window of images that were turned over, (N, D) of length 1.

        Args:
            cells: From ``measure`` of the images as they are, with this window.
            window: Which part of the turned image.
            flip: How the images are turned over; None for not at all.
        """
        return F.normalize(
            (self._values(cells, window, flip or Flip()) - self.centre) @ self.axes, dim=1
        )

    def _values(self, cells: Cells, window: Window = WHOLE, flip: Flip = Flip()) -> Tensor:
        width, height, x, y = window
        first = cells.spans[(width, -x if flip.across else x)]
        second = cells.spans[(height, -y if flip.down else y)]
        c = self.cells
        values = cells.values[:, :, first : first + c, second : second + c]
        values = values.flip([d for d, on in ((2, flip.across), (3, flip.down)) if on])
        if not self.edges:
            values = values.flatten(1)
            values = values - values.mean(dim=1, keepdim=True)
            length: Tensor = values.norm(dim=1, keepdim=True)
            return values / length.clamp_min(1e-6)
        if flip.across != flip.down:
            # An edge that leans to the right leans to the left in a mirror.
            values = values[:, [0, 1, 3, 2]]
        values = values.flatten(1)
        # The root keeps one strong edge from being all there is (as in RootSIFT).
        length = values.norm(dim=1, keepdim=True)
        return (values / length.clamp_min(1e-6)).clamp_min(0.0).sqrt()


def _shares(side: int, cells: int, span: float, centre: float) -> Tensor:
    """Return the share that each of ``side`` pixels has in the mean of each cell, (side, cells)."""
    first = (1 + centre - span) * side / 2
    ends = first + span * side * torch.arange(cells + 1, dtype=torch.float64) / cells
    pixel = torch.arange(side, dtype=torch.float64)[:, None]
    within = torch.minimum(pixel + 1, ends[1:]) - torch.maximum(pixel, ends[:-1])
    shares = within.clamp_min(0.0)
    return (shares / shares.sum(dim=0, keepdim=True)).float()


def frames(images: Tensor, even: float = 6.0, most: float = 0.25) -> Tensor:
    """Return how many pixels of each side of images show nothing, (N, 4): left, right, top, bottom.

    A row or column shows nothing while its grey values, but for a pixel in eight that is furthest
    off, lie within ``even`` grey levels of its median, from the edge inwards.

    Args:
        images: (N, 1, S, S) float, grey.
        even: Grey levels.
        most: Share of the side that a frame may have.
    """
    side = images.shape[-1]
    out = []
    for lines in (images[:, 0].mT, images[:, 0].mT.flip(1), images[:, 0], images[:, 0].flip(1)):
        lines = lines[:, : max(1, int(most * side))]
        off = (lines - lines.median(dim=2, keepdim=True).values).abs()
        far = off.kthvalue(side - side // 8, dim=2).values
        blank = (far <= even).to(torch.int64)
        out.append(blank.cumprod(dim=1).sum(dim=1))
    return torch.stack(out, dim=1)


def inner(frame: Tensor, side: int) -> Tensor:
    """Return the windows (N, 4) within frames (N, 4)."""
    left, right, top, bottom = frame.float().unbind(dim=1)
    return torch.stack(
        [
            *((side - left - right) / side, (side - top - bottom) / side),
            *((left - right) / side, (top - bottom) / side),
        ],
        dim=1,
    )


def seen(frame: Tensor, side: int, blur: int) -> Tensor:
    """Return (N, 1, S, S): 0 in frames and ``blur`` pixels within them, where they end, else 1.

    The end of a frame is an edge, and all framed images have it in one place.
    """
    # Where there is no frame, nothing ends.
    wide = torch.where(frame > 0, frame + blur, frame)[:, :, None]
    place = torch.arange(side, device=frame.device)
    across = (place >= wide[:, 0]) & (place < side - wide[:, 1])
    down = (place >= wide[:, 2]) & (place < side - wide[:, 3])
    return (down[:, :, None] & across[:, None, :])[:, None].float()
