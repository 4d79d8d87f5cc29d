"""Measures of probes: what each is called, its unit and direction, and its value over test images.

A measure of dense predictions is no mean over images: it is made of sums over all of them, such as
a ratio of sums. The functions below write it as a mean all the same, of each image's ``value +
influence``, where the influence is the derivative with respect to the image's weight (Taylor
linearisation, or infinitesimal jackknife; Woodruff 1971, Jaeckel 1972). Their mean is the measure
exactly, and their spread over images is its standard error to first order, so that intervals are
made of them as they are of accuracies (``crossed``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from curate.runtime.intervals import half_width


@dataclass(frozen=True)
class Measure:
    """What a kind of probe measures.

    Attributes:
        name: In words, of one encoder.
        scale: What a value is multiplied by to be shown: 100 for a share in %.
        unit: Of a value that is shown.
        apart: Of a difference that is shown.
        digits: Behind the point.
        higher_is_better: Its direction.
        counts_images: Whether a difference is a number of test images.
    """

    name: str
    scale: float = 100.0
    unit: str = " %"
    apart: str = " points"
    digits: int = 2
    higher_is_better: bool = True
    counts_images: bool = False

    @property
    def axis(self) -> str:
        """What a difference is of, as an axis says it: ``percentage points of test accuracy``."""
        unit = {"points": "percentage points", "m": "metres"}.get(self.apart.strip())
        return f"{unit} of {self.name}" if unit else self.name


ACCURACY = Measure("test accuracy", counts_images=True)
DENSE: dict[str, Measure] = {
    "mIoU": Measure("mIoU"),
    "RMSE": Measure("RMSE", 1.0, " m", " m", 4, higher_is_better=False),
    "AbsRel": Measure("AbsRel", 1.0, "", "", 4, higher_is_better=False),
}
"""Measures of a number for every pixel; the kind of such a probe is its measure."""


def measure_of(kind: str) -> Measure:
    """Return what a kind of probe measures; accuracy, if it is no measure by name."""
    return DENSE.get(kind, ACCURACY)


def mean_iou(intersections: np.ndarray, unions: np.ndarray) -> np.ndarray:
    """Return the mean IoU of images as one value an image, whose mean it is.

    The IoU of a class is the intersection of prediction and truth over their union, pixels of all
    images together (Everingham et al. 2010); the mean is over classes with a union.

    Args:
        intersections: (I, C) pixels of each class that were named rightly, by image.
        unions: (I, C) pixels of the class or named so.

    Returns:
        (I,) float64; the mean is 0 to 1, higher is better.
    """
    both, either = (np.asarray(part, dtype=np.float64) for part in (intersections, unions))
    present = either.sum(axis=0) > 0
    both, either = both[:, present], either[:, present]
    ratio = both.sum(axis=0) / either.sum(axis=0)
    influence = (both - ratio * either) / either.mean(axis=0)
    by_image: np.ndarray = ratio.mean() + influence.mean(axis=1)
    return by_image


def root_mean_square(squares: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return the RMSE over all pixels of images as one value an image, whose mean it is.

    Args:
        squares: (I,) sums of squared errors, by image.
        pixels: (I,) how many pixels each has.

    Returns:
        (I,) float64, in the unit of the errors; lower is better.
    """
    mean = squares.sum() / pixels.sum()
    root = np.sqrt(mean)
    influence = (squares - mean * pixels) / pixels.mean()
    # The root's own derivative; without any error there is nothing to spread.
    by_image: np.ndarray = root + (influence / (2 * root) if root > 0 else 0 * influence)
    return by_image


def mean_over_pixels(sums: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return a mean over all pixels of images as one value an image, whose mean it is.

    Args:
        sums: (I,) sums over pixels, by image.
        pixels: (I,) how many pixels each has.
    """
    mean = sums.sum() / pixels.sum()
    by_image: np.ndarray = mean + (sums - mean * pixels) / pixels.mean()
    return by_image


def over_images(values: np.ndarray) -> tuple[float, float | None, float | None]:
    """Return the mean of values by image, and its 95 % t-interval over the choice of images.

    Args:
        values: (I,) float64.

    Returns:
        Mean, low and high; the ends are None for one image.
    """
    n, mean = len(values), float(values.mean())
    if n < 2:
        return mean, None, None
    half = half_width(float(values.std(ddof=1)), n)
    return mean, mean - half, mean + half
