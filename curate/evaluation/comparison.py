"""Paired comparison: does a selection train a better encoder than a random one of its size?"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from curate.runtime.files import replacing, write_json, write_text

CONTROL = "random"
"""The strategy that the others are compared with."""
CONFIDENCE = 0.95

COLUMNS = (
    "strategy",
    "label",
    "remove",
    "kept",
    "seed",
    "source",
    "kind",
    "accuracy",
    "validation_accuracy",
    "n_train",
    "n_test",
    "classes",
    "held_out",
)
"""Columns of ``comparison.csv``, one row a probe of an arm."""


def label(strategy: str, remove: int, scored: int) -> str:
    """Return an arm of a comparison in plain words.

    Args:
        strategy: As in ``curate select``.
        remove: How many of the scored samples it removes.
        scored: How many samples are scored.
    """
    kept = scored - remove
    words = {
        "top": f"keep the {kept:,} most memorized",
        "drop-top": f"drop the {remove:,} most memorized",
        "bottom": f"keep the {kept:,} least memorized",
        "random": f"{kept:,} at random",
    }
    return words.get(strategy, f"{kept:,} by {strategy}")


def summarise(rows: Sequence[Mapping[str, Any]], scored: int) -> dict[str, Any]:
    """Return accuracies of every arm and their paired differences from the random one.

    Within a seed the arms share initialisation and views, so that the difference of a pair is the
    selection's, and the spread of the pairs' differences is what its interval is made from.

    Args:
        rows: One mapping a probe: strategy, remove, seed, source, kind, accuracy in [0, 1].
        scored: How many samples were scored, before any were removed.

    Returns:
        ``arms``: for each (remove, source, kind, strategy) its label, accuracies by seed, their
        mean and sd. ``differences``: for each of them but the random ones ``mean`` (accuracy minus
        the random one's, in -1 to 1), ``low`` and ``high`` (95 % t-interval over the pairs; None
        for one pair), ``sd``, ``p`` (two-sided paired t-test; None where undefined), ``n`` pairs
        and ``by_seed``. ``verdict`` says in words what the intervals allow.
    """
    cells: dict[tuple[int, str, str, str], dict[int, float]] = {}
    for row in rows:
        cell = (row["remove"], row["source"], row["kind"], row["strategy"])
        cells.setdefault(cell, {})[row["seed"]] = float(row["accuracy"])
    arms, differences = [], []
    for (remove, source, kind, strategy), by_seed in cells.items():
        about = {
            "strategy": strategy,
            "label": label(strategy, remove, scored),
            "remove": remove,
            "kept": scored - remove,
            "source": source,
            "kind": kind,
        }
        values = np.array([by_seed[s] for s in sorted(by_seed)])
        arms.append(
            {
                **about,
                "n": len(values),
                "mean": float(values.mean()),
                "sd": float(values.std(ddof=1)) if len(values) > 1 else None,
                "by_seed": {str(s): by_seed[s] for s in sorted(by_seed)},
            }
        )
        control = cells.get((remove, source, kind, CONTROL), {})
        paired = sorted(by_seed.keys() & control.keys())
        if strategy != CONTROL and paired:
            gaps = {s: by_seed[s] - control[s] for s in paired}
            differences.append({**about, **interval(np.array(list(gaps.values())))})
            differences[-1]["by_seed"] = {str(s): gap for s, gap in gaps.items()}
    return {
        "scored": scored,
        "confidence": CONFIDENCE,
        "control": CONTROL,
        "arms": arms,
        "differences": differences,
        "verdict": _verdict(differences),
    }


def interval(gaps: np.ndarray) -> dict[str, Any]:
    """Return mean, t-interval, sd, p and n of paired differences (n,), n of at least 1."""
    n, mean = len(gaps), float(gaps.mean())
    if n < 2:
        return {"mean": mean, "low": None, "high": None, "sd": None, "p": None, "n": n}
    sd = float(gaps.std(ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1)) * sd / n**0.5
    p = float(2 * stats.t.sf(abs(mean) / (sd / n**0.5), n - 1)) if sd > 0 else None
    return {"mean": mean, "low": mean - half, "high": mean + half, "sd": sd, "p": p, "n": n}


def _verdict(differences: Sequence[Mapping[str, Any]]) -> str:
    """Return what the intervals say, in a sentence that promises nothing they do not hold."""
    if not differences:
        return "nothing was compared: give a strategy other than random."
    known = [d for d in differences if d["low"] is not None]
    if not known:
        return "one seed shows no interval: run more seeds before believing a difference."
    apart = [d for d in known if d["low"] > 0 or d["high"] < 0]
    if not apart:
        return (
            f"no difference from random is shown: all {len(known)} intervals contain 0 "
            f"(n = {min(d['n'] for d in known)} paired seeds)."
        )
    return (
        f"{len(apart)} of {len(known)} intervals exclude 0; about "
        f"{len(known) * (1 - CONFIDENCE):.1f} would by chance."
    )


def write(
    folder: Path, rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]
) -> list[Path]:
    """Write ``comparison.csv``, ``.json`` and ``.png`` into ``folder``; returns their paths.

    Args:
        folder: Where to; made if it is not there.
        rows: As given to ``summarise``.
        summary: What it returned, and whatever else the JSON should hold.
    """
    paths = [folder / f"comparison.{ending}" for ending in ("csv", "json", "png")]
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    scored = summary["scored"]
    for row in rows:
        words = label(row["strategy"], row["remove"], scored)
        table.writerow({**row, "label": words, "kept": scored - row["remove"]})
    write_text(paths[0], text.getvalue())
    write_json(paths[1], {**summary, "results": [dict(row) for row in rows]})
    with replacing(paths[2]) as temporary:
        plot(summary, temporary)
    return paths


COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's, which colour-blind readers can tell apart."""


def plot(summary: Mapping[str, Any], path: Path) -> None:
    """Draw the paired differences with their intervals as a png, a panel a source and probe."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    differences = summary["differences"]
    panels = list(dict.fromkeys((d["source"], d["kind"]) for d in differences))
    rows = max(
        [len([d for d in differences if (d["source"], d["kind"]) == p]) for p in panels] or [1]
    )
    figure = Figure(figsize=(8, 0.9 + max(1, len(panels)) * (0.9 + 0.42 * rows)), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.subplots(max(1, len(panels)), 1, squeeze=False, sharex=True)[:, 0]
    strategies = list(dict.fromkeys(d["strategy"] for d in differences))
    for axis, (source, kind) in zip(axes, panels, strict=False):
        mine = [d for d in differences if (d["source"], d["kind"]) == (source, kind)]
        for y, d in enumerate(mine):
            colour = COLOURS[strategies.index(d["strategy"]) % len(COLOURS)]
            if d["low"] is not None:
                axis.plot([100 * d["low"], 100 * d["high"]], [y, y], color=colour, linewidth=2)
            seeds = [100 * gap for gap in d["by_seed"].values()]
            axis.plot(seeds, [y] * len(seeds), "o", color=colour, alpha=0.35, markersize=4)
            axis.plot(100 * d["mean"], y, "D", color=colour, markersize=7)
        axis.axvline(0, color="#555555", linewidth=1)
        axis.set_yticks(range(len(mine)), [d["label"] for d in mine])
        axis.set_ylim(len(mine) - 0.5, -0.5)
        where = "the run's own labels" if source == "self" else source
        axis.set_title(f"{kind} probe on {where}", loc="left", fontsize=10)
        axis.grid(axis="x", alpha=0.25)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
    if not panels:
        axes[0].set_axis_off()
        axes[0].text(0.5, 0.5, summary["verdict"], ha="center", va="center", wrap=True)
    axes[-1].set_xlabel(
        "test accuracy minus that of as many at random, in percentage points\n"
        "(diamond: mean; dots: paired seeds; line: 95 % interval)"
    )
    figure.tight_layout()
    # Without the library's version in it, equal results are equal files.
    figure.savefig(path, format="png", metadata={"Software": None})
