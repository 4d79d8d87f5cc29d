"""Draw what a comparison of strategies says, and print it as a table.

    curate compare RUN --remove 500,1000,1500 --seeds 5 --strategies ... --json > compare.json
    python docs/benchmarks/strategies.py compare.json --figure docs/strategies.svg

Rows are selections, by how many images they keep: accuracy in percent, mean and standard deviation
over seeds, and points over as many at random, with the interval over seeds and test images. The
figure has these differences, a panel for each kind of probe. For comparisons of two seeds or more
that were tested on one source by both probes.
"""

# ruff: noqa: T201 (a script talks on stdout)
from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

KINDS = {"linear": "linear probe", "knn": "k-NN"}


def table(said: dict[str, Any]) -> None:
    """Print arms and differences in Markdown."""
    arms = {(a["remove"], a["strategy"], a["kind"]): a for a in said["arms"]}
    apart = {(d["remove"], d["strategy"], d["kind"]): d for d in said["differences"]}
    print("| trained on | linear | over random | p | k-NN | over random | p |")
    print("|---|---|---|---|---|---|---|")
    for remove, strategy in dict.fromkeys((r, s) for r, s, _ in arms):
        cells = []
        for kind in KINDS:
            arm, gap = arms[remove, strategy, kind], apart.get((remove, strategy, kind))
            cells.append(f"{100 * arm['mean']:.2f} ± {100 * arm['sd']:.2f}")
            if gap is None:
                cells += ["", ""]
                continue
            mean, low, high = (100 * gap[name] for name in ("mean", "low", "high"))
            cells += [f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]", f"{gap['p']:.2g}"]
        print(f"| {arms[remove, strategy, 'linear']['label']} | {' | '.join(cells)} |")


def draw(path: Path, said: dict[str, Any]) -> None:
    """Draw differences from random selections against how many images are removed."""
    mpl.rcParams["svg.hashsalt"] = "curate"
    figure = Figure(figsize=(9, 4.5))
    panels = figure.subplots(1, len(KINDS), sharey=True)
    for axes, (kind, title) in zip(panels, KINDS.items(), strict=True):
        rows = [d for d in said["differences"] if d["kind"] == kind]
        names = list(dict.fromkeys(d["strategy"] for d in rows))
        sizes = sorted({d["remove"] for d in rows})
        for number, name in enumerate(names):
            mine = [d for d in rows if d["strategy"] == name]
            place = [sizes.index(d["remove"]) + 0.8 * (number / len(names) - 0.45) for d in mine]
            means = [100 * d["mean"] for d in mine]
            below = [100 * (d["mean"] - d["low"]) for d in mine]
            above = [100 * (d["high"] - d["mean"]) for d in mine]
            axes.errorbar(place, means, (below, above), fmt="o", markersize=4, label=name)
        axes.axhline(0, color="#888888", linewidth=1)
        axes.set(title=title, xticks=range(len(sizes)), xlabel="images removed")
        axes.set_xticklabels([f"{size:,}" for size in sizes])
    panels[0].set(ylabel="points over as many at random")
    panels[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})


def main() -> None:
    """Print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparison", type=Path, help="what --json printed, or comparison.json")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    said = json.loads(options.comparison.read_text(encoding="utf-8"))
    table(said)
    if options.figure:
        draw(options.figure, said)


if __name__ == "__main__":
    main()
