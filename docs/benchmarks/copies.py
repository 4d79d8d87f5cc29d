"""Does copies find what is published, and what is planted, and how long does it take?

    python docs/benchmarks/copies.py cifar --images DIR --list cifair10.csv [--limit N]
    python docs/benchmarks/copies.py planted --images DIR [--limit 3000] [--planted 780]
    python docs/benchmarks/copies.py photos --images DIR
    python docs/benchmarks/copies.py collages --images DIR --limit 1000000

``cifar``: DIR has train/ and test/ with a PNG each, whose names are the indices of the original
batches; the list is ciFAIR's (columns TestID, TrainID, Distance, Judgment). Printed are the share
of its near-duplicates (judgment 1) that are found, of even and odd test indices (the last rule was
tuned on pairs with an even one, what came before on either), and how many test images have a copy
in the training set. With --limit, the images of the list and as many others as are missing to N.
``--pictures FILE`` writes random pairs that the list lacks, side by side.

``planted``: of images below DIR some are planted once more, distorted in each way of
``distortions``; printed is recall by kind, as a pair with the original and as one of its group, and
how many pairs are of different images. ``photos``: the same
with photographs, each planted once in every way. ``collages``: distinct collages of crops of two
images of DIR, 32 pixels, 1 % of them planted once more distorted; made as they are read.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
import csv
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from distortions import KINDS
from PIL import Image

from curate.inspection import duplicates, thumbnails
from curate.inspection.thumbnails import SIDE, Thumbnails

Pair = tuple[int, int]


def progress(what: str, done: int, total: int) -> None:
    """Say on stderr how far it is, sixteen times."""
    if done >= total or done * 16 // total > (done - 512) * 16 // total:
        print(f"{what}: {done:,} of {total:,}", file=sys.stderr)


def found_in(images: Thumbnails, home: Path | None = None) -> tuple[duplicates.Pairs, set[Pair]]:
    """Return what is found, and say how long it took.

    An unfinished search is kept in ``home``; the time is of this process alone.
    """
    wall, cpu = time.monotonic(), time.process_time()
    found = duplicates.find(images, progress=progress, home=home)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{len(images):,} images: {time.monotonic() - wall:.0f} s, {time.process_time() - cpu:.0f} "
        f"s of processor, {peak:.1f} GiB at the peak; {found.search}"
    )
    return found, set(zip(found.a.tolist(), found.b.tolist(), strict=True))


def kept(images: list[Image.Image]) -> Thumbnails:
    """Return thumbnails of images."""
    out = Thumbnails.empty(len(images))
    for i, image in enumerate(images):
        grey, colour = thumbnails.of_small(
            torch.from_numpy(thumbnails.pixels(thumbnails.shrunk(image)).copy()[None])
        )
        out.grey[i], out.colour[i] = grey[0], colour[0]
        out.detail[i] = thumbnails.detail(*image.size)
    return out


def opened(path: Path) -> Image.Image:
    """Return an image in RGB."""
    with Image.open(path) as image:
        return image.convert("RGB")


def below(folder: Path) -> list[Path]:
    """Return the images below a folder, in order."""
    ends = {".png", ".jpg", ".jpeg"}
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in ends)


def cifar(folder: Path, listed: Path, limit: int | None, pictures: Path | None) -> None:
    """Print how much of ciFAIR's list is found."""
    paths = {}
    for split in ("train", "test"):
        paths |= {(split, int(path.stem)): path for path in below(folder / split)}
    with listed.open() as stream:
        rows = [row for row in csv.reader(stream) if row and row[0].isdigit()]
    published = [(("train", int(r[1])), ("test", int(r[0]))) for r in rows if r[3] == "1"]
    names = list(paths)
    if limit is not None:
        needed = {name for pair in published for name in pair}
        others = [name for name in names if name not in needed]
        more = np.random.default_rng(0).permutation(len(others))[: limit - len(needed)]
        chosen = needed | {others[i] for i in more}
        names = [name for name in names if name in chosen]
    place = {name: i for i, name in enumerate(names)}
    images = [opened(paths[name]) for name in names]
    found, pairs = found_in(kept(images))
    wanted = [(place[a], place[b]) for a, b in published]
    hit = np.array([pair in pairs for pair in wanted])
    even = np.array([b[1] % 2 == 0 for _, b in published])
    print(
        f"of {len(hit)} published pairs {hit.sum()} ({hit.mean():.1%}); even test index "
        f"{hit[even].mean():.1%}, odd {hit[~even].mean():.1%}"
    )
    leaks = [(a, b) for a, b in sorted(pairs) if names[a][0] != names[b][0]]
    known = {b for _, b in wanted}
    tests = {b for _, b in leaks}
    print(
        f"{len(found):,} pairs, {len(leaks):,} of them leaks; {len(tests)} test images named, "
        f"{len(tests & known)} of them on the list"
    )
    if pictures is not None:
        new = sorted(set(leaks) - set(wanted))
        some = np.random.default_rng(0).permutation(len(new))[:200]
        sheet([(images[new[i][0]], images[new[i][1]]) for i in some], pictures)


def sheet(pairs: list[tuple[Image.Image, Image.Image]], path: Path, side: int = 64) -> None:
    """Write pairs of images side by side, ten in a row."""
    rows = -(-len(pairs) // 10)
    out = Image.new("RGB", (10 * (2 * side + 8), rows * (side + 8)), "white")
    for k, pair in enumerate(pairs):
        for half, image in enumerate(pair):
            at = (k % 10 * (2 * side + 8) + half * side, k // 10 * (side + 8))
            out.paste(image.resize((side, side), Image.Resampling.BICUBIC), at)
    out.save(path)


def planted(images: list[Image.Image], number: int) -> None:
    """Print what is found of planted copies, by kind."""
    random = np.random.default_rng(1)
    out, pairs = list(images), {kind: set() for kind in KINDS}
    for k in range(number):
        kind = list(KINDS)[k % len(KINDS)]
        # Every way for each image where there are more copies than images.
        source = k % len(images) if number <= len(images) else k // len(KINDS)
        pairs[kind].add((source, len(out)))
        out.append(KINDS[kind](images[source], random).convert("RGB"))
    _, found = found_in(kept(out))
    told(pairs, found, len(out))


def told(pairs: dict[str, set[Pair]], found: set[Pair], n: int) -> None:
    """Print recall by kind among n images, and how many pairs of different images there are.

    In the first row a copy is found where it makes a pair with its original, in the second where
    both are in one group, through whichever others.
    """
    every = set().union(*pairs.values())
    original = {copy: source for source, copy in every}
    wrong = sum(original.get(a, a) != original.get(b, b) for a, b in found)
    group = duplicates.connected(*np.array(sorted(found), dtype=np.int64).reshape(-1, 2).T, n)
    grouped = {(a, b) for a, b in every if group[a] == group[b] >= 0}
    print(f"| found as | {' | '.join(pairs)} | all | false pairs |\n|" + "---|" * (len(pairs) + 3))
    for name, some in (("pair", every & found), ("group", grouped)):
        cells = [f"{100 * len(kind & some) / max(1, len(kind)):.0f}" for kind in pairs.values()]
        print(f"| {name} | {' | '.join(cells)} | {100 * len(some) / len(every):.1f} | {wrong} |")


def collage(images: list[Image.Image], seed: int) -> Image.Image:
    """Return two crops of images side by side or one above the other, 32 pixels."""
    random = np.random.default_rng([11, seed])
    out = Image.new("RGB", (SIDE, SIDE))
    cut, across = int(random.integers(10, 23)), random.random() < 0.5
    for first, last in ((0, cut), (cut, SIDE)):
        image = images[int(random.integers(len(images)))]
        w = random.uniform(0.5, 0.9, 2) * image.size
        x, y = random.uniform(0, image.size - w)
        size = (last - first, SIDE) if across else (SIDE, last - first)
        part = image.resize(size, Image.Resampling.BICUBIC, box=(x, y, x + w[0], y + w[1]))
        out.paste(part, (first, 0) if across else (0, first))
    return out


def collages(images: list[Image.Image], number: int, folder: Path) -> None:
    """Print what is found of planted copies among collages."""
    random = np.random.default_rng(2)
    growing, pairs = thumbnails.Growing(folder), {kind: set() for kind in KINDS}
    originals = number - number // 100
    for i in range(number):
        k = i - originals
        image = collage(images, i if k < 0 else k)
        if k >= 0:
            kind = list(KINDS)[k % len(KINDS)]
            pairs[kind].add((k, i))
            image = KINDS[kind](image, random).convert("RGB")
        growing.add(thumbnails.pixels(thumbnails.shrunk(image)), SIDE, SIDE)
    told(pairs, found_in(growing.done(), folder)[1], number)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["cifar", "planted", "photos", "collages"])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--list", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--planted", type=int, default=780)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--work", type=Path, default=Path())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.part == "cifar":
        cifar(options.images, options.list, options.limit, options.pictures)
        return
    paths = below(options.images)
    if options.part == "photos":
        images = [opened(path) for path in paths[: options.limit]]
        for image in images:
            image.thumbnail((512, 512))
        planted(images, len(images) * len(KINDS))
        return
    order = np.random.default_rng(0).permutation(len(paths))
    if options.part == "planted":
        images = [opened(paths[i]) for i in order[: options.limit or 3000]]
        planted(images, options.planted)
    else:
        images = [opened(paths[i]) for i in order[:10_000]]
        collages(images, options.limit or 1_000_000, options.work)


if __name__ == "__main__":
    main()
