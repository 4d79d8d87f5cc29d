"""Near-duplicates: images that are one picture, re-encoded, cropped, flipped, or made brighter.

They are found in pixels, so that the answer does not depend on how good an encoder is: small grey
versions of windows of every image are looked up among those of all whole images (FAISS), each pair
that is alike is aligned (Lucas & Kanade 1981, for shift and scale), and what correlates enough is
one picture. Correlation does not see brightness and contrast.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from scipy.sparse import csgraph
from torch import Tensor

from curate.inspection.neighbours import Index
from curate.inspection.triage import luma
from curate.runtime.progress import Progress, silent

THUMB = 32
"""Side of the grey image that is kept of each and correlated; smaller images keep theirs."""
COARSE = 8
"""Side of the images that are looked up."""
SCALES = (0.9, 0.8)
"""Sides of the windows that are looked up, at nine places each, as shares of the image's."""
SMALLEST = 0.75
"""A window does not get smaller than this when it is aligned."""
WHOLE_K, WINDOW_K = 8, 3
"""How many images are tried for a whole image, for its mirror image, and for each window."""
HOPEFUL = 0.8
"""Correlation from which a pair is aligned."""
ALIGNED = 24
"""Pairs of an image that are aligned, the most alike."""
STEPS, SLOPE, DAMPING = 2, 0.02, 1e-4
"""Gauss-Newton steps of an alignment, how far a slope is measured, and Levenberg's damping."""
RATIO, CROWD, SAME = 0.3, 5, 0.995
"""When a pair is more alike than images are that merely look so: see ``find``."""
BLOCK = 1024
PAIRS = 4096


RULE = (
    "pixels of the two, aligned, flipped or not, correlate by the threshold or more, and what is "
    f"missing to 1 is at most {RATIO} of what is missing for the {CROWD}th most alike image of "
    f"either one, or at most {1 - SAME:.3f}; groups are connected pairs"
)


def thumbnails(pixels: np.ndarray, progress: Progress = silent, *, device: str = "cpu") -> Tensor:
    """Return small grey versions of images, (N, 1, S, S) uint8 with S at most ``THUMB``.

    Args:
        pixels: (N, C, H, W) uint8, may be memory-mapped.
        progress: Progress callback.
        device: Where to compute; they come back to the host.
    """
    n, side = len(pixels), min(THUMB, pixels.shape[2])
    out = torch.empty((n, 1, side, side), dtype=torch.uint8)
    for start in range(0, n, 256):
        part = slice(start, start + 256)
        grey = luma(torch.from_numpy(np.array(pixels[part])).to(device))
        out[part] = (F.adaptive_avg_pool2d(grey, side) * 255).round().to(torch.uint8)
        progress("thumbnails", min(start + 256, n), n)
    return out


@dataclass(frozen=True)
class Pairs:
    """Pairs of near-duplicates.

    Attributes:
        a: (P,) int64 positions.
        b: (P,) int64 positions, each above ``a``.
        similarity: (P,) float32, correlation of their pixels where they are aligned best.
    """

    a: np.ndarray
    b: np.ndarray
    similarity: np.ndarray

    def groups(self, n: int, uids: np.ndarray) -> np.ndarray:
        """Return the group of each of the first n images, (n,) int64, -1 for none.

        Groups are connected: A and C are in one where both are near-duplicates of B. They are
        numbered from 0 by their first image. Copies of one file are near-duplicates, too.

        Args:
            n: How many images there are; pairs with others are left out.
            uids: (n,) sorted strings, in order of the images.
        """
        known = self.b < n
        base = np.array([str(uid)[:32] for uid in uids])
        copies = np.flatnonzero(base[1:] == base[:-1])
        a, b = np.append(self.a[known], copies), np.append(self.b[known], copies + 1)
        edges = sparse.coo_array((np.ones(len(a), dtype=bool), (a, b)), shape=(n, n))
        _, label = csgraph.connected_components(edges, directed=False)
        _, first, which, size = np.unique(
            label, return_index=True, return_inverse=True, return_counts=True
        )
        number = np.full(len(size), -1)
        several = np.flatnonzero(size > 1)
        number[several[np.argsort(first[several])]] = np.arange(len(several))
        return np.asarray(number[which])


def find(
    thumbs: Tensor, threshold: float, progress: Progress = silent, *, device: str = "cpu"
) -> Pairs:
    """Find the pairs of near-duplicates among images.

    A pair counts where it correlates by ``threshold`` and more, and both images are more alike than
    either is to images that merely look so: what is missing to 1 must be at most ``RATIO`` of what
    is missing for the ``CROWD``-th most alike other one (as Lowe 2004 tests matches, section 7.1),
    or at most 1 - ``SAME``. Images of one colour have no pixels to correlate; they are like no
    other.

    Args:
        thumbs: (N, 1, S, S) uint8, from ``thumbnails``.
        threshold: Correlation from which two images may be one picture, in (-1, 1].
        progress: Progress callback.
        device: Where pairs are aligned; the images stay on the host.

    Raises:
        ResourceError: If FAISS is not installed.
    """
    n = len(thumbs)
    if n < 2:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
    whole = torch.cat([_coarse(part.float()) for part in torch.split(thumbs, BLOCK)]).numpy()
    index = Index.of(whole, WHOLE_K + 1)
    crowd = np.full(n, HOPEFUL, dtype=np.float32)
    held: list[tuple[np.ndarray, ...]] = []
    for start in range(0, n, BLOCK):
        rows = np.arange(start, min(start + BLOCK, n))
        a, b, similar = _similar(thumbs, *_candidates(thumbs, index, rows, device), device)
        place = np.arange(len(a)) - np.searchsorted(a, a)
        last = place == CROWD - 1
        crowd[a[last]] = np.maximum(similar[last], HOPEFUL)
        alike = similar >= threshold
        held.append((a[alike], b[alike], similar[alike]))
        progress("near-duplicates", int(rows[-1]) + 1, n)
    a, b, similar = (np.concatenate([part[k] for part in held]) for k in range(3))
    enough = 1 - RATIO * (1 - np.maximum(crowd[a], crowd[b]))
    alike = similar >= np.minimum(enough, SAME)
    a, b, similar = _distinct(np.minimum(a, b)[alike], np.maximum(a, b)[alike], similar[alike])
    return Pairs(a, b, similar)


def _distinct(
    a: np.ndarray, b: np.ndarray, similar: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs once each, by a and b, with the highest of their similarities."""
    order = np.lexsort((-similar, b, a))
    a, b, similar = a[order], b[order], similar[order]
    first = np.append(True, (a[1:] != a[:-1]) | (b[1:] != b[:-1]))[: len(a)]
    return a[first], b[first], similar[first]


def _similar(
    thumbs: Tensor,
    a: np.ndarray,
    b: np.ndarray,
    mirrored: np.ndarray,
    window: np.ndarray,
    device: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a, b and the correlation of candidates, sorted by a and from the most alike down."""
    start = np.empty(len(a), dtype=np.float32)
    for k in range(0, len(a), PAIRS):
        s = slice(k, k + PAIRS)
        start[s] = _correlated(
            *_pair(thumbs, a[s], b[s], mirrored[s], device), _there(window[s], device)
        )
    order = np.lexsort((b, -start, a))
    place = np.arange(len(a)) - np.searchsorted(a[order], a[order])
    kept = np.sort(order[(place < ALIGNED) & (start[order] >= HOPEFUL)])
    a, b, mirrored, window, similar = a[kept], b[kept], mirrored[kept], window[kept], start[kept]
    for k in range(0, len(a), PAIRS):
        s = slice(k, k + PAIRS)
        similar[s] = _aligned(
            *_pair(thumbs, a[s], b[s], mirrored[s], device), _there(window[s], device)
        )
    a, b, similar = _distinct(a, b, similar)
    order = np.lexsort((b, -similar, a))
    return a[order], b[order], similar[order]


def _candidates(
    thumbs: Tensor, index: Index, rows: np.ndarray, device: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return pairs that may be alike: a window of ``a``, mirrored or not, and the whole of ``b``.

    Returns:
        Positions a and b (P,) int64, whether a is mirrored (P,) bool, and the window (P, 3)
        float32: scale and place, as ``_windows`` takes it.
    """
    some = thumbs[torch.from_numpy(rows)].to(device)
    places = [(1.0, 0.0, 0.0)] + [
        (s, x, y) for s in SCALES for x in (s - 1, 0.0, 1 - s) for y in (s - 1, 0.0, 1 - s)
    ]
    blocks = []
    for number, place in enumerate(places):
        window = torch.tensor(place, device=device).expand(len(some), 3)
        for mirrored in (False, True) if number == 0 else (False,):
            source = some.flip(3) if mirrored else some
            query = _coarse(_windows(source, window)).cpu().numpy()
            k = min(len(thumbs), (WHOLE_K if number == 0 else WINDOW_K) + 1)
            similar, near = index.search(query, k)
            row = np.arange(len(rows))[:, None].repeat(k, axis=1)
            which = np.full((2, *near.shape), [[[number]], [[mirrored]]])
            good = (near != rows[:, None]) & (similar >= HOPEFUL)
            blocks.append(np.stack([row, near, *which, -1e6 * similar])[:, good])
    row, near, number, mirrored, cost = np.concatenate(blocks, axis=1)
    # The best window of each pair alone.
    order = np.lexsort((number, cost, mirrored, near, row))
    row, near, number, mirrored = (v[order].astype(np.int64) for v in (row, near, number, mirrored))
    key = np.stack([row, near, mirrored])
    first = np.append(True, (key[:, 1:] != key[:, :-1]).any(axis=0))[: len(row)]
    window = np.asarray(places, dtype=np.float32)[number[first]]
    return rows[row[first]], near[first], mirrored[first] == 1, window


def _there(window: np.ndarray, device: str) -> Tensor:
    return torch.from_numpy(window).to(device)


def _correlated(source: Tensor, goal: Tensor, window: Tensor) -> np.ndarray:
    """Return the correlation of each pair as it is, (P,) float32."""
    return np.asarray((_unit(_windows(source, window)) * goal).sum(dim=1).cpu().numpy())


def _pair(
    thumbs: Tensor, a: np.ndarray, b: np.ndarray, mirrored: np.ndarray, device: str
) -> tuple[Tensor, Tensor]:
    """Return the images of a, mirrored where it is said, and those of b as vectors."""
    source = thumbs[torch.from_numpy(a)].to(device)
    flip = torch.from_numpy(mirrored).to(device)[:, None, None, None]
    goal = _unit(thumbs[torch.from_numpy(b)].to(device).float())
    return torch.where(flip, source.flip(3), source), goal


def _aligned(source: Tensor, goal: Tensor, place: Tensor) -> np.ndarray:
    """Return the correlation of each pair where it is aligned best, (P,) float32.

    Args:
        source: (P, 1, S, S), from ``_pair``.
        goal: (P, S * S), from ``_pair``.
        place: (P, 3), the windows to begin with.
    """
    here = _unit(_windows(source, place))
    best = (here * goal).sum(dim=1)
    for _ in range(STEPS):
        slopes = []
        for k in range(3):
            # Inwards, since there is nothing to see outside of an image.
            sign = torch.where(place[:, k] > 0, -SLOPE, SLOPE)
            step = torch.zeros_like(place)
            step[:, k] = sign
            slopes.append((_unit(_windows(source, place + step)) - here) / sign[:, None])
        slope = torch.stack(slopes, dim=2)
        normal = slope.mT @ slope
        damped = (
            normal
            + torch.eye(3, device=place.device)
            * (DAMPING * normal.diagonal(dim1=1, dim2=2).amax(1) + 1e-6)[:, None, None]
        )
        change = torch.linalg.solve(damped, slope.mT @ (goal - here)[:, :, None])[:, :, 0]
        place = _inside(place + change.clamp(-0.1, 0.1))
        here = _unit(_windows(source, place))
        best = torch.maximum(best, (here * goal).sum(dim=1))
    return np.asarray(best.cpu().numpy())


def _inside(place: Tensor) -> Tensor:
    """Return windows (P, 3) that lie within the image."""
    scale = place[:, :1].clamp(SMALLEST, 1.0)
    room = 1 - scale
    return torch.cat([scale, torch.minimum(torch.maximum(place[:, 1:], -room), room)], dim=1)


def _windows(thumbs: Tensor, place: Tensor) -> Tensor:
    """Return windows of images at the size of the whole, (P, 1, S, S) float32.

    Args:
        thumbs: (P, 1, S, S) uint8.
        place: (P, 3): side as a share of the image's, and where the centre is, from the image's
            centre, in half sides, to the right and down.
    """
    turn = torch.zeros(len(place), 2, 3, device=place.device)
    turn[:, 0, 0] = turn[:, 1, 1] = place[:, 0]
    turn[:, :, 2] = place[:, 1:]
    grid = F.affine_grid(turn, list(thumbs.shape), align_corners=False)
    return F.grid_sample(
        thumbs.float(), grid, align_corners=False, padding_mode="border", mode="bilinear"
    )


def _coarse(images: Tensor) -> Tensor:
    """Return images (P, 1, S, S) as they are looked up, (P, COARSE * COARSE)."""
    return _unit(F.adaptive_avg_pool2d(images, COARSE))


def _unit(images: Tensor) -> Tensor:
    """Return images as vectors of mean 0 and length 1, (P, S * S); 0 for those of one colour."""
    flat = images.flatten(1)
    flat = flat - flat.mean(dim=1, keepdim=True)
    length = flat.norm(dim=1, keepdim=True)
    # One step of 255 in a corner of the image is no picture.
    return torch.where(length > 0.5, flat / length.clamp_min(1e-6), torch.zeros_like(flat))
