# ruff: noqa: T201 (it prints its tables)
"""Benchmark of speed: scoring and decoding beside the loops that other code has.

    python docs/benchmarks/speed.py [--part score|decode] [--rounds 7] [--scratch DIR]

Prints tables of docs/performance.md. Everything is measured in turn, one round of each after the
other, so that what else the machine does falls on all alike. Takes about 3 minutes on 2 cores and
100 MB in the scratch folder, which are removed.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import webdataset
from PIL import Image
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).parent))
from storage import photos, small_images

from curate.data import shards, sources
from curate.data.canvas import build_canvas
from curate.encoders.backbone import Encoder
from curate.encoders.representation import distance
from curate.encoders.views import ViewSpec
from curate.runs.recipe import load_recipe
from curate.runtime import randomness
from curate.runtime.threads import cores
from curate.scores.alignment import align_images

Work = Callable[[], object]


def in_turn(work: Mapping[str, tuple[int, Work]], rounds: int, unit: str) -> None:
    """Print how many of ``unit`` each does in a second, and how the first compares."""
    rates: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(-1, rounds):
        order = list(work.items())
        for name, (n, do) in order if turn % 2 else order[::-1]:
            started = time.perf_counter()
            do()
            if turn >= 0:  # the first round warms up
                rates[name].append(n / (time.perf_counter() - started))
    print(f"| what | {unit}/s, median [lowest to highest] | curate is faster by |")
    print("|---|---|---|")
    ours = next(iter(rates.values()))
    for name, found in rates.items():
        times = [a / b for a, b in zip(ours, found, strict=True)]
        against = "" if found is ours else _spread(times, "{:.1f}")
        print(f"| {name} | {_spread(found, '{:,.1f}')} | {against} |", flush=True)


def _spread(values: list[float], form: str) -> str:
    shown = [form.format(v) for v in (statistics.median(values), min(values), max(values))]
    return f"{shown[0]} [{shown[1]} to {shown[2]}]"


# Scoring


def theirs(spec: ViewSpec, side: int) -> transforms.Compose:
    """Return torchvision's transform of PIL images that draws what ``spec`` does."""
    steps: list[object] = []
    if spec.crop:
        steps.append(transforms.RandomResizedCrop(side, spec.crop))
    if spec.flip:
        steps.append(transforms.RandomHorizontalFlip(spec.flip))
    if spec.jitter:
        strengths = (spec.brightness, spec.contrast, spec.saturation, spec.hue)
        steps.append(transforms.RandomApply([transforms.ColorJitter(*strengths)], spec.jitter))
    return transforms.Compose([*steps, transforms.ToTensor()])


def scoring(name: str, overrides: Mapping[str, object], few: int, many: int, rounds: int) -> None:
    """Print how fast f and g are measured on all their views, and by a loop over images."""
    recipe = load_recipe(name, overrides)
    data, config, score = recipe.data, recipe.encoder, recipe.score
    encoders = {
        e: Encoder(
            config.backbone, size=data.size, channels=data.channels, patch=config.patch
        ).eval()
        for e in ("f", "g")
    }
    random = np.random.default_rng(0)
    shape = (many, data.channels, data.size, data.size)
    images = random.integers(0, 256, shape, dtype=np.uint8)
    words = randomness.uid_keys([f"{randomness.stream(0, i):016x}{i:016x}" for i in range(many)])
    spec = recipe.measuring_views()
    transform, plain = theirs(spec, data.size), transforms.ToTensor()
    pictures = [Image.fromarray(x.transpose(1, 2, 0).squeeze()) for x in images[:few]]

    def ours() -> None:
        align_images(
            encoders, images, words, spec, score,
            representation=config.representation, device="cpu",
        )  # fmt: skip

    def z_of(encoder: Encoder, shown: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(encoder.forward_float(shown[None]).flatten(1), dim=1)

    @torch.inference_mode()
    def loop(each_time: bool) -> None:
        for encoder in encoders.values():
            for picture in pictures:
                clean = z_of(encoder, plain(picture))
                apart = []
                for k in range(score.views):
                    if each_time and k:
                        clean = z_of(encoder, plain(picture))
                    apart.append(distance(clean, z_of(encoder, transform(picture)), "l2"))
                torch.stack(apart).mean().item()

    print(
        f"\n{name}: {config.backbone}, {data.size} pixels, {score.views} views, f and g, curate's "
        f"precision {score.precision}:\n"
    )
    in_turn(
        {
            "curate score": (many, ours),
            "a loop over images and views, Pillow and torchvision": (few, lambda: loop(False)),
            "the same, the image encoded anew for every view, as the paper's authors' code does": (
                few,
                lambda: loop(True),
            ),
        },
        rounds,
        "images",
    )


# Decoding


def decoding(text: str, source: Path, side: int, channels: int, scratch: Path, rounds: int) -> None:
    """Print how fast shards become arrays of one size, and by webdataset with torchvision."""
    folder = scratch / f"shards-{source.name}"
    made = shards.write([(sources.open_source(f"folder:{source}", split="train"), "train")], folder)
    extension = "png" if source.name == "small" else "jpg"
    mode = "L" if channels == 1 else "RGB"
    fit = transforms.Compose(
        [
            transforms.Resize(side, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(side),
            transforms.PILToTensor(),
        ]
    )

    def ours() -> None:
        build_canvas(folder, scratch / "canvas.npy", size=side, channels=channels)

    def loop() -> None:
        urls = [str(path) for path in sorted(folder.glob("*.tar"))]
        for (data,) in webdataset.WebDataset(urls, shardshuffle=False).to_tuple(extension):
            fit(Image.open(io.BytesIO(data)).convert(mode))

    n = int(made["written"])
    print(f"\n{n:,} {text} to {side} x {side}:\n")
    in_turn(
        {
            "curate, to a file, every image checked against its sha256": (n, ours),
            "webdataset, Pillow and torchvision, kept nowhere": (n, loop),
        },
        rounds,
        "images",
    )


def main() -> None:
    """Print what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=("score", "decode"), help="only this")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--scratch", type=Path, help="where to work; default: the temporary folder")
    asked = parser.parse_args()
    print(
        f"{cores()} cores, {torch.get_num_threads()} threads of torch {torch.__version__}, load "
        f"{os.getloadavg()[0]:.1f}"
    )
    if asked.part != "decode":
        scoring("digits", {}, 16, 1024, asked.rounds)
        tiny = {"encoder.backbone": "vit_tiny", "encoder.patch": 4, "data.size": 32,
                "encoder.representation": "full", "score.views": 5}  # fmt: skip
        scoring("fashion-mnist", tiny, 4, 32, asked.rounds)
        if "avx512_bf16" in Path("/proc/cpuinfo").read_text():  # elsewhere it is emulated
            scoring("fashion-mnist", {**tiny, "score.precision": "bfloat16"}, 4, 32, asked.rounds)
    if asked.part != "score":
        with tempfile.TemporaryDirectory(dir=asked.scratch) as name:
            scratch = Path(name)
            small_images(4000, scratch / "small")
            photos(1000, scratch / "photos")
            decoding("PNGs of 8 x 8", scratch / "small", 8, 1, scratch, asked.rounds)
            photos(500, scratch / "larger", (375, 500))
            decoding("JPEGs of 200 to 300", scratch / "photos", 64, 3, scratch, asked.rounds)
            decoding("JPEGs of 375 to 500", scratch / "larger", 64, 3, scratch, asked.rounds)


if __name__ == "__main__":
    main()
