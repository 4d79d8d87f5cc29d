"""Does every method learn? Linear and k-NN probes of trained and of random encoders on digits.

    python docs/benchmarks/methods.py [RECIPE ...] [--seeds 3]

For each ``digits`` recipe and seed it trains the two encoders of the plan's first repeat, each on
half of the 898 training images, scores these images, and probes both encoders on the 899 test
images. Beside them stand ten encoders of the same shape with random weights: those that trainings
of seeds 0 to 9 start from. It prints a markdown table: mean accuracy in percent with its standard
deviation over seeds, the difference with its 95 % interval (Welch), and t of the mean memorization
above 0 of every seed. Then Kendall's tau between the scores of every two recipes, and of a recipe
with itself (Table 13 of arXiv 2401.12233): of one seed, whose splits into halves are the same, and
of two seeds, which share nothing but the images. What each seed gave goes to stderr.
Hardware: 2 CPU cores. Time: about 15 minutes for 8 recipes and 3 seeds.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats

import curate
from curate.encoders import methods
from curate.encoders.backbone import Encoder
from curate.encoders.training import write_encoder
from curate.runs import recipe, recipe_files
from curate.runs.run import Run
from curate.runtime import randomness

KINDS = ("linear", "knn")
RANDOM = 10
"""Encoders with random weights; they cost nothing, and differ more than trained ones do."""


def accuracies(folder: Path) -> list[float]:
    """Return the accuracies of an encoder on the digits' test images, one a kind, in percent."""
    found = curate.probe(folder, on=["digits"], kinds=KINDS, device="cpu").results
    return [100 * result.accuracy for result in found]


def untrained(name: str, seed: int, home: Path) -> list[float]:
    """Return the accuracies of what a recipe's training starts from."""
    made = recipe.load_recipe(name)
    config = made.encoder
    torch.manual_seed(randomness.seed_for(seed, "train", 0))
    shape = {"size": made.data.size, "channels": made.data.channels, "patch": config.patch}
    encoder = Encoder(config.backbone, **shape)
    method = methods.build(config.method, encoder, made.method_config, classes=10)
    about = {"encoder": {"backbone": config.backbone, **shape}}
    write_encoder(home / f"untrained-{seed}", method.kept, about)
    return accuracies(home / f"untrained-{seed}")


def trained(
    name: str, seed: int, home: Path, **overrides: Any
) -> tuple[Run, list[list[float]], float, dict[str, Any]]:
    """Train and score one seed.

    Returns:
        The run, the accuracies of both encoders, t of mean memorization, and what scores.json says.
    """
    given = {f"{section}.seed": seed for section in ("plan", "train", "score")}
    given |= {"plan.repeats": 1, **overrides}
    run = curate.open_run(name, runs=home / f"seed-{seed}", overrides=given)
    facts = curate.score(run, device="cpu", workers=2)
    above = next(test for test in facts.tests if test.name.replace(" ", "").endswith(">0"))
    folders = sorted((run.path / "encoders").iterdir())
    return run, [accuracies(folder) for folder in folders], above.statistic, facts


def cells(after: np.ndarray, before: np.ndarray) -> str:
    """Return mean and deviation of both, and the mean difference with its 95 % interval."""
    found = stats.ttest_ind(after, before, equal_var=False).confidence_interval(0.95)
    return (
        f"{after.mean():.1f} ± {after.std(ddof=1):.1f} | {before.mean():.1f} ± "
        f"{before.std(ddof=1):.1f} | {after.mean() - before.mean():+.1f} "
        f"[{found.low:+.1f}, {found.high:+.1f}]"
    )


def agreement(runs: dict[tuple[str, int], Run], names: list[str]) -> None:
    """Print mean and range of Kendall's tau of every two recipes, by whether a split is shared."""
    found: dict[tuple[frozenset[str], bool], list[float]] = {}
    pairs = curate.agree(list(runs.values())).pairs
    for ((name, seed), (other, second)), pair in zip(
        itertools.combinations(runs, 2), pairs, strict=True
    ):
        where = frozenset((name, other)), seed == second
        found.setdefault(where, []).append(pair.kendall.value)
    for same, title in ((True, "one seed"), (False, "two seeds")):
        print(f"\n| tau, {title} | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
        for name in names:
            taus = [found.get((frozenset((name, other)), same)) for other in names]
            shown = [
                f"{np.mean(t):+.3f} ({min(t):+.3f} to {max(t):+.3f})" if t else "" for t in taus
            ]
            print(f"| {name} | {' | '.join(shown)} |")


def main() -> None:
    """Measure every recipe and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = sorted(name for name in recipe_files.packaged() if name.split("-")[0] == "digits")
    parser.add_argument("recipes", nargs="*", default=names)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(
        "| recipe | linear: trained | random | difference | k-NN: trained | random | difference "
        "| t of mean memorization > 0 |\n|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    runs: dict[tuple[str, int], Run] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.recipes:
            after, t = [], []
            home = Path(folder) / name
            before = np.array([untrained(name, seed, home) for seed in range(RANDOM)])
            for seed in range(options.seeds):
                began = time.monotonic()
                run, both, statistic, _ = trained(name, seed, home)
                runs[name, seed] = run
                after.append(np.mean(both, axis=0))
                t.append(f"{statistic:.1f}")
                shown = ", ".join(f"{linear:.1f}/{knn:.1f}" for linear, knn in both)
                print(
                    f"{name} seed {seed}: linear/k-NN {shown} %; t {statistic:.1f}; "
                    f"{time.monotonic() - began:.0f} s",
                    file=sys.stderr,
                    flush=True,
                )
            # A seed is one value, since its two encoders share their initialisation and views.
            seeds = np.array(after)
            columns = " | ".join(cells(seeds[:, k], before[:, k]) for k in range(len(KINDS)))
            print(f"| {name} | {columns} | {', '.join(t)} |", flush=True)
        if len(runs) > 1 and options.seeds > 1:
            agreement(runs, options.recipes)


if __name__ == "__main__":
    main()
