"""A measure of sums over images is the mean of what each adds, and its error is a bootstrap's."""

import numpy as np
import pytest

from curate.evaluation.measures import (
    ACCURACY,
    mean_iou,
    mean_over_pixels,
    measure_of,
    over_images,
    root_mean_square,
)

pytestmark = pytest.mark.numeric


def test_mean_iou_worked_by_hand():
    # Class 0: 3 of 4 and 1 of 4 pixels; class 1: 0 of 2; class 2 is nowhere.
    both = np.array([[3, 0, 0], [1, 0, 0]])
    either = np.array([[4, 0, 0], [4, 2, 0]])
    values = mean_iou(both, either)
    assert values.mean() == pytest.approx((4 / 8 + 0 / 2) / 2)
    # The first image lifts class 0, the second holds it down.
    assert values[0] > values[1]


def test_errors_over_all_pixels_worked_by_hand():
    squares, pixels = np.array([8.0, 0.0, 28.0]), np.array([2, 1, 6])
    assert root_mean_square(squares, pixels).mean() == pytest.approx(2.0)
    assert mean_over_pixels(np.array([1.0, 0.5, 3.0]), pixels).mean() == pytest.approx(0.5)
    assert root_mean_square(np.zeros(3), pixels).tolist() == [0, 0, 0]


def resampled(rng, value, *parts):
    n = len(parts[0])
    draws = (rng.integers(0, n, n) for _ in range(2000))
    return np.std([value(*(part[rows] for part in parts)) for rows in draws])


def test_the_interval_over_images_is_as_wide_as_a_bootstraps():
    rng = np.random.default_rng(0)
    either = rng.integers(0, 400, (300, 5))
    both = rng.binomial(either, rng.beta(3, 2, (300, 1)))
    pixels = rng.integers(100, 400, 300)
    squares = pixels * rng.gamma(2.0, 0.5, 300)
    for measure, parts in (
        (mean_iou, (both, either)),
        (root_mean_square, (squares, pixels)),
        (mean_over_pixels, (squares, pixels)),
    ):
        values = measure(*parts)
        mean, low, high = over_images(values)
        spread = resampled(rng, lambda *p, m=measure: m(*p).mean(), *parts)
        assert (high - low) / 2 == pytest.approx(1.97 * spread, rel=0.1)
        assert low < mean < high


def test_one_image_has_no_interval():
    assert over_images(np.array([0.5])) == (0.5, None, None)


def test_a_kind_that_is_no_measure_is_an_accuracy():
    assert measure_of("linear") is ACCURACY and ACCURACY.counts_images
    assert not measure_of("RMSE").higher_is_better and measure_of("mIoU").scale == 100
    assert ACCURACY.axis == "percentage points of test accuracy"
    assert (measure_of("RMSE").axis, measure_of("AbsRel").axis) == ("metres of RMSE", "AbsRel")
