"""What do perceptual hashes find of CIFAR-10's published near-duplicates?

    pip install --no-deps imagededup PyWavelets
    python docs/benchmarks/hashes.py --images DIR --list cifair10.csv

DIR and the list are those of ``copies.py cifar``. Each of imagededup's hashes is held against those
of all training images, mirrored ones as well; printed are, for each distance, how many published
pairs are found, how many leaks are named, and of how many test
images.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import numpy as np
from imagededup.methods import AHash, DHash, PHash, WHash
from PIL import Image

DISTANCES = (0, 2, 4, 6, 8, 10)


def pixels(folder: Path) -> np.ndarray:
    """Return the images below a folder by their index, (N, 32, 32, 3) uint8."""
    paths = sorted(folder.rglob("*.png"), key=lambda path: int(path.stem))
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])


def hashed(hasher: AHash | DHash | PHash | WHash, images: np.ndarray) -> np.ndarray:
    """Return the hashes of images, (N,) uint64."""
    return np.array([int(hasher.encode_image(image_array=i), 16) for i in images], np.uint64)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--list", type=Path, required=True)
    options = parser.parse_args()
    with options.list.open() as stream:
        rows = [row for row in csv.reader(stream) if row and row[0].isdigit() and row[3] == "1"]
    test, train = (np.array([int(row[k]) for row in rows]) for k in (0, 1))
    images = {split: pixels(options.images / split) for split in ("train", "test")}
    print("| hash | distance | of the pairs | all leaks | test images named | s of processor |")
    print("|---|---|---|---|---|---|")
    for kind in (PHash, DHash, AHash, WHash):
        begun, hasher = time.process_time(), kind()
        of_train = hashed(hasher, images["train"])
        of_test = [hashed(hasher, i) for i in (images["test"], images["test"][:, :, ::-1])]
        spent = time.process_time() - begun
        apart = np.minimum(*(np.bitwise_count(t[test] ^ of_train[train]) for t in of_test))
        named = np.zeros((len(DISTANCES), 2), np.int64)
        for a, b in zip(*of_test, strict=True):
            near = np.minimum(*(np.bitwise_count(of_train ^ one) for one in (a, b)))
            found = np.array([(near <= d).sum() for d in DISTANCES])
            named += np.stack([found, found > 0], axis=1)
        for d, (pairs, tests) in zip(DISTANCES, named, strict=True):
            hit = int((apart <= d).sum())
            print(f"| {kind.__name__} | {d} | {hit} ({hit / len(rows):.0%}) | {pairs:,} | "
                  f"{tests:,} | {spent:.0f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
