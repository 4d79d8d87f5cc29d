"""Triage: what kind of sample each is, from its score, its neighbours, its label and its pixels.

Thresholds are quantiles of the dataset, or its median less some robust deviations, so that they fit
digits as well as photographs. Where a ranking is noise, who is memorized is noise, too; ``rank`` is
taken as it is, and ``inspect.json`` repeats what the scores say of themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from curate.inspection.summary import TriageSummary
from curate.runtime.progress import Progress, silent

CLASSES = ("tail", "broken", "redundant", "typical")
REASONS = ("blank", "noise", "blurred", "label")

MEMORIZED = 0.2
"""Share of the scored samples, by rank, that counts as memorized."""
ISOLATED = 0.75
"""Quantile of the outlier score from which a sample counts as isolated."""
FAINT = 0.1
"""Contrast up to this share of the median is blank."""
DEVIATIONS = 4.0
"""How many robust deviations below the median is far: 1.4826 median absolute deviations are one."""
UNLIKE = 0.25
"""Pixels of noise correlate with those beside them by no more than this."""
AGAINST, FOR = 0.7, 0.1
"""A label is contradicted where so large a share of the neighbours has one other label, and at most
so large a one has its own."""

RULES = {
    "tail": f"among the {MEMORIZED:.0%} most memorized, outlier score in the upper "
    f"{1 - ISOLATED:.0%}, neither broken nor redundant",
    "broken": f"among the {MEMORIZED:.0%} most memorized, and looks flawed: blank, noise, blurred, "
    "or a label that its neighbours contradict",
    "redundant": "a near-duplicate of another sample that stands for the group: the one of most "
    "pixels, then of the largest file, then of the smallest uid",
    "typical": "every other sample",
    "blank": f"contrast of at most {FAINT} of the median",
    "noise": f"pixels correlate with those beside them by at most {UNLIKE}, and by {DEVIATIONS:g} "
    "robust deviations less than the median",
    "blurred": f"detail (logarithm of sharpness over squared contrast) is {DEVIATIONS:g} robust "
    "deviations below the median",
    "label": f"at least {AGAINST:.0%} of the neighbours have one other label, and at most "
    f"{FOR:.0%} its own",
}
"""What the classes and reasons mean, in order of precedence: broken, redundant, tail, typical."""


def luma(images: Tensor) -> Tensor:
    """Return the luma (ITU-R 601) of images (B, C, H, W) uint8: (B, 1, H, W) float in [0, 1]."""
    pixels = images.float() / 255
    if images.shape[1] == 1:
        return pixels
    weights = torch.tensor((0.299, 0.587, 0.114), device=images.device).view(1, 3, 1, 1)
    return (pixels * weights).sum(dim=1, keepdim=True)


def quality(
    pixels: np.ndarray, progress: Progress = silent, *, device: str = "cpu"
) -> dict[str, np.ndarray]:
    """Measure images as they stand on the canvas.

    Args:
        pixels: (N, C, H, W) uint8, may be memory-mapped.
        progress: Progress callback.
        device: Where to compute.

    Returns:
        (N,) float64 each: ``brightness`` (mean luma, in [0, 1]), ``contrast`` (its standard
        deviation, in [0, 0.5]), ``sharpness`` (variance of its Laplacian over four neighbours,
        from 0, higher = sharper; Pech-Pacheco et al. 2000) and ``smoothness`` (correlation of
        pixels with those to the right and below, in about [-1, 1]; 0 for white noise, NaN for an
        image of one colour).
    """
    n = len(pixels)
    statistics = np.empty((4, n))
    for start in range(0, n, 256):
        part = slice(start, start + 256)
        images = torch.from_numpy(np.array(pixels[part])).to(device)
        statistics[:, part] = _quality(luma(images).double()).cpu().numpy()
        progress("image statistics", min(start + 256, n), n)
    names = ("brightness", "contrast", "sharpness", "smoothness")
    return dict(zip(names, statistics, strict=True))


def _quality(grey: Tensor) -> Tensor:
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]).to(grey)
    edges = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernel[None, None])
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    rest = grey - mean
    variance = rest.square().mean(dim=(1, 2, 3))
    beside = (rest[..., 1:] * rest[..., :-1]).mean(dim=(1, 2, 3))
    below = (rest[..., 1:, :] * rest[..., :-1, :]).mean(dim=(1, 2, 3))
    # Rounding leaves some variance to an image of one colour.
    smooth = torch.where(variance > 1e-12, (beside + below) / (2 * variance), torch.nan)
    sharp = edges.var(dim=(1, 2, 3), correction=0)
    return torch.stack([mean.flatten(), variance.sqrt(), sharp, smooth])


# Flaws


def vote(labels: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what the neighbours' labels say.

    Args:
        labels: (N,) int64, -1 for none.
        near: (N, k) positions of the nearest.

    Returns:
        The most frequent label (of equally frequent ones the smallest), its share of the k, and the
        share of the sample's own; (N,) each, -1 and NaN without labels or neighbours.
    """
    n, k = near.shape
    if not k or (labels < 0).all():
        return np.full(n, -1), np.full(n, np.nan), np.full(n, np.nan)
    neighbour_labels = labels[near]
    most, count = stats.mode(neighbour_labels, axis=1)
    own = np.where(labels < 0, np.nan, (neighbour_labels == labels[:, None]).mean(axis=1))
    return np.where(most < 0, -1, most), np.where(most < 0, np.nan, count / k), own


def flaws(
    measured: Mapping[str, np.ndarray],
    labels: np.ndarray,
    votes: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> tuple[np.ndarray, dict[str, float | None]]:
    """Say what looks wrong with each sample, whatever its score; see ``RULES``.

    Args:
        measured: What ``quality`` gives.
        labels: (N,) int64, -1 for none.
        votes: What ``vote`` gives.

    Returns:
        (N,) object, one of ``REASONS`` or None; and the thresholds by their names.
    """
    contrast, smooth = measured["contrast"], measured["smoothness"]
    faint = FAINT * float(np.median(contrast)) if len(contrast) else 0.0
    blank = contrast <= faint
    with np.errstate(divide="ignore", invalid="ignore"):
        detail = np.log(measured["sharpness"] / contrast**2)
    rough = min(UNLIKE, _low(smooth[~blank]))
    dull = _low(detail[~blank])
    most, share, own = votes
    # A comparison with NaN is False: what cannot be said is no flaw.
    wrong = (labels >= 0) & (most >= 0) & (most != labels) & (share >= AGAINST) & (own <= FOR)
    reason = np.full(len(contrast), None, dtype=object)
    reason[wrong] = "label"
    reason[detail < dull] = "blurred"
    reason[smooth < rough] = "noise"
    reason[blank] = "blank"
    thresholds = {"contrast": faint, "smoothness": rough, "detail": dull}
    return reason, {k: v if np.isfinite(v) else None for k, v in thresholds.items()}


def _low(values: np.ndarray) -> float:
    """Return the median less ``DEVIATIONS`` robust deviations, -inf where none is finite."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return -np.inf
    return float(
        np.median(finite) - DEVIATIONS * stats.median_abs_deviation(finite, scale="normal")
    )


# Classes


@dataclass(frozen=True)
class Triaged:
    """What each sample is.

    Attributes:
        classes: (N,) object, one of ``CLASSES``.
        summary: Counts, thresholds and rules.
    """

    classes: np.ndarray
    summary: TriageSummary


def triage(
    rank: np.ndarray,
    outlier_score: np.ndarray,
    reason: np.ndarray,
    redundant: np.ndarray,
    thresholds: Mapping[str, float | None],
    separation: str | None = None,
) -> Triaged:
    """Put every sample into a class by ``RULES``.

    Args:
        rank: (N,) int64, 1 the most memorized, 0 without a score.
        outlier_score: (N,) float64, NaN where there are no neighbours.
        reason: (N,) from ``flaws``.
        redundant: (N,) bool, near-duplicates that another one stands for.
        thresholds: From ``flaws``; shown beside those of this function.
        separation: As ``scores.json`` has it; None without scores.
    """
    scored = int((rank > 0).sum())
    last = int(np.ceil(MEMORIZED * scored))
    memorized = (rank > 0) & (rank <= last)
    finite = outlier_score[np.isfinite(outlier_score)]
    far = float(np.quantile(finite, ISOLATED)) if len(finite) else np.nan
    flawed = reason != None  # noqa: E711 (each element)
    classes = np.full(len(rank), "typical", dtype=object)
    classes[memorized & (outlier_score >= far)] = "tail"
    classes[redundant] = "redundant"
    classes[memorized & flawed] = "broken"
    broken = classes == "broken"
    return Triaged(
        classes,
        TriageSummary(
            counts={name: int((classes == name).sum()) for name in CLASSES},
            reasons={name: int((broken & (reason == name)).sum()) for name in REASONS},
            flaws={name: int((reason == name).sum()) for name in REASONS},
            thresholds={
                "rank": last if scored else None,
                "outlier_score": far if np.isfinite(far) else None,
                **thresholds,
            },
            rules=RULES,
            scored=bool(scored),
            separation=separation,
        ),
    )


def representatives(group: np.ndarray, *better: np.ndarray) -> np.ndarray:
    """Return which samples stand for their group of near-duplicates, (N,) bool.

    Args:
        group: (N,) int64, -1 for none.
        better: (N,) each; the sample with the highest of the first, of equal ones the second, and
            so on stands for its group; of equal ones in everything the first.
    """
    order = np.lexsort((np.arange(len(group)), *(-values for values in better[::-1]), group))
    first = np.append(True, group[order][1:] != group[order][:-1])[: len(group)]
    out = np.zeros(len(group), dtype=bool)
    out[order[first]] = True
    return out & (group >= 0)
