"""Which measure finds what? Unusual samples are planted, and every measure is asked for them.

    python docs/benchmarks/planted.py [--seeds 3]
    python docs/benchmarks/planted.py --dataset fashion --data FOLDER_OF_IDX_FILES [--seeds 3]
    python docs/benchmarks/planted.py --dataset cifar10 --data FOLDER [--seeds 1] [--runs DIR]

Of the training images of scikit-learn's digits (898), or of 1,000 of Fashion-MNIST at 14 pixels,
4 % each become

- atypical: the left half of one image beside the right half of another of another class;
- blurred: by a Gaussian of an eighth of the side;
- mislabelled: the image as it is under another label;

and as many are added as

- duplicated: one exact copy (equal images are always trained on together);
- near-duplicated: one copy with one pixel a grey level off, which may be trained on elsewhere;
- copied from test: a test image with its label.

Of 1,000 images of CIFAR-10 (FOLDER/train/CLASS/*.png and FOLDER/test), in colour, 4 % each become

- a drawing: lines, ellipses and polygons at random on a plain ground;
- noise, or a blank: one colour;
- mislabelled, duplicated: as above.

Of a pair one counts as planted and the other not at all: their scores are equal, or nearly.

Then a plan (``parts: 4``; 12 repeats, or 8 of Fashion-MNIST; of CIFAR-10 the recipe
``cifar10-cpu``) is trained and scored, all measures
are computed, and a markdown table is printed: for every measure and plant the area under the ROC
curve by which the planted score above the untouched (0.5 = not at all, 1 = all of them, below 0.5
= lower than the untouched), with its 95 % interval (DeLong et al. 1988), averaged over seeds
of plants, plan, training and views. What each seed gave goes to stderr. For duplicates it says what
is expected.
Time: about 4 minutes of a CPU core a seed for digits, 6 for Fashion-MNIST, an hour for CIFAR-10, of
which ``--runs`` keeps what is trained.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage, stats

import curate
from curate.data import sources
from curate.runs.run import Run
from curate.scores import measures
from curate.scores.measures import MEASURES
from curate.scores.summary import ScoreSummary

SHARE = 0.04
GREY = ("atypical", "blurred", "mislabelled", "duplicated", "near-duplicated", "copied from test")
KINDS = {
    "digits": GREY,
    "fashion": GREY,
    "cifar10": ("drawing", "noise", "blank", "mislabelled", "duplicated"),
}
AGAIN = "-again"
OVERRIDES: dict[str, dict[str, Any]] = {
    "digits": {},
    "fashion": {
        "data.size": 14,
        "views.train": "crop-flip",
        "train.epochs": 100,
        "plan.repeats": 8,
        "score.views": 10,
    },
    "cifar10": {},
}
"""What differs from the recipe ``digits``, or ``cifar10-cpu``."""


def images(dataset: str, split: str, limit: int, data: Path | None) -> tuple[np.ndarray, ...]:
    """Return images (n, H, W) uint8 and their labels (n,)."""
    name = "digits" if dataset == "digits" else "idx"
    source = sources.open_source(name, split=split, data=data)
    found, labels = [], []
    for entry in source.entries():
        found.append(np.asarray(Image.open(io.BytesIO(entry.data)).convert("L")))
        labels.append(entry.label)
        if len(found) == limit:
            break
    return np.stack(found), np.array(labels)


def plant(dataset: str, seed: int, data: Path | None, out: Path) -> None:
    """Write a folder of images with plants; the file names say what each is."""
    limit = 10**6 if dataset == "digits" else 1000
    x, y = images(dataset, "train", limit, data)
    test_x, test_y = images(dataset, "test", limit // 2, data)
    draws = np.random.default_rng(seed)
    many = round(SHARE * len(x))
    order = draws.permutation(len(x))
    groups = {kind: order[i * many : (i + 1) * many] for i, kind in enumerate(GREY[:-1])}
    what = np.full(len(x), "untouched", dtype=object)
    for kind, rows in groups.items():
        what[rows] = kind
    pixels, labels = x.copy(), y.copy()
    half = x.shape[2] // 2
    untouched = order[len(groups) * many :]
    for i in groups["atypical"]:
        other = draws.choice(untouched[y[untouched] != y[i]])
        pixels[i, :, half:] = x[other, :, half:]
    for i in groups["blurred"]:
        blurred = ndimage.gaussian_filter(x[i].astype(float), sigma=x.shape[1] / 8)
        pixels[i] = np.rint(blurred).astype(np.uint8)
    for i in groups["mislabelled"]:
        labels[i] = draws.choice(np.setdiff1d(np.unique(y), y[i]))
    for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        write(out / "train" / str(label) / f"{what[i]}-{i}.png", image)
    for i in groups["duplicated"]:
        write(out / "train" / str(y[i]) / f"duplicated-{i}{AGAIN}.png", x[i])
    for i in groups["near-duplicated"]:
        near = x[i].copy()
        place = np.unravel_index(near.argmax(), near.shape)
        near[place] -= 1
        write(out / "train" / str(y[i]) / f"near-duplicated-{i}{AGAIN}.png", near)
    for i, (image, label) in enumerate(zip(test_x, test_y, strict=True)):
        write(out / "test" / str(label) / f"{i}.png", image)
    for i in draws.choice(len(test_x), many, replace=False):
        write(out / "train" / str(test_y[i]) / f"copied from test-{i}.png", test_x[i])


def plant_pictures(seed: int, data: Path, out: Path) -> None:
    """Write a folder of images in colour with plants; the file names say what each is."""
    draws = np.random.default_rng(seed)
    train, test = (sorted((data / split).glob("*/*.png")) for split in ("train", "test"))
    chosen = [train[i] for i in draws.choice(len(train), 1000, replace=False)]
    classes = sorted({path.parent.name for path in train})
    many = round(SHARE * len(chosen))
    names = np.repeat([*KINDS["cifar10"], "untouched"], [many] * 5 + [len(chosen) - 5 * many])
    for i, (path, kind) in enumerate(zip(chosen, names, strict=True)):
        image, label = np.asarray(Image.open(path).convert("RGB")), path.parent.name
        if kind == "drawing":
            image = drawing(draws, image.shape[0])
        elif kind == "noise":
            image = draws.integers(0, 256, image.shape, dtype=np.uint8)
        elif kind == "blank":
            image = np.full_like(image, draws.integers(0, 256, 3, dtype=np.uint8))
        elif kind == "mislabelled":
            label = draws.choice([name for name in classes if name != label])
        write(out / "train" / label / f"{kind}-{i}.png", image)
        if kind == "duplicated":
            write(out / "train" / label / f"{kind}-{i}{AGAIN}.png", image)
    for i in draws.choice(len(test), 1000, replace=False):
        write(out / "test" / test[i].parent.name / f"{i}.png", np.asarray(Image.open(test[i])))


def drawing(draws: np.random.Generator, side: int) -> np.ndarray:
    """Return lines, ellipses and polygons on a plain ground, (side, side, 3) uint8."""

    def colour() -> tuple[int, ...]:
        return tuple(int(value) for value in draws.integers(0, 256, 3))

    image = Image.new("RGB", (side, side), colour())
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        ends = [tuple(int(v) for v in draws.integers(0, side, 2)) for _ in range(3)]
        corners = [min(a, b) for a, b in zip(*ends[:2], strict=True)]
        corners += [max(a, b) for a, b in zip(*ends[:2], strict=True)]
        match draws.integers(3):
            case 0:
                pen.line(ends, fill=colour(), width=2)
            case 1:
                pen.ellipse(corners, outline=colour(), width=2)
            case _:
                pen.polygon(ends, outline=colour())
    return np.asarray(image)


def write(path: Path, image: np.ndarray) -> None:
    """Write an image (H, W) or (H, W, 3) as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)


def scored(dataset: str, seed: int, home: Path, data: Path) -> tuple[Run, ScoreSummary]:
    """Plant, train, score and measure; returns the run and what scores.json says."""
    folder = home / f"images-{seed}"
    given = {f"{section}.seed": seed for section in ("plan", "train", "score")}
    given |= {"data.source": f"folder:{folder}", **OVERRIDES[dataset]}
    if dataset == "cifar10":
        recipe = "cifar10-cpu"
        given["data.limit"] = None
    else:
        recipe = "digits"
        given.setdefault("plan.repeats", 12)
    if not folder.exists():
        if dataset == "cifar10":
            plant_pictures(seed, data, folder)
        else:
            plant(dataset, seed, data, folder)
    run = curate.open_run(recipe, runs=home / f"seed-{seed}", overrides=given)
    facts = curate.score(run, device="cpu", workers=None)
    curate.measure(run, device="cpu")
    return run, facts


def columns(run: Run, of: Sequence[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return what each sample of a run is, (N,), and each measure of it, (N,) by name."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    scores = run.scores()
    found = pq.read_table(run.path / "measures.parquet")
    index = pq.read_table(run.path / "shards" / "index.parquet", columns=["uid", "path"])
    places = index["path"].take(pc.index_in(scores["uid"], value_set=index["uid"]))
    what = np.array([Path(p).name.rpartition(".")[0] for p in places.to_pylist()], dtype=object)
    kinds = np.array([next((k for k in of if w.startswith(k)), "untouched") for w in what])
    kinds[[w.endswith(AGAIN) for w in what]] = "other"
    memorization, se = scores["memorization"].to_numpy(), scores["se"].to_numpy()
    out = {"memorization": memorization, "memorization / se": memorization / se}
    assert found["uid"].equals(scores["uid"])
    made = [kind for kind in MEASURES if measures.column(kind) in found.column_names]
    return kinds, out | {kind: found[measures.column(kind)].to_numpy() for kind in made}


def auroc(high: np.ndarray, low: np.ndarray) -> tuple[float, float]:
    """Return how often ``high`` exceeds ``low``, ties half, and its variance (DeLong et al. 1988).

    Args:
        high: (m,) values that are to be above.
        low: (n,) values.
    """
    high, low = high[np.isfinite(high)], low[np.isfinite(low)]
    m, n = len(high), len(low)
    ranks = stats.rankdata(np.concatenate([high, low]))
    above = (ranks[:m] - stats.rankdata(high)) / n
    below = 1 - (ranks[m:] - stats.rankdata(low)) / m
    return float(above.mean()), float(above.var(ddof=1) / m + below.var(ddof=1) / n)


def main() -> None:
    """Plant, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(OVERRIDES), default="digits")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", type=Path, help="folder of IDX files, or of CIFAR-10")
    parser.add_argument("--runs", type=Path, help="keep images and runs here, and go on with them")
    options = parser.parse_args()
    data = options.data or Path()
    if options.dataset != "digits" and options.data is None:
        parser.error(f"--dataset {options.dataset} needs --data, the folder of its images")
    kinds = KINDS[options.dataset]
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        home = options.runs or Path(folder)
        for seed in range(options.seeds):
            began = time.monotonic()
            run, facts = scored(options.dataset, seed, home, data)
            what, measured = columns(run, kinds)
            for name, values in measured.items():
                for kind in kinds:
                    area = auroc(values[what == kind], values[what == "untouched"])
                    found.setdefault(name, {}).setdefault(kind, []).append(area)
            shown = ", ".join(f"{k} {found['memorization'][k][-1][0]:.2f}" for k in kinds)
            print(
                f"seed {seed}: {len(what):,} samples ({(what == 'untouched').sum():,} untouched), "
                f"reliability {facts.reliability.encoders:.2f}; memorization: {shown}; "
                f"{time.monotonic() - began:.0f} s",
                file=sys.stderr,
                flush=True,
            )
    print(f"| measure | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for name, row in found.items():
        cells = []
        for kind in kinds:
            area, variance = np.array(row[kind]).T
            reach = 1.96 * np.sqrt(variance.sum()) / len(area)
            low, high = max(0.0, area.mean() - reach), min(1.0, area.mean() + reach)
            cells.append(f"{area.mean():.2f} [{low:.2f}, {high:.2f}]")
        print(f"| {name} | {' | '.join(cells)} |")
    print(
        "\nExpected of duplicates: an exact copy is seen twice an epoch by the same encoders, so "
        "that memorization rises (above 0.5); a near copy may be in the others' training set, "
        "which would hide it (below 0.5); k-NN outlierness falls for both."
    )


if __name__ == "__main__":
    main()
