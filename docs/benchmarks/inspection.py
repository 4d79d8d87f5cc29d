"""Does inspect find what was planted? Near-duplicates by kind, flawed samples by triage class.

    python docs/benchmarks/inspection.py [--data DIR] [--seeds 3] [--part duplicates|triage]

Near-duplicates: of 3,000 images of Fashion-MNIST (DIR has its four files), and of 1,000 rendered
colour JPEGs of 96 x 96 pixels, 240 are planted once more: cropped (80 to 95 % of each side,
anywhere, brought back to size), re-encoded (JPEG, quality 30 to 80), flipped, or with their
brightness times 0.5 to 0.8 or 1.2 to 1.5. Printed are recall by kind and precision of pairs at the
default threshold; pairs that were not planted count as wrong, though some are alike. Beside it, for
Fashion-MNIST, what the space of a trained encoder gives at a centred cosine of 0.98.

Triage: among 3,000 images of Fashion-MNIST 40 each are made blank (with noise of one grey level),
pure noise, blurred (a deviation of 2 pixels), put into another class, or planted once more flipped
(of which two one is redundant); a run of two folds is trained and scored on all. Printed is where
they end, first by the scores that were measured, then as if all that was planted and 5 % of the
others were the most memorized: the classes ``broken`` and ``tail`` are for memorized samples alone,
and this tells the rules from the ranking.
Hardware: 2 CPU cores. Time: about 15 minutes for 3 seeds.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
import gzip
import io
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

import curate
from curate.data.canvas import Canvas, decode
from curate.encoders import representation
from curate.inspection import duplicates, neighbours, thumbnails, triage
from curate.inspection.config import InspectConfig
from curate.runs.run import Run

PLANTED = 240
FLAWED = 40
N = {"Fashion-MNIST": 3000, "rendered JPEGs": 1000}


# Images


def fashion(data: Path, n: int, seed: int) -> tuple[list[Image.Image], np.ndarray]:
    """Return n training images and their labels."""
    with gzip.open(data / "train-images-idx3-ubyte.gz") as stream:
        pixels = np.frombuffer(stream.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(data / "train-labels-idx1-ubyte.gz") as stream:
        labels = np.frombuffer(stream.read(), np.uint8, offset=8)
    picked = np.random.default_rng(seed).permutation(len(pixels))[:n]
    return [Image.fromarray(image) for image in pixels[picked]], labels[picked].astype(int)


def rendered(n: int, seed: int, side: int = 96) -> list[Image.Image]:
    """Return n colour pictures: a smooth ground, some shapes, a little noise."""
    return [_rendered(np.random.default_rng([seed, i]), side) for i in range(n)]


def _rendered(random: np.random.Generator, side: int) -> Image.Image:
    cells = int(random.integers(2, 6))
    coarse = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
    draw, kind = ImageDraw.Draw(image), int(random.integers(0, 4))
    for _ in range(int(random.integers(2, 7))):
        x, y = random.integers(0, side, 2).tolist()
        w, h = random.integers(8, side // 2, 2).tolist()
        colour = tuple(random.integers(0, 256, 3).tolist())
        box = (x - w // 2, y - h // 2, x + w // 2 + 1, y + h // 2 + 1)
        if kind == 0:
            draw.ellipse(box, fill=colour)
        elif kind == 1:
            draw.rectangle(box, fill=colour)
        elif kind == 2:
            draw.polygon([(box[0], box[3]), (box[2], box[3]), (x, box[1])], fill=colour)
        else:
            draw.line(box, fill=colour, width=int(random.integers(2, 8)))
    noisy = np.asarray(image) + random.normal(0, 6, (side, side, 1))
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


# What is planted


def cropped(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return a part of an image at the size of the whole."""
    side = image.size[0]
    cut = round(side * random.uniform(0.8, 0.95))
    x, y = random.integers(0, side - cut + 1, 2).tolist()
    part = image.crop((x, y, x + cut, y + cut))
    return part.resize((side, side), Image.Resampling.BICUBIC)


def reencoded(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return an image as a JPEG of lower quality shows it."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=int(random.integers(30, 81)))
    return Image.open(stream).convert(image.mode)


def flipped(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return the mirror image."""
    return ImageOps.mirror(image)


def brightened(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Return an image darker or brighter."""
    low, high = (0.5, 0.8) if random.random() < 0.5 else (1.2, 1.5)
    return ImageEnhance.Brightness(image).enhance(random.uniform(low, high))


KINDS: dict[str, Callable[[Image.Image, np.random.Generator], Image.Image]] = {
    "crop": cropped,
    "re-encode": reencoded,
    "flip": flipped,
    "brightness": brightened,
}


def stored(image: Image.Image, kind: str) -> bytes:
    """Return an image as a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return stream.getvalue()


# Near-duplicates


def planted(images: list[Image.Image], seed: int) -> tuple[list[Image.Image], dict[str, set]]:
    """Return images with some planted once more, and the pairs of each kind."""
    random = np.random.default_rng(seed)
    out, pairs = list(images), {kind: set() for kind in KINDS}
    for j, source in enumerate(random.permutation(len(images))[:PLANTED].tolist()):
        kind = list(KINDS)[j % len(KINDS)]
        pairs[kind].add((source, len(out)))
        out.append(KINDS[kind](images[source], random))
    return out, pairs


def measured(found: set, pairs: dict[str, set]) -> list[float]:
    """Return recall of each kind, and precision, in percent."""
    every = set().union(*pairs.values())
    recall = [100 * len(found & some) / len(some) for some in pairs.values()]
    return [*recall, 100 * len(found & every) / max(1, len(found))]


def in_space(run: Run, pixels: np.ndarray) -> set:
    """Return the pairs that a trained encoder's space has at a centred cosine of 0.98."""
    canvas = Canvas(pixels, np.array([b"%08d" % i for i in range(len(pixels))]))
    points = representation.features(run.encoder("fold0"), canvas, np.arange(len(pixels)))
    near = neighbours.nearest(points, 10)
    row, column = np.nonzero(1 - near.distance**2 / 2 >= 0.98)
    other = near.near[row, column]
    low, high = np.minimum(row, other).tolist(), np.maximum(row, other).tolist()
    return set(zip(low, high, strict=True))


def duplicates_part(data: Path, seeds: int, run: Run | None) -> None:
    """Print the table of near-duplicates."""
    threshold = InspectConfig().duplicate_threshold
    rows: dict[str, list[list[float]]] = {}
    for seed in range(seeds):
        for name, n in N.items():
            grey = name == "Fashion-MNIST"
            images = fashion(data, n, seed)[0] if grey else rendered(n, seed)
            images, pairs = planted(images, seed)
            kind, channels = ("PNG", 1) if grey else ("JPEG", 3)
            pixels = np.stack([decode(stored(i, kind), channels=channels) for i in images])
            began = time.monotonic()
            found = duplicates.find(thumbnails.of_canvas(pixels), threshold)
            alike = set(zip(found.a.tolist(), found.b.tolist(), strict=True))
            print(
                f"{name} seed {seed}: {len(alike)} pairs in {time.monotonic() - began:.0f} s",
                file=sys.stderr,
            )
            rows.setdefault(f"{name}, pixels (default)", []).append(measured(alike, pairs))
            if grey and run is not None:
                space = measured(in_space(run, pixels), pairs)
                rows.setdefault(f"{name}, space of an encoder", []).append(space)
    print(f"| near-duplicates | {' | '.join(KINDS)} | precision |\n|---|" + "---|" * 5)
    for name, values in rows.items():
        mean, spread = np.mean(values, axis=0), np.std(values, axis=0, ddof=min(1, seeds - 1))
        cells = [f"{a:.1f} ± {b:.1f}" for a, b in zip(mean, spread, strict=True)]
        print(f"| {name} | {' | '.join(cells)} |")
    print(flush=True)


# Triage


def flawed(data: Path, seed: int, folder: Path) -> None:
    """Write Fashion-MNIST by class, with flawed samples; file names begin with what they are."""
    images, labels = fashion(data, N["Fashion-MNIST"], seed)
    random = np.random.default_rng(seed)
    chosen = iter(random.permutation(len(images)).tolist())
    what = ["clean"] * len(images)
    for kind in ("blank", "noise", "blurred", "label", "duplicate"):
        for _ in range(FLAWED):
            i = next(chosen)
            if kind == "duplicate":
                images.append(ImageOps.mirror(images[i]))
                what.append(kind)
                what[i] = kind
                labels = np.append(labels, labels[i])
                continue
            what[i] = kind
            if kind == "blank":
                level = int(random.integers(1, 255))
                images[i] = Image.fromarray(
                    (level + random.integers(-1, 2, (28, 28))).astype(np.uint8)
                )
            elif kind == "noise":
                images[i] = Image.fromarray(random.integers(0, 256, (28, 28), dtype=np.uint8))
            elif kind == "blurred":
                images[i] = images[i].filter(ImageFilter.GaussianBlur(2))
            else:
                labels[i] = (labels[i] + random.integers(1, 10)) % 10
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{what[i]}-{i:05d}.png")


def trained(data: Path, seed: int, home: Path) -> Run:
    """Return a run on flawed images, scored and inspected."""
    flawed(data, seed, home / f"images-{seed}")
    recipe = curate.load_recipe(
        "fashion-mnist",
        {
            "name": f"flawed-{seed}",
            "data.source": f"folder:{home / f'images-{seed}'}",
            "data.test": None,
            "encoder.backbone": "convnet",
            "encoder.temperature": 0.5,
            "plan.folds": 2,
            "plan.seed": seed,
            "train.seed": seed,
            "train.epochs": 30,
            "train.warmup_epochs": 2,
            "train.batch_size": 64,
            "train.lr": 5e-3,
            "views.crop": [0.6, 1.0],
            "inspect.duplicate_threshold": InspectConfig().duplicate_threshold,
            "compare.remove": [],
        },
    )
    run = curate.open_run(recipe, runs=home / "runs")
    facts = curate.score(run, device="cpu", workers=1)
    print(
        f"triage seed {seed}: separation {facts.separation}, reliability "
        f"{facts.reliability.to_json()}",
        file=sys.stderr,
    )
    curate.inspect(run, device="cpu")
    return run


def ends(run: Run, seed: int, *, as_if: bool) -> Counter:
    """Return how many of what was planted end in which class: (planted, class) -> n."""
    table = pq.read_table(run.path / "inspect.parquet")
    index = pq.read_table(run.path / "shards" / "index.parquet").sort_by("uid")
    what = np.array([Path(path).name.split("-")[0] for path in index["path"].to_pylist()])
    reason = np.array(table["triage_reason"].to_pylist(), dtype=object)
    classes = np.array(table["triage"].to_pylist(), dtype=object)
    if as_if:
        # The planted ones first, then the 5 % of the others, then the rest, each in any order.
        random = np.random.default_rng(seed)
        key = np.where(what == "clean", 1.0, 0.0) + random.random(len(what))
        key[(what == "clean") & (random.random(len(what)) < 0.05)] -= 1.0
        rank = np.argsort(np.argsort(key)) + 1
        group = table["duplicate_group"].fill_null(-1).to_numpy()
        size = index["size"].to_numpy()
        stands = triage.representatives(group, size)
        classes = triage.triage(
            rank, table["outlier_score"].to_numpy(), reason, (group >= 0) & ~stands, {}
        ).classes
    shown = [f"broken: {r}" if c == "broken" else c for c, r in zip(classes, reason, strict=True)]
    return Counter(zip(what.tolist(), shown, strict=True))


def triage_part(runs: list[Run]) -> None:
    """Print both confusion tables, all seeds together."""
    columns = [*(f"broken: {r}" for r in triage.REASONS), "redundant", "tail", "typical"]
    for as_if, title in ((False, "by the measured scores"), (True, "as if memorized")):
        counts = sum((ends(run, seed, as_if=as_if) for seed, run in enumerate(runs)), Counter())
        print(f"| planted ({title}) | {' | '.join(columns)} |\n|---|" + "---|" * len(columns))
        for kind in ("blank", "noise", "blurred", "label", "duplicate", "clean"):
            print(f"| {kind} | " + " | ".join(str(counts[kind, c]) for c in columns) + " |")
        print(flush=True)
    flaws: Counter = Counter()
    for run in runs:
        table = pq.read_table(run.path / "inspect.parquet", columns=["triage_reason"])
        index = pq.read_table(run.path / "shards" / "index.parquet").sort_by("uid")
        what = [Path(path).name.split("-")[0] for path in index["path"].to_pylist()]
        flaws += Counter(zip(what, table["triage_reason"].to_pylist(), strict=True))
    names = [*triage.REASONS, None]
    print(f"| planted (flaw, whatever the score) | {' | '.join(n or 'none' for n in names)} |")
    print("|---|" + "---|" * len(names))
    for kind in ("blank", "noise", "blurred", "label", "duplicate", "clean"):
        print(f"| {kind} | " + " | ".join(str(flaws[kind, n]) for n in names) + " |")


def main() -> None:
    """Measure what was asked for and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("fashion-mnist"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--part", action="append", choices=["duplicates", "triage"])
    options = parser.parse_args()
    parts = options.part or ["duplicates", "triage"]
    with tempfile.TemporaryDirectory() as folder:
        home, runs = Path(folder), []
        if "triage" in parts:
            runs = [trained(options.data, seed, home) for seed in range(options.seeds)]
        if "duplicates" in parts:
            duplicates_part(options.data, options.seeds, runs[0] if runs else None)
        if runs:
            triage_part(runs)


if __name__ == "__main__":
    main()
