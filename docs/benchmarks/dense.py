"""Does an encoder help to segment, or to tell depths? A trained encoder against a random one.

    python docs/benchmarks/dense.py CAMVID [--seeds 5] [--epochs 100] [--frozen true false]
    python docs/benchmarks/dense.py --rendered DIR [--seeds 5] [--epochs 100] [--frozen true false]

For each seed it trains an encoder on the training images (recipe ``cifar10-cpu`` at 32x32 pixels:
SimCLR on a small convolutional network), without masks or depths, and holds it against the weights
that this training began with: a UNet of 32 channels is trained upon both from the masks or depths
of the same images, with the same decoder and order for a seed, and tested once on the test images.

The images are CamVid's street scenes, 367 to train on and 233 to test on (mean IoU in % over 11
classes, void left out), or RGB-D scenes that are rendered into DIR, 300 and 200: balls of all
colours and sizes on a chequered floor before a wall, under a light whose direction and strength are
drawn for each scene, so that no shade says how far away something is (RMSE in metres, AbsRel).

It prints each measure with its standard deviation over seeds, and the difference with its 95 %
interval over seeds and test images (``evaluation/crossed.py``); what each seed gave goes to stderr.
Hardware: 2 CPU cores. Needs ``pip install 'curate[seg]'``.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from curate.data.canvas import Canvas
from curate.encoders.backbone import Encoder, load_encoder
from curate.encoders.training import train_encoder
from curate.evaluation.config import ProbeConfig
from curate.evaluation.crossed import Gaps
from curate.evaluation.dense import measure_dense, measured
from curate.evaluation.dense.base import DenseSet
from curate.evaluation.measures import measure_of
from curate.runs.recipe import Recipe, load_recipe
from curate.stages.context import Context
from curate.stages.dense import Shown
from curate.stages.probe import dense_data

SIZE = 32
VOID = 11
DECODER = {"decoder": "unet", "width": 32, "epochs": 20, "lr": 0.05, "threads": 1}
"""A schedule for minutes of a CPU, not the paper's."""
SCENES = {"train": 300, "test": 200}
SIDE = 64
"""Of a rendered scene, in pixels."""
EYE = 1.5
"""Height of the camera above the floor, in metres."""


def rendered(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (H, W, 3) uint8 and how far each pixel lies ahead (H, W), in metres."""
    draws = np.random.default_rng(seed)
    across, up = np.meshgrid(np.linspace(-0.8, 0.8, SIDE), np.linspace(0.5, -1.1, SIDE))
    rays = np.stack([across, up, np.ones_like(up)], axis=-1)
    wall = draws.uniform(5, 9)
    depth = np.full(up.shape, wall)
    colours = draws.uniform(0.2, 1, (3, 3))
    normal = np.broadcast_to([0.0, 0.0, -1.0], rays.shape).copy()
    albedo = np.broadcast_to(colours[0], rays.shape).copy()
    floor = (up < 0) & (EYE / np.maximum(-up, 1e-6) < wall)
    depth[floor] = EYE / -up[floor]
    normal[floor] = [0, 1, 0]
    cells = np.floor(rays[floor][:, [0, 2]] * depth[floor][:, None] / draws.uniform(0.4, 0.9))
    albedo[floor] = colours[1 + cells.sum(axis=1).astype(int) % 2]
    for _ in range(draws.integers(2, 6)):
        radius, z = draws.uniform(0.25, 0.9), draws.uniform(2, wall - 1)
        middle = np.array([draws.uniform(-0.7, 0.7) * z, radius - EYE, z])
        # The nearer of the two places where a ray t * (x, y, 1) meets the ball.
        a, b = (rays**2).sum(axis=-1), rays @ middle
        inside = b**2 - a * (middle @ middle - radius**2)
        t = (b - np.sqrt(np.maximum(inside, 0))) / a
        seen = (inside > 0) & (t > 0.5) & (t < depth)
        depth[seen] = t[seen]
        normal[seen] = (rays[seen] * t[seen][:, None] - middle) / radius
        albedo[seen] = draws.uniform(0.2, 1, 3)
    light = draws.normal([0, 1.5, -1.5])
    shade = 0.4 + 0.6 * np.maximum(normal @ (light / np.linalg.norm(light)), 0)
    pixels = 255 * draws.uniform(0.6, 1.1) * albedo * shade[..., None]
    pixels += draws.normal(0, 5, pixels.shape)
    return pixels.clip(0, 255).astype(np.uint8), depth


def write_scenes(root: Path) -> None:
    """Lay rendered scenes out as an RGB-D folder, depths in millimetres."""
    for split, count in SCENES.items():
        for what in ("images", "depths"):
            (root / what / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, depth = rendered(number + (split == "test") * 100_000)
            Image.fromarray(image).save(root / "images" / split / f"{number:04}.png")
            millimetres = Image.fromarray(np.rint(1000 * depth).astype(np.uint16))
            millimetres.save(root / "depths" / split / f"{number:04}.png")


def both(data: DenseSet, recipe: Recipe, seed: int, home: Path) -> dict[str, Encoder]:
    """Return an encoder trained on a set's images, and the one that its training began with."""
    names = np.array([f"{row:032x}" for row in range(len(data.images))], dtype=np.bytes_)
    out = home / str(seed)
    train_encoder(
        Canvas(data.images, names),
        names.astype(str),
        recipe.training_spec(),
        seed=seed,
        out=out,
        device="cpu",
    )
    torch.manual_seed(seed)
    begun = Encoder(recipe.encoder.backbone, size=SIZE, channels=3)
    return {"trained": load_encoder(out), "random": begun.eval().requires_grad_(False)}


def main() -> None:
    """Train, probe, and print a row for each way to probe and each measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("camvid", type=Path, nargs="?")
    parser.add_argument("--rendered", type=Path, metavar="DIR")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--frozen", nargs="+", choices=["true", "false"], default=["true", "false"])
    asked = parser.parse_args()
    if (asked.camvid is None) == (asked.rendered is None):
        parser.error("name CamVid's folder, or a folder for rendered scenes (--rendered DIR)")
    recipe = load_recipe(
        "cifar10-cpu",
        {
            "data.size": SIZE,
            "train.epochs": asked.epochs,
            "train.batch_size": 64,
            "train.threads": 1,
        },
    )
    config = ProbeConfig.model_validate({"seg": {"void": (VOID,), **DECODER}, "depth": DECODER})
    name, of = f"seg:{asked.camvid}", config.seg
    if asked.rendered is not None:
        write_scenes(asked.rendered)
        name, of = f"depth:{asked.rendered}", config.depth
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        data = dense_data(name, config, Context("cpu"), Shown(home, SIZE, 3))
        pairs = [both(data, recipe, seed, home) for seed in range(asked.seeds)]
        print(f"trained after {time.monotonic() - started:.0f} s", file=sys.stderr)
        print(
            "| measure | encoder | trained | random | difference | p |\n|---|---|---|---|---|---|"
        )
        for frozen in asked.frozen:
            settings = of.model_copy(update={"frozen": frozen == "true"})
            gaps: dict[str, Gaps] = defaultdict(Gaps)
            reached: dict[str, list[list[float]]] = defaultdict(list)
            for seed, encoders in enumerate(pairs):
                values: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
                for which, encoder in encoders.items():
                    sums = measure_dense(encoder, data, settings, seed=seed)
                    for about, parts in measured(data, settings, sums):
                        values[about.kind][which] = parts
                for kind, of_kind in values.items():
                    gaps[kind].add(of_kind["trained"], of_kind["random"])
                    scale = measure_of(kind).scale
                    mine, other = (scale * float(of_kind[w].mean()) for w in ("trained", "random"))
                    reached[kind].append([mine, other])
                    line = f"{kind}, frozen {frozen}, seed {seed}: {mine:.4g}, {other:.4g}"
                    print(line, file=sys.stderr)
            for kind, found in reached.items():
                print(row(kind, frozen == "true", found, gaps[kind]))
    print(f"done after {time.monotonic() - started:.0f} s", file=sys.stderr)


def row(kind: str, frozen: bool, reached: list[list[float]], gaps: Gaps) -> str:
    """Return a line of the table: a measure of trained and of random encoders, (seeds, 2)."""
    shown = measure_of(kind)
    digits = 1 if shown.scale > 1 else 3
    means, deviations = np.mean(reached, axis=0), np.std(reached, axis=0, ddof=1)
    a, b = (f"{m:.{digits}f} ± {d:.{digits}f}" for m, d in zip(means, deviations, strict=True))
    gap = gaps.paired()
    assert gap.low is not None and gap.high is not None
    mean, low, high = (f"{shown.scale * v:+.{digits}f}" for v in (gap.mean, gap.low, gap.high))
    how = "frozen" if frozen else "trained on with its decoder"
    what = f"{kind}, {shown.unit.strip()}" if shown.unit else kind
    return f"| {what} | {how} | {a} | {b} | {mean} [{low}, {high}] | {gap.p:.2g} |"


if __name__ == "__main__":
    main()
