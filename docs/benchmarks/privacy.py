"""What does differential privacy cost, and take from memorization? Table 5's shape on digits.

    python docs/benchmarks/privacy.py [RECIPE ...] [--epsilons inf 20 8] [--seeds 3]

For each recipe with ``train.dp``, each epsilon and each seed it trains the two encoders of the
plan's first repeat, each on half of the 898 training images, scores these images, and probes both
encoders on the 899 test images. It prints a markdown table: the noise multiplier, accuracy in
percent with its standard deviation over seeds, the mean of the memorization scores over their range
(the paper's headline) with its standard deviation, and t of the mean memorization above 0 of every
seed. What each seed gave goes to stderr.
Hardware: 2 CPU cores. Time: about 20 minutes for a recipe and 3 seeds.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from methods import trained


def measured(name: str, epsilon: float, seed: int, home: Path) -> dict[str, Any]:
    """Train, score and probe one seed of a recipe; returns what the table averages."""
    dp = {"train.dp": None} if np.isinf(epsilon) else {"train.dp.epsilon": epsilon}
    run, accuracies, t, facts = trained(name, seed, home / f"{epsilon}", **dp)
    config = json.loads((run.path / "encoders" / facts.encoders[0] / "config.json").read_text())
    return {
        "noise": config.get("privacy", {}).get("noise_multiplier", 0.0),
        "accuracies": np.mean(accuracies, axis=0),
        "normalised": facts.normalised_mean,
        "t": t,
    }


def main() -> None:
    """Measure every recipe and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipes", nargs="*", default=["digits-mae-dp"])
    parser.add_argument("--epsilons", type=float, nargs="+", default=[float("inf"), 20.0, 8.0])
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    print(
        "| recipe | epsilon | noise | linear % | k-NN % | normalised mean | t above 0 |\n"
        "|---|---|---|---|---|---|---|",
        flush=True,
    )
    for name in options.recipes:
        for epsilon in options.epsilons:
            rows = []
            with tempfile.TemporaryDirectory() as folder:
                for seed in range(options.seeds):
                    began = time.monotonic()
                    rows.append(measured(name, epsilon, seed, Path(folder)))
                    row = rows[-1]
                    print(
                        f"{name} epsilon {epsilon:g} seed {seed}: linear/k-NN "
                        f"{'/'.join(f'{a:.1f}' for a in row['accuracies'])} %; normalised "
                        f"{row['normalised']:+.4f}; t {row['t']:.1f}; "
                        f"{time.monotonic() - began:.0f} s",
                        file=sys.stderr,
                        flush=True,
                    )
            reached = np.array([row["accuracies"] for row in rows])
            means = np.array([row["normalised"] for row in rows])
            columns = [f"{a.mean():.1f} ± {a.std(ddof=1):.1f}" for a in reached.T]
            columns.append(f"{means.mean():+.3f} ± {means.std(ddof=1):.3f}")
            columns.append(", ".join(f"{row['t']:.1f}" for row in rows))
            shown = f"{name} | {epsilon:g} | {rows[0]['noise']:.2f}"
            print(f"| {shown} | {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    main()
