# ruff: noqa: T201 (it prints its table)
"""Benchmark of one card: its tests, invariances, rates beside plain loops, precision, a real run.

    python docs/benchmarks/gpu.py [--device cuda] [--tiny] [--minutes 8] [--images FOLDER]
                                  [--wheels FOLDER] [--parts NAMES] [--out gpu.json]

Writes one JSON and prints its table, within the minutes given. It needs no network: packages that
are missing are taken from a folder of wheels, and images, such as CIFAR-10's, lie in a folder. A
part that fails is named in the JSON, and the others go on. ``--device cpu --tiny`` is the same in a
minute on a CPU, where its rates mean nothing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LAST = 60.0
"""Seconds that are kept for what comes after the experiment."""
TRAINED = {
    "MAE ViT-tiny, patch 2, batch 1,024": ("cifar10-mae", {"train.batch_size": 1024}),
    "MAE ViT-tiny, patch 4, batch 512": (
        "cifar10-mae",
        {"train.batch_size": 512, "encoder.patch": 4},
    ),
    "SimCLR ResNet-18, batch 512": ("cifar10-simclr-resnet18", {"train.batch_size": 512}),
    "SimCLR ResNet-50, batch 512": ("cifar10-simclr", {"train.batch_size": 512}),
    "DINO ViT-tiny, batch 256": ("cifar10-dino-vit", {"train.batch_size": 256}),
}
"""Rows of trainings: a recipe, and what is changed of it."""
WAYS = {
    "MAE ViT-tiny, patch 2, batch 1,024": ("kernel by kernel", "compiled"),
    "SimCLR ResNet-18, batch 512": ("kernel by kernel", "compiled"),
}
"""Rows that are measured otherwise as well: asked for kernel by kernel, or with a compiled loss."""
PAIR = "MAE ViT-tiny, patch 4, batch 512"
"""The row that is trained as a pair as well, step by step in turn, and stacked."""


@dataclass
class Bench:
    """What is measured, where, and until when.

    Attributes:
        device: ``cpu`` or ``cuda``.
        tiny: Whether all sizes are the smallest.
        until: When to be done, by the monotonic clock.
        folder: For what is made.
        images: Folder of images of the experiment; None takes the digits.
        found: By part, what goes into the JSON.
    """

    device: str
    tiny: bool
    until: float
    folder: Path
    images: Path | None
    found: dict[str, Any] = field(default_factory=dict)

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.until - time.monotonic()


def add_wheels(wheels: Path, target: Path) -> None:
    """Install what this Python lacks, or has too old, from a folder of wheels into ``target``."""
    lines = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    declared = {one.name.lower(): one.specifier for one in map(Requirement, lines)}
    have = {
        d.metadata["Name"].lower().replace("_", "-"): d.version
        for d in importlib.metadata.distributions()
    }
    missing = []
    for path in sorted(wheels.glob("*.whl")):
        name = path.name.split("-")[0].lower().replace("_", "-")
        # What the declared ones need in turn is judged by its presence alone.
        if name not in have or (name in declared and have[name] not in declared[name]):
            missing.append(str(path))
    if missing:
        plain = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--quiet"]
        subprocess.run([*plain, "--target", str(target), *missing], check=True)
    # Before what is there: it may be too old.
    sys.path.insert(1, str(target))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(target)])


# Parts


def machine(bench: Bench) -> dict[str, Any]:
    """Return what the machine has."""
    import curate

    return curate.doctor().to_json()


def tests(bench: Bench) -> dict[str, Any]:
    """Run the tests that need a card; without one they are skipped."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/test_gpu.py", "-rfE"]
    done = subprocess.run(
        [*command, "--durations=5"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    if failed:
        print(done.stdout[-20_000:], flush=True)
    return {"code": done.returncode, "summary": lines[-1] if lines else done.stderr[-500:],
            "failed": failed}  # fmt: skip


def invariances(bench: Bench) -> dict[str, Any]:
    """Return how far scores differ by batch size, by workers, and by a stop in the middle."""
    import numpy as np

    import curate
    from curate.runs.recipe import load_recipe
    from curate.runtime import signals

    epochs = 3 if bench.tiny else 20
    base = {"plan.repeats": 1, "train.epochs": epochs, "train.warmup_epochs": 1}

    def scores(name: str, workers: int = 1, stop: int = 0, **changes: object) -> Any:
        recipe = load_recipe("digits", {**base, **changes})
        run = curate.open_run(recipe, runs=bench.folder / f"invariant-{name}")

        told = 0

        def report(what: str, done: int, total: int) -> None:
            nonlocal told
            told += what.startswith("train")
            if told == stop > 0:
                signals.obey(15)

        for _ in range(2 if stop else 1):
            try:
                curate.score(run, device=bench.device, workers=workers, progress=report)
            except signals.Stopped:
                stop = 0
        if stop:
            raise RuntimeError("the training was not stopped")
        return run.scores(["memorization"])["memorization"].to_numpy()

    plain = scores("plain")
    others = {
        "the same again": scores("again"),
        "batches of 7 while scoring": scores("batch", **{"score.batch_size": 7}),
        "two trainings side by side": scores("workers", workers=2),
        "stopped and gone on with": scores("stopped", stop=5),
    }
    spread = float(plain.std())
    return {
        "standard deviation of memorization": spread,
        **{name: float(np.abs(found - plain).max()) for name, found in others.items()},
    }


def noise_loop(bench: Bench, recipe: Any, batches: int = 2) -> Any:
    """Return the loop of a recipe's training on images of noise."""
    import numpy as np
    import torch

    from curate.data.canvas import Canvas
    from curate.encoders import methods
    from curate.encoders.backbone import Encoder
    from curate.encoders.loop import Loop

    data, config = recipe.data, recipe.encoder
    n = batches * recipe.train.batch_size
    shape = (n, data.channels, data.size, data.size)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    uids = np.array([f"{i:032x}" for i in range(n)], dtype=object)
    torch.manual_seed(0)
    encoder = Encoder(config.backbone, size=data.size, channels=data.channels, patch=config.patch)
    method = methods.build(config.method, encoder, recipe.method_config, 10).to(bench.device)
    return Loop(
        method.train(), recipe.training_spec(), canvas=Canvas(images, uids.astype(np.bytes_)),
        uids=uids, labels=np.arange(n) % 10, device=bench.device,
    )  # fmt: skip


def seconds_of(bench: Bench, work: Callable[[int], None], warm: int, times: int) -> list[float]:
    """Return the seconds of five rounds of some calls each, behind others that warm up."""
    import torch

    def wait() -> None:
        if bench.device != "cpu":
            torch.cuda.synchronize()

    calls = iter(range(10**9))
    for _ in range(warm):
        work(next(calls))
    wait()
    spent = []
    for _ in range(5):
        started = time.perf_counter()
        for _ in range(times):
            work(next(calls))
        wait()
        spent.append(time.perf_counter() - started)
    return spent


def recipe_of(bench: Bench, name: str, changes: dict[str, Any]) -> Any:
    """Return a recipe of a row; the smallest of its kind if all is tiny."""
    from curate.runs import recipe as recipes

    content = recipes.load_recipe(name).model_dump(mode="json")
    changes = {**changes, "train.epochs": 1000, "train.warmup_epochs": 1}
    if bench.tiny:
        changes["train.batch_size"] = 4
        if content["encoder"]["backbone"].startswith("resnet"):
            content["encoder"]["backbone"] = "convnet"
        else:
            changes["encoder.patch"] = 8
        if "out_dim" in content["encoder"]:
            changes["encoder.out_dim"] = 64
    return recipes.build(content, changes, where=name)


def training(bench: Bench) -> dict[str, Any]:
    """Return images a second and milliseconds a step of every training, and of a pair."""
    import torch

    from curate.encoders.captured import own_stream
    from curate.encoders.stacked import Stack

    rows: dict[str, Any] = {}
    warm, times = (2, 1) if bench.tiny else (8, 12)
    for text, (name, changes) in TRAINED.items():
        recipe = recipe_of(bench, name, changes)
        ways = [("", 1), *((f", {way}", 1) for way in WAYS.get(text, ()))]
        pairs = [(", a pair in turn", 2), (", a pair stacked", 2)]
        for way, together in [*ways, *pairs] if text == PAIR else ways:
            loops = [noise_loop(bench, recipe) for _ in range(together)]
            for loop in loops:
                loop.compiles = way == ", compiled"
                if way == ", kernel by kernel":
                    loop.capture = None
            stepped = [Stack(loops)] if way == ", a pair stacked" else loops

            def steps(turn: int, stepped: list[Any] = stepped) -> None:
                for one in stepped:
                    one.advance(turn)

            if bench.device != "cpu":
                torch.cuda.reset_peak_memory_stats()
            with own_stream(bench.device):
                spent = seconds_of(bench, steps, warm, times)
            row = rates(together * recipe.train.batch_size * times, spent)
            row["ms_a_step"] = 1000 * statistics.median(spent) / times
            row["repeated"] = all(one.repeated is not None for one in stepped)
            if bench.device != "cpu":
                row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
            rows[f"{text}{way}"] = row
            print(*table({"training": {f"{text}{way}": row}})[2:], flush=True)
    rows["plain loop: MAE ViT-tiny, patch 2"] = plain_training(bench)
    return rows


def rates(images: int, seconds: list[float]) -> dict[str, Any]:
    """Return images a second: the median of rounds, the slowest, the fastest."""
    each = [images / s for s in seconds]
    return {"images_a_second": statistics.median(each), "low": min(each), "high": max(each)}


def pictures(n: int, side: int) -> list[Any]:
    """Return pictures of noise, as Pillow has them."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    return [Image.fromarray(x) for x in noise]


def plain_training(bench: Bench) -> dict[str, Any]:
    """Return the rate of a training whose images are cut one by one on the host.

    It has the shape of most code for this method: a loader, Pillow and torchvision for each image,
    a copy, a step, and the loss read at once.
    """
    import torch
    from torchvision import transforms

    from curate.encoders.backbone import in_bfloat16
    from curate.encoders.methods.base import Batch
    from curate.encoders.views.draws import Draws

    recipe = recipe_of(bench, *TRAINED["MAE ViT-tiny, patch 2, batch 1,024"])
    size, device = recipe.train.batch_size, bench.device
    cut = transforms.Compose(
        [transforms.RandomResizedCrop(recipe.data.size, (0.2, 1.0)),
         transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    )  # fmt: skip
    shown = pictures(size, recipe.data.size)
    loader = torch.utils.data.DataLoader(
        range(10**6), batch_size=size, pin_memory=device != "cpu",
        num_workers=0 if bench.tiny else min(8, os.cpu_count() or 1),
        multiprocessing_context=None if bench.tiny else "fork",
        collate_fn=lambda some: torch.stack([cut(shown[i % size]) for i in some]),
    )  # fmt: skip
    method = noise_loop(bench, recipe, 1).method
    optimizer = torch.optim.AdamW(method.parameters(), lr=1e-5)
    batches, keys = iter(loader), torch.arange(size, device=device)
    lower = in_bfloat16("auto", device)

    def step(turn: int) -> None:
        pixels = next(batches).to(device, non_blocking=True)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=lower):
            drawn = method.drawn([Draws.of(5, keys, turn)])
            loss = method(Batch(views=[pixels], drawn=drawn))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    warm, times = (1, 1) if bench.tiny else (4, 3)
    return rates(size * times, seconds_of(bench, step, warm, times))


def scoring(bench: Bench) -> dict[str, Any]:
    """Return images a second of f and g on five views, and of a loop over images and views."""
    import numpy as np
    import torch
    from torchvision import transforms

    from curate.encoders.backbone import Encoder
    from curate.encoders.representation import distance
    from curate.scores.alignment import align_images

    recipe = recipe_of(bench, "cifar10-mae", {})
    data, config, score = recipe.data, recipe.encoder, recipe.score
    few, many = (1, 8) if bench.tiny else (8, 2048)
    torch.manual_seed(0)
    encoders = {
        name: Encoder(config.backbone, size=data.size, channels=3, patch=config.patch)
        .to(bench.device).eval().requires_grad_(False)
        for name in "fg"
    }  # fmt: skip
    images = np.random.default_rng(0).integers(0, 256, (many, 3, data.size, data.size), np.uint8)
    words = np.arange(many).astype(np.uint64)

    def ours(precision: str, compiles: bool = False) -> Callable[[int], None]:
        def work(turn: int) -> None:
            align_images(
                encoders, images, words, recipe.measuring_views(),
                score.model_copy(update={"precision": precision}),
                representation="full", device=bench.device, compiles=compiles,
            )  # fmt: skip

        return work

    ways = {p: ours(p) for p in ("auto", "float32", "tf32")}
    if not bench.tiny:
        ways["auto, compiled"] = ours("auto", compiles=True)

    cut = transforms.Compose(
        [transforms.RandomResizedCrop(data.size, (0.2, 1.0)), transforms.RandomHorizontalFlip(),
         transforms.ToTensor()]
    )  # fmt: skip
    plain, shown = transforms.ToTensor(), pictures(few, data.size)

    def z_of(encoder: Any, pixels: Any) -> Any:
        tokens = encoder.forward_float(pixels[None].to(bench.device))
        return torch.nn.functional.normalize(tokens.flatten(1), dim=1)

    @torch.inference_mode()
    def loop(turn: int) -> None:
        for encoder in encoders.values():
            for picture in shown:
                apart = [
                    distance(z_of(encoder, plain(picture)), z_of(encoder, cut(picture)), "l2")
                    for _ in range(score.views)
                ]
                torch.stack(apart).mean().item()

    return {
        **{
            f"f and g, {score.views} views, {way}": rates(many, seconds_of(bench, work, 1, 1))
            for way, work in ways.items()
        },
        "plain loop: one image and one view at a time": rates(few, seconds_of(bench, loop, 1, 1)),
    }


def experiment(bench: Bench) -> dict[str, Any]:
    """Train and score a real run on as many images, and as long, as there is time for."""
    import curate
    from curate.runs import recipe as recipes

    if bench.images is None or bench.tiny:
        recipe = recipes.load_recipe(
            "digits", {"plan.repeats": 2, "train.epochs": 3 if bench.tiny else 100,
                       "train.warmup_epochs": 1},
        )  # fmt: skip
        if bench.images is not None:
            content = recipe.model_dump(mode="json")
            content["data"] |= {"source": f"folder:{bench.images}", "test": None}
            recipe = recipes.build(content, {}, where="gpu.py")
    else:
        rows = bench.found.get("training", {})
        rate = rows.get("SimCLR ResNet-18, batch 512", {}).get("images_a_second", 5000.0)
        there = sum(1 for path in bench.images.rglob("*") if path.is_file())
        images, encoders = min(there, 20_000), 8
        seconds = max(30.0, bench.left() - LAST) * 0.6
        epochs = int(min(200, max(2, seconds * rate / (encoders * images / 2))))
        content = recipes.load_recipe("cifar10-simclr-resnet18").model_dump(mode="json")
        content["data"] |= {"source": f"folder:{bench.images}", "split": "train", "extra": None,
                            "test": None, "limit": images}  # fmt: skip
        content["plan"] = {"kind": "halves", "repeats": encoders // 2}
        content["train"] |= {"epochs": epochs, "warmup_epochs": max(1, epochs // 10),
                             "batch_size": 512, "lr": 0.6}  # fmt: skip
        recipe = recipes.build(content, {}, where="gpu.py")
    run = curate.open_run(recipe, runs=bench.folder / "experiment")
    scored = curate.score(run, device=bench.device)
    bench.found["run"] = str(run.path)
    seconds = run.facts().get("seconds", {})
    return {"recipe": recipe.model_dump(mode="json"), "seconds": seconds,
            "scores": {k: v for k, v in scored.to_json().items() if k != "path"}}  # fmt: skip


def precision(bench: Bench) -> dict[str, Any]:
    """Return how alignment in fewer bits ranks as float32 does, on the experiment's encoders."""
    import numpy as np
    from scipy import stats

    from curate.encoders.backbone import load_encoder
    from curate.runs.run import Run
    from curate.runtime import randomness
    from curate.scores.alignment import align_images

    run = Run.open(Path(bench.found["run"]))
    recipe = run.recipe
    pixels = np.load(run.path / "cache" / "canvas.npy", mmap_mode="r")[:4000]
    folders = sorted((run.path / "encoders").iterdir())[:2]
    encoders = {f.name: load_encoder(f, device=bench.device) for f in folders}
    words = randomness.uid_keys(
        [f"{randomness.stream(0, i):016x}{i:016x}" for i in range(len(pixels))]
    )
    found = {}
    for kind in ("float32", "tf32", "bfloat16"):
        aligned = align_images(
            encoders, np.array(pixels), words, recipe.measuring_views(),
            recipe.score.model_copy(update={"precision": kind}),
            representation=recipe.encoder.representation, device=bench.device,
        )  # fmt: skip
        found[kind] = np.stack([aligned[name].align for name in encoders])
    exact = found.pop("float32")
    return {
        kind: {
            "largest relative difference": float((np.abs(a - exact) / exact).max()),
            "spearman of alignment": float(stats.spearmanr(a[0], exact[0])[0]),
            "spearman of the difference of two encoders": float(
                stats.spearmanr(a[1] - a[0], exact[1] - exact[0])[0]
            ),
        }
        for kind, a in found.items()
    }


PARTS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    part.__name__: part
    for part in (machine, tests, invariances, training, scoring, experiment, precision)
}


def table(found: dict[str, Any]) -> list[str]:
    """Return the rates as lines of a Markdown table."""
    lines = ["| what | images a second [lowest to highest] | ms a step |", "|---|---|---|"]
    for part in ("training", "scoring"):
        for name, row in found.get(part, {}).items():
            if isinstance(row, dict) and "images_a_second" in row:
                spread = "{images_a_second:,.1f} [{low:,.1f} to {high:,.1f}]".format(**row)
                step = f"{row['ms_a_step']:.1f}" if "ms_a_step" in row else ""
                lines.append(f"| {part}: {name} | {spread} | {step} |")
    return lines


def main() -> None:
    """Measure every part, write the JSON, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="the smallest sizes")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--images", type=Path, help="folder of images; default: digits")
    parser.add_argument("--wheels", type=Path, help="folder of wheels of what is missing")
    parser.add_argument("--parts", help="only these, by commas: " + ", ".join(PARTS))
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    asked = parser.parse_args()
    chosen = asked.parts.split(",") if asked.parts else list(PARTS)
    if unknown := [part for part in chosen if part not in PARTS]:
        parser.error(f"there is no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="curate-gpu-") as name:
        sys.path.insert(0, str(ROOT))
        if asked.wheels is not None:
            add_wheels(asked.wheels, Path(name) / "packages")
        bench = Bench(asked.device, asked.tiny, started + 60 * asked.minutes, Path(name),
                      asked.images)  # fmt: skip
        for part in chosen:
            begun = time.monotonic()
            try:
                if bench.left() < LAST / 2 and part not in ("machine", "precision"):
                    raise TimeoutError("no time was left")
                bench.found[part] = PARTS[part](bench)
            except Exception as error:
                # A machine with a card is not at hand for long: what can be measured is.
                traceback.print_exc()
                bench.found[part] = {"error": f"{type(error).__name__}: {error}"}
            bench.found.setdefault("seconds", {})[part] = round(time.monotonic() - begun, 1)
            # After each part, so that a stop in the middle loses one part alone.
            asked.out.write_text(json.dumps(bench.found, indent=2, default=str) + "\n")
            print(f"{part}: {bench.found['seconds'][part]} s", flush=True)
    print("\n".join(table(bench.found)))
    if failed := [part for part in chosen if "error" in bench.found[part]]:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
