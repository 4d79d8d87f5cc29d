"""How often do the intervals of comparisons hold the truth? Simulated seeds and test images.

    python docs/benchmarks/coverage.py

Two arms are trained with S seeds and tested on the same I images. Whether an arm is right about an
image is drawn from a probit model: images differ in difficulty (standard deviation 1.5 of latent
units whose noise is 1), each arm finds some images easier than the other arm does (``images``), and
each training is a little better or worse than the next (``seeds``). The truth is the gap in
expectation over images and seeds, in closed form.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
import itertools

import numpy as np
from scipy import special

from curate.evaluation import crossed

SEEDS, IMAGES = (2, 3, 5, 10), (200, 1000, 10_000)
ACCURACY, OF_SEEDS, OF_IMAGES = (0.8, 0.97), (0.0, 0.03, 0.15), (0.0, 0.5)
DIFFICULTY, GAP = 1.5, 0.05


def simulated(
    random: np.random.Generator,
    trials: int,
    seeds: int,
    images: int,
    design: tuple[float, float, float],
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether the interval of each comparison holds the truth, and half of it, (trials,)."""
    accuracy, of_seeds, of_images = design
    scale = np.sqrt(1 + DIFFICULTY**2 + of_images**2 + of_seeds**2)
    level = special.ndtri(accuracy) * scale
    truth = special.ndtr((level + GAP) / scale) - accuracy

    def normal(*shape: int) -> np.ndarray:
        return random.standard_normal(shape, dtype=np.float32)

    easy = level + DIFFICULTY * normal(trials, 1, images)
    gap = np.zeros((trials, seeds, images), dtype=np.float32)
    for shift, sign in ((GAP, 1), (0.0, -1)):
        arm = easy + shift + of_images * normal(trials, 1, images)
        arm = arm + of_seeds * normal(trials, seeds, 1) + normal(trials, seeds, images)
        gap += sign * (arm > 0)
    mean, by_seed, by_image = gap.mean(axis=(1, 2)), gap.mean(axis=2), gap.mean(axis=1)
    a = images * np.square(by_seed - mean[:, None]).sum(axis=1)
    b = seeds * np.square(by_image - mean[:, None]).sum(axis=1)
    rest = np.square(gap - mean[:, None, None]).sum(axis=(1, 2)) - a - b
    freedom = seeds - 1, images - 1
    squares = a / freedom[0], b / freedom[1], rest / (freedom[0] * freedom[1])
    half = crossed.half_width(seeds, images, *squares)
    return np.abs(mean - truth) <= half, half


def main() -> None:
    """Print a row for each number of seeds and images: the least and the most coverage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=2000, help="comparisons a design")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    designs = list(itertools.product(ACCURACY, OF_SEEDS, OF_IMAGES))
    print(f"{len(designs)} designs a row, {asked.trials} comparisons or more each\n")
    print("| seeds | test images | least coverage | mean | most | half an interval, in points |")
    print("|---:|---:|---:|---:|---:|---|")
    for images, seeds in itertools.product(IMAGES, SEEDS):
        random = np.random.default_rng([asked.seed, seeds, images])
        shares, halves = [], []
        for design in designs:
            # At most 40 MB of latent values at a time.
            size = min(asked.trials, max(1, 10**7 // (seeds * images)))
            parts = [
                simulated(random, size, seeds, images, design)
                for _ in range(-(-asked.trials // size))
            ]
            held, half = (np.concatenate(values) for values in zip(*parts, strict=True))
            shares.append(100 * float(held.mean()))
            halves.append(100 * float(half.mean()))
        print(
            f"| {seeds} | {images:,} | {min(shares):.1f} % | {np.mean(shares):.1f} % "
            f"| {max(shares):.1f} % | {min(halves):.2f} to {max(halves):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
