"""Are standard errors and p_top right? Simulated alignments whose truth is known.

    python docs/benchmarks/uncertainty.py [--figure docs/p_top.svg]

Each design draws memorization of 20,000 samples, encoders that err by unequal amounts (scaled
inverse chi-square variances), and views that do something to all encoders and to each; scores and
errors then come from the code that scores runs. It prints the share of 95 % intervals that hold the
truth, and beside each ``p_top`` the share of samples that do belong to the top, and draws the
latter. Takes a minute on one core.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from curate.scores import estimator
from curate.scores.estimator import Errors, Estimate
from curate.scores.top_probability import p_selected

N, VIEWS, TOP = 20_000, 8, 0.2
DESIGNS = {
    "folds: 2, 3 repeats": (3, 2, "folds"),
    "folds: 2, 10 repeats": (10, 2, "folds"),
    "folds: 8, 1 repeat": (1, 8, "folds"),
    "parts: 4, 3 repeats": (3, 4, "parts"),
    "parts: 4, 12 repeats": (12, 4, "parts"),
    "subsets: 20 of 0.7": (1, 20, "subsets"),
}


def simulated(
    rng: np.random.Generator, repeats: int, pieces: int, kind: str, prior: float
) -> tuple[np.ndarray, Estimate, Errors]:
    """Return true memorization of N samples, their estimates, and the summary of their errors."""
    truth = rng.normal(0.02, 0.015, N)
    columns = []
    for _ in range(repeats):
        mine = rng.integers(0, pieces, (N, 1)) == np.arange(pieces)
        drawn = rng.random((N, pieces)) < 0.7
        columns.append({"folds": ~mine, "parts": mine, "subsets": drawn}[kind])
    inclusion = np.concatenate(columns, axis=1)
    repeat = np.repeat(np.arange(repeats), pieces)
    e = len(repeat)
    variance = 0.001 * (prior / rng.chisquare(prior, N) if np.isfinite(prior) else np.ones(N))
    start = np.repeat(rng.normal(0, 0.05, (N, repeats)), pieces, axis=1)
    level = 0.8 + start - truth[:, None] * inclusion
    level = level + np.sqrt(variance)[:, None] * rng.normal(size=(N, e))
    distances = level[:, :, None] + rng.normal(0, 0.1, (N, 1, VIEWS))
    distances = distances + rng.normal(0, 0.03, (N, e, VIEWS))
    left_out = (distances.sum(axis=2, keepdims=True) - distances) / (VIEWS - 1)
    align, errors, prior_found = distances.mean(axis=2), Errors(), None
    for _ in range(2):
        found = estimator.estimate(
            align,
            left_out,
            inclusion,
            np.zeros(e),
            repeat=repeat,
            calibrate=True,
            pair=False,
            prior=prior_found,
        )
        if prior_found is None:
            errors.add(found)
            prior_found = errors.prior
    return truth, found, errors


def diagram(
    truth: np.ndarray, m: np.ndarray, se: np.ndarray, reliability: float
) -> list[tuple[float, float, int]]:
    """Return of each tenth of p_top its mean, the share that belongs to the top, and how many."""
    n = round(TOP * len(m))
    p = p_selected(m, se, n, reliability)
    belongs = np.zeros(len(m), dtype=bool)
    belongs[np.argsort(-truth)[:n]] = True
    tenth = np.clip((10 * p).astype(int), 0, 9)
    rows = [(p[tenth == b], belongs[tenth == b]) for b in range(10)]
    return [(float(a.mean()), float(b.mean()), len(a)) for a, b in rows if len(a) >= 100]


def main() -> None:
    """Print the tables and draw the diagram."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--figure", type=Path, help="where to draw p_top against its frequency")
    asked = parser.parse_args()
    rng = np.random.default_rng(0)
    print("| design | encoders' noise | reliability | true | 95 % intervals that hold the truth |")
    print("|---|---|---|---|---|")
    lines = {}
    for name, (repeats, pieces, kind) in DESIGNS.items():
        for prior in (6.0, np.inf):
            truth, found, errors = simulated(rng, repeats, pieces, kind, prior)
            known = ~np.isnan(found.memorization)
            truth, m, se = truth[known], found.memorization[known], found.se[known]
            reliability = 1 - errors.both / m.var(ddof=1)
            held = (np.abs(m - truth) < errors.prior.quantile * se).mean()
            noise = "equal" if np.isinf(prior) else "unequal"
            square = np.corrcoef(m, truth)[0, 1] ** 2
            print(f"| {name} | {noise} | {reliability:.2f} | {square:.2f} | {100 * held:.1f} % |")
            if not np.isinf(prior):
                lines[name] = diagram(truth, m, se, float(reliability))
    print("\n| design | p_top: share that belongs to the top fifth |\n|---|---|")
    for name, rows in lines.items():
        print(f"| {name} | {', '.join(f'{p:.2f}: {share:.2f}' for p, share, _ in rows)} |")
    if asked.figure:
        draw(asked.figure, lines)


def draw(path: Path, lines: dict[str, list[tuple[float, float, int]]]) -> None:
    """Draw p_top against the share that belongs to the top."""
    mpl.rcParams["svg.hashsalt"] = "curate"
    figure = Figure(figsize=(5, 5))
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1, label="perfect")
    for name, rows in lines.items():
        axes.plot(*np.array(rows)[:, :2].T, marker="o", markersize=3, linewidth=1, label=name)
    axes.set(
        xlabel="p_top",
        ylabel="share of samples truly among the most memorized fifth",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
