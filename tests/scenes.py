"""Scenes rendered for tests: discs on a floor, with the class and the depth of every pixel."""

import numpy as np
from PIL import Image

CLASSES = 4
"""Background, and three kinds of discs; 255 is void."""
COLOURS = np.array([[90, 110, 90], [220, 60, 60], [60, 80, 220], [230, 210, 60]], dtype=float)


def scene(seed, width=40, height=32):
    """Return an image (H, W, 3) uint8, its classes (H, W) uint8 and its metres (H, W) float32.

    What is farther away is darker, so that depths can be told.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    depth = 8.0 - 6.0 * y / height
    mask = np.zeros((height, width), dtype=np.uint8)
    for _ in range(3):
        far, kind = random.uniform(1.5, 6.0), random.integers(1, CLASSES)
        middle = random.uniform(0, width), random.uniform(0, height)
        inside = np.hypot(x - middle[0], y - middle[1]) < 0.9 * height / far
        nearer = inside & (far < depth)
        depth[nearer], mask[nearer] = far, kind
    light = 1.3 / (1 + 0.35 * depth)
    noise = random.normal(0, 6, (height, width, 1))
    image = (COLOURS[mask] * light[..., None] + noise).clip(0, 255).astype(np.uint8)
    mask[:2] = 255
    return image, mask, depth.astype(np.float32)


def write_scenes(root, *, train=24, test=12, **size):
    """Lay scenes out as CamVid and as an RGB-D folder do, side by side; returns the root."""
    for split, numbers in (("train", range(train)), ("test", range(1000, 1000 + test))):
        for name in ("images", "annotations", "depths"):
            (root / name / split).mkdir(parents=True)
        for number in numbers:
            image, mask, depth = scene(number, **size)
            millimetres = Image.fromarray(np.rint(1000 * depth).astype(np.uint16))
            Image.fromarray(image).save(root / "images" / split / f"{number:04}.png")
            Image.fromarray(mask).save(root / "annotations" / split / f"{number:04}.png")
            millimetres.save(root / "depths" / split / f"{number:04}.png")
    return root
