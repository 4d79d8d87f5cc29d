"""What is to be expected of a sample: does it foretell another run, and is it calibrated?

    python docs/benchmarks/posterior.py runs [--recipe digits] [--home DIR] [--centre]
    python docs/benchmarks/posterior.py runs --fashion FOLDER_OF_IDX_FILES [--home DIR]
    python docs/benchmarks/posterior.py presets --home DIR [--efforts standard,thorough]
    python docs/benchmarks/posterior.py simulations
    python docs/benchmarks/posterior.py speed

``runs`` scores a recipe with six seeds of plan, training and views, and holds ``expected`` of one
run against ``memorization`` of another, in three pairs and both directions. How many times the
encoders raw scores would need for that is from the Spearman-Brown formula; intervals are of a
bootstrap over images and pairs of runs, the runs' own regressions being as they are.
With ``--fashion`` it is the recipe digits on 1,000 images of Fashion-MNIST at 14 pixels.
``presets`` scores digits by each ``--effort`` with a seed of its own and holds it against the six
runs of digits in ``--home``. ``simulations`` draws truths
with light, heavy, skewed and widening tails and counts the intervals that hold them, of all samples
and of the tenth that is expected to be highest. ``speed`` times 100,000 made-up samples.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import curate
from curate.runs import alignments, dataset
from curate.runs.recipe import effort
from curate.runs.run import Run
from curate.scores.plan import Plan
from curate.scores.posterior import Estimates, posterior
from curate.scores.standard_errors import contrast
from curate.scores.summary import ScoreSummary

PAIRS = ((1, 2), (3, 4), (5, 6))
DRAWS = 2000
TAILS = ("normal", "t of 5 degrees", "gamma of shape 4", "normal, wider upwards")


def correlations(values: np.ndarray, others: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the correlation of two columns (N,) for each row of weights (draws, N)."""
    x, y = values - values.mean(), others - others.mean()
    total = weights.sum(axis=1)
    mean_x, mean_y = weights @ x / total, weights @ y / total
    product = weights @ (x * y) / total - mean_x * mean_y
    squares = (weights @ x**2 / total - mean_x**2) * (weights @ y**2 / total - mean_y**2)
    return np.asarray(product / np.sqrt(squares))


def times(reached: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """Return how many times the encoders raw scores need for a reliability (Spearman-Brown)."""
    return np.asarray(reached / (1 - reached) * (1 - raw) / raw)


def by_repeats(run: Run) -> list[np.ndarray]:
    """Return raw scores from the first repeat, the first two, and so on, by uid."""
    plan = Plan.read(run.path / "plan.parquet")
    shards = [alignments.read(run, plan.encoders, s) for s in dataset.shard_digests(run)]
    parts = [
        pa.concat_tables([on[name] for on in shards]).sort_by("uid")["align"].to_numpy()
        for name in plan.encoders
    ]
    level = np.stack(parts, axis=1)
    level -= level.mean(axis=0)
    return [
        contrast(level[:, plan.repeats < r], plan.inclusion[:, plan.repeats < r])
        for r in range(1, int(plan.repeats.max()) + 2)
    ]


FASHION: dict[str, Any] = {
    "data.source": "idx",
    "data.size": 14,
    "data.limit": 1000,
    "views.train": "crop-flip",
    "train.epochs": 100,
}
"""What differs from the recipe digits for Fashion-MNIST."""


def seeded(seed: int) -> dict[str, Any]:
    """Return overrides that give everything that is drawn at random a seed."""
    return {f"{section}.seed": seed for section in ("plan", "train", "score", "select")}


def runs(recipe: str, home: Path, fashion: Path | None, *, centre: bool) -> None:
    """Print how well one run foretells another."""
    fixed = {} if fashion is None else FASHION
    raw, own, expected, error, stated, curves, se = {}, {}, {}, {}, {}, {}, {}
    for seed in range(1, 7):
        # A run keeps what it was told before, and may have been centred.
        asked = {**fixed, **seeded(seed), "score.centre": False}
        run = curate.open_run(
            recipe, runs=home, overrides=asked, data=fashion, called=f"{recipe}-{seed}"
        )
        curate.score(run, device="cpu", workers=1)
        table = run.scores(["memorization", "se"])
        raw[seed], se[seed] = (table[name].to_numpy() for name in ("memorization", "se"))
        curves[seed] = by_repeats(run)
        if centre:
            asked["score.centre"] = True
            run = curate.open_run(recipe, runs=home, overrides=asked, called=f"{recipe}-{seed}")
            curate.score(run, device="cpu", workers=1)
        table = run.scores(["memorization", "expected", "expected_se"])
        own[seed], expected[seed], error[seed] = (
            table[name].to_numpy() for name in ("memorization", "expected", "expected_se")
        )
        made = ScoreSummary.read(run.path).expectation
        assert made is not None and made.reliability is not None
        stated[seed] = made.reliability
    rng = np.random.default_rng(0)
    n = len(raw[1])
    counts = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS).astype(np.float64)
    # The first row is the images as they are.
    weights = np.concatenate([np.ones((1, n)), counts])
    of_raw = {(a, b): correlations(raw[a], raw[b], weights) for a, b in PAIRS}
    directions = [d for a, b in PAIRS for d in ((a, b), (b, a))]
    found = {d: correlations(expected[d[0]], raw[d[1]], weights) for d in directions}
    print(
        "| from A to B | raw of both | own of A | expected of A | times the encoders | stated | "
        "reached |\n|---|---|---|---|---|---|---|"
    )
    for a, b in directions:
        r = of_raw[min(a, b), max(a, b)][0]
        reached = found[a, b][0] ** 2 / r
        print(
            f"| {a} to {b} | {r:.3f} | {np.corrcoef(own[a], raw[b])[0, 1]:.3f} | "
            f"{found[a, b][0]:.3f} | {times(reached, r):.1f} | "
            f"{stated[a]:.2f} | {reached:.2f} |"
        )
    chosen = np.concatenate([[[0, 1, 2]], rng.integers(0, 3, (DRAWS, 3))])
    raw_means, means, of_stated = (np.zeros(DRAWS + 1) for _ in range(3))
    for column in range(3):
        for k, (a, b) in enumerate(PAIRS):
            here = chosen[:, column] == k
            raw_means += here * of_raw[a, b] / 3
            means += here * (found[a, b] + found[b, a]) / 6
            of_stated += here * (stated[a] + stated[b]) / 6
    reached = means**2 / raw_means

    def interval(values: np.ndarray, digits: int) -> str:
        low, high = np.quantile(values[1:], [0.025, 0.975])
        return f"{values[0]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"

    print(
        f"| mean [95 %] | {interval(raw_means, 3)} | "
        f"{np.mean([np.corrcoef(own[a], raw[b])[0, 1] for a, b in directions]):.3f} | "
        f"{interval(means, 3)} | "
        f"{interval(times(reached, raw_means), 1)} | {of_stated[0]:.2f} | {interval(reached, 2)} |"
    )
    print("\n| repeats of A | raw of A with raw of B | foretold from one repeat |\n|---|---|---|")
    most = len(curves[1])
    each = [
        np.mean([np.corrcoef(curves[a][r], raw[b])[0, 1] for a, b in directions])
        for r in range(most)
    ]
    whole = raw_means[0]
    one = whole / (most - (most - 1) * whole)
    for r, value in enumerate(each, start=1):
        foretold = np.sqrt(r * one / (1 + (r - 1) * one) * whole)
        print(f"| {r} | {value:.3f} | {foretold:.3f} |")
    for r in (2 * most, 3 * most, 4 * most):
        print(f"| {r} | | {np.sqrt(r * one / (1 + (r - 1) * one) * whole):.3f} |")
    if centre:
        return  # centred representations lie farther apart: scores of A have another unit
    print("\n| samples | intervals of A that hold B, beyond B's own error |\n|---|---|")
    for name, share in (("all", 1.0), ("the tenth expected highest", 0.1)):
        held = []
        for a, b in directions:
            top = np.argsort(-expected[a])[: round(share * n)]
            spread = np.sqrt(error[a][top] ** 2 + se[b][top] ** 2)
            held.append(np.mean(np.abs(expected[a][top] - raw[b][top]) < 1.96 * spread))
        print(f"| {name} | {100 * np.mean(held):.1f} % |")


def presets(home: Path, efforts: list[str]) -> None:
    """Print what the presets of ``--effort`` reach, held against six runs of other seeds."""
    raw = {}
    for seed in range(1, 7):
        run = curate.open_run("digits", runs=home, overrides=seeded(seed), called=f"digits-{seed}")
        curate.score(run, device="cpu", workers=1)
        raw[seed] = run.scores(["memorization"])["memorization"].to_numpy()
    weights = np.ones((1, len(raw[1])))
    itself = np.mean([correlations(raw[a], raw[b], weights)[0] for a, b in PAIRS])
    print(
        "| effort | encoders | seconds | raw: stated | reached | posterior: stated | reached | "
        "range over the six |\n|---|---|---|---|---|---|---|---|"
    )
    for seed, name in enumerate(efforts, start=7):
        asked = {**effort(name), **seeded(seed)}
        run = curate.open_run("digits", runs=home, overrides=asked, called=f"digits-{name}")
        began = time.monotonic()
        summary = curate.score(run, device="cpu", workers=1)
        spent = time.monotonic() - began
        table = run.scores(["memorization", "expected"])
        own, expected = (
            np.array([correlations(table[c].to_numpy(), raw[b], weights)[0] ** 2 for b in raw])
            / itself
            for c in ("memorization", "expected")
        )
        made = summary.expectation
        assert made is not None and made.reliability is not None
        assert summary.reliability is not None and summary.reliability.encoders is not None
        print(
            f"| {name} | {len(summary.encoders)} | {spent:.0f} | "
            f"{summary.reliability.encoders:.2f} | {own.mean():.2f} | {made.reliability:.2f} | "
            f"{expected.mean():.2f} | {expected.min():.2f} to {expected.max():.2f} |",
            flush=True,
        )


def simulated(
    rng: np.random.Generator, n: int, tail: str, *, noise: float, right: bool
) -> tuple[np.ndarray, Estimates, np.ndarray]:
    """Return the truth of n samples, their estimates in 2 x 2 cells, and covariates of each."""
    x = rng.normal(size=(n, 10))
    line = x[:, 0] + 0.5 * x[:, 1] + 0.2 * (x[:, 2] ** 2 - 1)
    rest = rng.normal(size=n)
    if tail.startswith("t "):
        rest = rng.standard_t(5, n) / np.sqrt(5 / 3)
    elif tail.startswith("gamma"):
        rest = (rng.gamma(4, size=n) - 4) / 2
    elif tail.endswith("upwards"):
        rest *= np.sqrt(np.clip(1 + 0.5 * line, 0.2, None))
    truth = line + 0.8 * rest
    cells = truth[:, None, None] + 2 * noise * rng.normal(size=(n, 2, 2))
    seen = (x if right else rng.normal(size=x.shape))[:, None, None]
    seen = seen + 0.3 * rng.normal(size=(n, 2, 2, 10))
    variance = noise**2 * rng.chisquare(7, n) / 7
    return truth, Estimates(cells.mean(axis=(1, 2)), np.full(n, noise), variance, cells), seen


def simulations() -> None:
    """Print how many intervals hold the truth."""
    print(
        "| truth around its prediction | noise | covariates | reliability stated | true | "
        "intervals that hold it: all | the tenth expected highest |\n|---|---|---|---|---|---|---|"
    )
    for tail in TAILS:
        for noise in (0.5, 1.5):
            for right in (True, False):
                rows = []
                for seed in range(10):
                    rng = np.random.default_rng(seed)
                    truth, found, seen = simulated(rng, 5000, tail, noise=noise, right=right)
                    folds = np.arange(5000) % 10
                    made = posterior(found, lambda rows, c, x=seen: x[rows, c[0], c[1]], folds)
                    held = np.abs(made.expected - truth) < 1.96 * made.expected_se
                    top = np.argsort(-made.expected)[:500]
                    square = np.corrcoef(made.expected, truth)[0, 1] ** 2
                    stated = made.facts.reliability
                    rows.append((stated, square, 100 * held.mean(), 100 * held[top].mean()))
                stated, true, held, of_top = np.mean(rows, axis=0)
                print(
                    f"| {tail} | {noise:g} | {'right' if right else 'random'} | {stated:.2f} | "
                    f"{true:.2f} | {held:.1f} % | {of_top:.1f} % |",
                    flush=True,
                )


def speed() -> None:
    """Print how long 100,000 made-up samples take, with as many covariates as the default has."""
    rng = np.random.default_rng(0)
    truth, found, _ = simulated(rng, 100_000, "normal", noise=1.5, right=True)
    x = truth[:, None] + rng.normal(size=(100_000, 45))
    with tempfile.TemporaryDirectory() as scratch:
        began = time.monotonic()
        posterior(found, lambda rows, _: x[rows], np.arange(100_000) % 10, scratch=Path(scratch))
        spent = time.monotonic() - began
    print(f"100,000 samples, 45 covariates, 4 cells: {spent:.1f} s")


def main() -> None:
    """Print the table asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("runs", "presets", "simulations", "speed"))
    parser.add_argument("--recipe", default="digits")
    parser.add_argument("--home", type=Path, help="keep the runs here")
    parser.add_argument("--centre", action="store_true", help="centre representations of A")
    parser.add_argument("--fashion", type=Path, help="the folder of Fashion-MNIST's files")
    parser.add_argument("--efforts", default="standard,thorough", help="presets, commas between")
    asked = parser.parse_args()
    if asked.part == "simulations":
        simulations()
    elif asked.part == "speed":
        speed()
    else:
        with tempfile.TemporaryDirectory() as folder:
            home = asked.home or Path(folder)
            if asked.part == "presets":
                presets(home, asked.efforts.split(","))
            else:
                runs(asked.recipe, home, asked.fashion, centre=asked.centre)


if __name__ == "__main__":
    main()
