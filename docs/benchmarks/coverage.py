"""How often do the intervals of comparisons hold the truth? Simulated seeds and test images.

    python docs/benchmarks/coverage.py

Two arms are trained with S seeds and tested on the same I images. Whether an arm is right about an
image is drawn from a probit model: images differ in difficulty (standard deviation 1.5 of latent
units whose noise is 1), each arm finds some images easier than the other arm does (``images``), and
each training is a little better or worse than the next (``seeds``). The truth is the gap in
expectation over images and seeds, in closed form. Minutes on one core.
"""

from __future__ import annotations

import argparse
import itertools

import numpy as np
from scipy import special

from curate.evaluation.crossed import Gaps

SEEDS, IMAGES = (2, 3, 5, 10), (200, 1000, 10_000)
ACCURACY, OF_SEEDS, OF_IMAGES = (0.8, 0.97), (0.0, 0.03, 0.15), (0.0, 0.5)
DIFFICULTY, GAP = 1.5, 0.05


def covered(
    random: np.random.Generator,
    seeds: int,
    images: int,
    accuracy: float,
    of_seeds: float,
    of_images: float,
) -> tuple[bool, float]:
    """Return whether the interval of one simulated comparison holds the truth, and half of it."""
    scale = np.sqrt(1 + DIFFICULTY**2 + of_images**2 + of_seeds**2)
    level = special.ndtri(accuracy) * scale
    truth = special.ndtr((level + GAP) / scale) - accuracy
    easy = DIFFICULTY * random.standard_normal(images, dtype=np.float32)
    right = []
    for shift in (GAP, 0.0):
        of_image = of_images * random.standard_normal(images, dtype=np.float32)
        of_seed = of_seeds * random.standard_normal((seeds, 1), dtype=np.float32)
        noise = random.standard_normal((seeds, images), dtype=np.float32)
        right.append(noise + of_seed + (easy + of_image + np.float32(level + shift)) > 0)
    gaps = Gaps()
    for first, second in zip(*right, strict=True):
        gaps.add(first, second)
    found = gaps.paired()
    assert found.low is not None
    assert found.high is not None
    return bool(found.low <= truth <= found.high), (found.high - found.low) / 2


def main() -> None:
    """Print a row for each number of seeds and images: the least and the most coverage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=4000, help="comparisons a design")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    designs = list(itertools.product(ACCURACY, OF_SEEDS, OF_IMAGES))
    print(f"{len(designs)} designs a row, {asked.trials} comparisons each\n")
    print("| seeds | test images | least coverage | mean | most | half an interval, in points |")
    print("|---:|---:|---:|---:|---:|---|")
    for images, seeds in itertools.product(IMAGES, SEEDS):
        random = np.random.default_rng([asked.seed, seeds, images])
        shares, halves = [], []
        for design in designs:
            made = [covered(random, seeds, images, *design) for _ in range(asked.trials)]
            shares.append(100 * float(np.mean([held for held, _ in made])))
            halves.append(100 * float(np.mean([half for _, half in made])))
        print(
            f"| {seeds} | {images:,} | {min(shares):.1f} % | {np.mean(shares):.1f} % "
            f"| {max(shares):.1f} % | {min(halves):.2f} to {max(halves):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
