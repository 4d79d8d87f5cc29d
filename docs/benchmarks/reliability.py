"""What buys a ranking that another run repeats: plans, views, estimators.

    python docs/benchmarks/reliability.py plans [--data fashion-mnist --path DIR] [--passes N]
    python docs/benchmarks/reliability.py views
    python docs/benchmarks/reliability.py estimators
    python docs/benchmarks/reliability.py precision

``plans`` trains every plan twice, with all seeds different, for equal compute: ``--passes`` times
an epoch over the whole dataset in each of the two runs. It prints the reliability that each run
states, and the correlation of the two rankings, which is what reliability foretells. ``views``
scores one pair of encoders with six score seeds, for several numbers of views. ``estimators``
measures the encoders of one run in several ways; the reliability is that between two halves of the
repeats on views of their own, with the Spearman-Brown formula for all of them, and what counts is
the correlation with the plain scores of a second run that shares nothing with the first.
``precision`` measures the encoders of three recipes on the same views in float32 and in bfloat16.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
import os
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

import curate
from curate.encoders.backbone import load_encoder
from curate.runs.run import Run
from curate.runtime import randomness
from curate.scores.alignment import align_images, centres_of
from curate.scores.plan import Plan
from curate.scores.standard_errors import contrast
from curate.stages import shard
from curate.stages.context import Context
from curate.stages.placement import Placed, by_shard, placed

PLANS: dict[str, dict[str, Any]] = {
    "halves (the plain pair)": {"plan": {"kind": "halves"}, "share": 1.0, "epochs": 200},
    "folds: 2": {"plan": {"kind": "folds", "folds": 2}, "share": 1.0, "epochs": 200},
    "folds: 2, 100 epochs": {"plan": {"kind": "folds", "folds": 2}, "share": 1.0, "epochs": 100},
    "parts: 4": {"plan": {"kind": "parts", "parts": 4}, "share": 1.0, "epochs": 200},
    "parts: 4, 100 epochs": {"plan": {"kind": "parts", "parts": 4}, "share": 1.0, "epochs": 100},
    "parts: 8": {"plan": {"kind": "parts", "parts": 8}, "share": 1.0, "epochs": 200},
}
"""Plans, how many passes over the data an epoch of a repeat is, and how many epochs."""
DATA: dict[str, dict[str, Any]] = {
    "digits": {},
    "fashion-mnist": {"data.source": "idx", "data.size": 14, "data.limit": 1000},
}


def scored(
    home: Path, name: str, overrides: dict[str, Any], data: Path | None, recipe: str = "digits"
) -> Run:
    """Train and score a run of a digits recipe with some of its settings replaced."""
    run = curate.open_run(recipe, runs=home / name, overrides=overrides, data=data)
    curate.score(run, device="cpu", workers=min(2, os.cpu_count() or 1), data=data)
    return run


def folder(plan: str, seed: int) -> str:
    """Return a name for the folder of a plan's run, such as ``folds-2-100-epochs-seed-0``."""
    return "-".join([*re.findall(r"\w+", plan), "seed", str(seed)])


def scores(run: Run) -> np.ndarray:
    """Return the memorization of all samples, by uid."""
    return run.scores().sort_by("uid")["memorization"].to_numpy()


def plans(home: Path, passes: int, data: str, path: Path | None, names: list[str]) -> None:
    """Print what each plan gives for equal compute."""
    print(
        "| plan | repeats | encoders | seconds of a run | stated reliability | correlation of two "
        "runs [95 %] | Spearman | t |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    for name, about in PLANS.items():
        if names and name not in names:
            continue
        repeats = max(2, round(passes / about["epochs"] / about["share"]))
        runs, spent = [], []
        for seed in (0, 1):
            began = time.monotonic()
            overrides = {
                **DATA[data],
                "plan": {**about["plan"], "repeats": repeats, "seed": seed},
                "train.epochs": about["epochs"],
                "train.seed": seed,
                "score.seed": seed,
                "score.views": 40,
            }
            runs.append(scored(home, folder(name, seed), overrides, path))
            spent.append(time.monotonic() - began)
        stated = [curate.score(run) for run in runs]
        found = curate.agree(runs).pairs[0]
        r = found.pearson
        said = ", ".join(f"{facts.reliability.encoders:.2f}" for facts in stated)
        t = ", ".join(f"{facts.tests[0].statistic:.1f}" for facts in stated)
        print(
            f"| {name} | {repeats} | {len(stated[0].encoders)} | "
            f"{', '.join(f'{s:.0f}' for s in spent)} | {said} | "
            f"{r.value:.2f} [{r.low:.2f}, {r.high:.2f}] | "
            f"{found.spearman.value:.2f} | {t} |",
            flush=True,
        )


SCORINGS = 6
"""Seeds of scores that one pair of encoders is measured with."""


def views(home: Path) -> None:
    """Print how one pair of encoders ranks when it is measured again and again."""
    made = {"plan": {"kind": "halves"}, "score.views": 3}
    # The same encoders: what was trained depends on no seed of the scores.
    runs = [scored(home, f"views-{s}", {**made, "score.seed": s}, None) for s in range(SCORINGS)]
    print(
        "| views | reliability (views) that each states | correlation of each two "
        "| mean difference |\n|---|---|---|---|"
    )
    for k in (3, 5, 10, 20):
        now = [run.extended(views=k) if k > 3 else run for run in runs]
        stated = [curate.score(run, device="cpu").reliability.views for run in now]
        found = np.corrcoef([scores(run) for run in now])[np.triu_indices(SCORINGS, 1)]
        cells = [f"{np.mean(x):.3f} ({np.min(x):.3f} to {np.max(x):.3f})" for x in (stated, found)]
        print(
            f"| {k} | {' | '.join(cells)} | {np.mean(found) - np.mean(stated):+.3f} |", flush=True
        )


def measured(run: Run, made: Placed, **settings: Any) -> tuple[np.ndarray, float]:
    """Return alignments (N, E) of a run's encoders measured in another way, and the seconds."""
    config = run.recipe.score.model_copy(
        update={k: v for k, v in settings.items() if k != "representation"}
    )
    representation = settings.get("representation", run.recipe.encoder.representation)
    context = Context("cpu", 1, None)
    pixels = shard.pixels(run, context)
    encoders = {e: load_encoder(run.path / "encoders" / e, device="cpu") for e in made.encoders}
    part = next(by_shard(run, made))
    began = time.monotonic()
    shown = pixels[part.places]
    centres = None
    if config.centre:
        centres = centres_of(encoders, shown, config, representation=representation, device="cpu")
    found = align_images(
        encoders,
        shown,
        randomness.uid_keys(part.uids),
        run.recipe.measuring_views(),
        config,
        representation=representation,
        device="cpu",
        centres=centres,
    )
    spent = time.monotonic() - began
    out = np.empty((len(made.rows), len(made.encoders)))
    out[part.rows] = np.stack([found[e].align for e in made.encoders], axis=1)
    return out, spent


def controlled(align: np.ndarray, inclusion: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """Return alignments (N, E) less what an encoder's residuals at other images foretell.

    An encoder that aligns some images worse than others do aligns their neighbours worse as well. A
    residual is what is left of an alignment beside the encoder's mean and the sample's mean on
    that side; kernel ridge regression with a Gaussian kernel on pixels foretells it leave-one-out,
    with the ridge that foretells an encoder's residuals best.

    Args:
        align: (N, E) alignments.
        inclusion: (N, E) whether an encoder was trained on a sample.
        pixels: (N, D) of the samples.
    """
    level = align - align.mean(axis=0)
    inside = inclusion > 0
    residual = np.empty_like(level)
    for side in (inside, ~inside):
        mean = (level * side).sum(axis=1) / np.maximum(1, side.sum(axis=1))
        residual[side] = (level - mean[:, None])[side]
    squares = (pixels**2).sum(axis=1)
    apart = np.maximum(0, squares[:, None] + squares - 2 * pixels @ pixels.T)
    kernel = np.exp(-apart / np.median(apart[apart > 0]))
    least, foretold = np.full(residual.shape[1], np.inf), np.zeros_like(residual)
    for ridge in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0):
        inverse = np.linalg.inv(kernel + ridge * np.eye(len(kernel)))
        left_out = residual - (inverse @ residual) / np.diag(inverse)[:, None]
        error = ((residual - left_out) ** 2).mean(axis=0)
        foretold = np.where(error < least, left_out, foretold)
        least = np.minimum(error, least)
    return level - foretold


def between_halves(
    aligns: tuple[np.ndarray, np.ndarray], made: Placed, draws: int = 50
) -> tuple[float, float]:
    """Return mean and deviation, over divisions, of how two halves of the repeats correlate.

    Args:
        aligns: Of all encoders on two sets of views: each half is taken from its own.
        made: The plan.
        draws: Divisions.
    """
    levels = [align - align.mean(axis=0) for align in aligns]
    count, random, found = int(made.repeats.max()) + 1, np.random.default_rng(0), []
    for _ in range(draws):
        order = random.permutation(count)
        halves = [np.isin(made.repeats, order[h::2]) for h in (0, 1)]
        x, y = (
            contrast(level[:, half], made.inclusion[:, half])
            for level, half in zip(levels, halves, strict=True)
        )
        r = np.corrcoef(x, y)[0, 1]
        found.append(2 * r / (1 + r))
    return float(np.mean(found)), float(np.std(found))


def estimators(home: Path, passes: int) -> None:
    """Print what several ways to measure the same encoders say of a run of other seeds."""
    plan = {"kind": "parts", "parts": 4, "repeats": max(2, passes // 100)}
    runs = [
        scored(
            home,
            f"estimators-{seed}",
            {
                "plan": {**plan, "seed": seed},
                "train.epochs": 100,
                "train.seed": seed,
                "score.seed": 10 + seed,
            },
            None,
        )
        for seed in (0, 1)
    ]
    both = [placed(run, Plan.read(run.path / "plan.parquet")) for run in runs]
    pooled = {"representation": "pooled"}
    full = {"representation": "full"}
    ways: dict[str, dict[str, Any]] = {
        f"anchored, l2, {k} views, full": {"views": k, **full} for k in (2, 5, 10, 20, 40)
    }
    ways |= {
        "anchored, cosine, 10 views, full": {"views": 10, "distance": "cosine", **full},
        "anchored, angular, 10 views, full": {"views": 10, "distance": "angular", **full},
        "all pairs, l2, 10 views, full": {"views": 10, "pairing": "all", **full},
        "anchored, l2, 10 views, pooled": {"views": 10, **pooled},
        "anchored, l2, 40 views, pooled": {"views": 40, **pooled},
        "anchored, l2, 10 views, full, centred": {"views": 10, "centre": True, **full},
        "anchored, l2, 10 views, pooled, centred": {"views": 10, "centre": True, **pooled},
        "anchored, cosine, 10 views, pooled, centred": {
            "views": 10,
            "distance": "cosine",
            "centre": True,
            **pooled,
        },
        "anchored, l2, 40 views, pooled, centred": {"views": 40, "centre": True, **pooled},
        "anchored, l2, 20 views, pooled": {"views": 20, **pooled},
        "the same, control variate": {"views": 20, **pooled},
        "anchored, l2, 20 views, pooled, centred": {"views": 20, "centre": True, **pooled},
        "the same, centred, control variate": {"views": 20, "centre": True, **pooled},
    }

    def own(run: Run, made: Placed, **settings: Any) -> np.ndarray:
        align = measured(run, made, **settings)[0]
        return contrast(align - align.mean(axis=0), made.inclusion)

    # What is foretold: the second run, with other views, in the paper's way and pooled.
    others = {
        name: [own(run, made, seed=20 + k, views=20, **how) for k, (run, made) in enumerate(pairs)]
        for name, how in (("full", full), ("pooled", pooled))
        for pairs in [list(zip(runs, both, strict=True))]
    }
    print(
        f"{len(both[0].encoders)} encoders a run\n\n"
        "| how | seconds | reliability ± division, disjoint views | with plain scores of another "
        "run, full | pooled |\n|---|---|---|---|---|"
    )
    for name, settings in ways.items():
        spent, between, foretold = [], [], {"full": [], "pooled": []}
        for k, (run, made) in enumerate(zip(runs, both, strict=True)):
            found = [measured(run, made, seed=2 * k + half, **settings) for half in (0, 1)]
            spent += [seconds for _, seconds in found]
            aligns = [align for align, _ in found]
            if name.endswith("control variate"):
                flat = shard.pixels(run, Context("cpu", 1, None))[next(by_shard(run, made)).places]
                rows = np.empty((len(made.rows), flat[0].size))
                rows[next(by_shard(run, made)).rows] = flat.reshape(len(flat), -1) / 255
                aligns = [controlled(align, made.inclusion, rows) for align in aligns]
            between.append(between_halves((aligns[0], aligns[1]), made))
            values = contrast(aligns[0] - aligns[0].mean(axis=0), made.inclusion)
            for kind, theirs in others.items():
                foretold[kind].append(stats.pearsonr(values, theirs[1 - k]).statistic)
        r, sd = np.mean(between, axis=0)
        print(
            f"| {name} | {np.mean(spent):.1f} | {r:.2f} ± {sd:.2f} | "
            f"{', '.join(f'{x:.2f}' for x in foretold['full'])} | "
            f"{', '.join(f'{x:.2f}' for x in foretold['pooled'])} |",
            flush=True,
        )


def precision(home: Path) -> None:
    """Print what encoders in bfloat16 do to a ranking."""
    print(
        "| recipe | representation | encoders | Spearman, memorization | Spearman, alignment | "
        "root mean square difference, in se | top tenth shared |\n|---|---|---|---|---|---|---|"
    )
    for recipe in ("digits", "digits-mae", "digits-dino"):
        run = scored(home, recipe, {"plan.repeats": 2}, None, recipe)
        made = placed(run, Plan.read(run.path / "plan.parquet"))
        se = run.scores(["se"])["se"].to_numpy().mean()
        for representation in ("full", "pooled"):
            exact, lower = (
                measured(run, made, representation=representation, precision=kind)[0]
                for kind in ("float32", "bfloat16")
            )
            m, n = (contrast(a - a.mean(axis=0), made.inclusion) for a in (exact, lower))
            tops = [set(np.argsort(-x)[: len(x) // 10]) for x in (m, n)]
            own = representation == run.recipe.encoder.representation
            apart = f"{np.sqrt(np.mean((m - n) ** 2)) / se:.3f}" if own else ""
            print(
                f"| {recipe} | {representation} | {len(made.encoders)} | "
                f"{stats.spearmanr(m, n).statistic:.5f} | "
                f"{stats.spearmanr(exact.mean(axis=1), lower.mean(axis=1)).statistic:.5f} | "
                f"{apart} | {len(tops[0] & tops[1]) / len(tops[0]):.3f} |",
                flush=True,
            )


def main() -> None:
    """Print the tables asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("plans", "views", "estimators", "precision"))
    parser.add_argument("--passes", type=int, default=1600)
    parser.add_argument("--data", choices=tuple(DATA), default="digits")
    parser.add_argument("--path", type=Path, help="where the data lies")
    parser.add_argument("--plan", action="append", default=[], help="only this; may be repeated")
    parser.add_argument("--home", type=Path, help="keep the runs here")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = asked.home or Path(folder)
        if asked.part == "plans":
            plans(home, asked.passes, asked.data, asked.path, asked.plan)
        elif asked.part == "views":
            views(home)
        elif asked.part == "precision":
            precision(home)
        else:
            estimators(home, asked.passes)


if __name__ == "__main__":
    main()
