"""Figures: what a run shows, drawn; each axis has its unit, each estimate its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

from curate.evaluation.measures import ACCURACY, Measure
from curate.reports.drawing import INK, Drawn, drawing, panels
from curate.runtime.intervals import normal_quantile

PALETTE = ("#3a86c8", "#d9722e", "#3f9b6b", "#a06cc4", "#cf4f66", "#8c8c3a", "#2fa3a3", "#96705b")
"""Mid-tones: at least 3:1 against both the light and the dark background."""
LEVELS = LinearSegmentedColormap.from_list("levels", ["#3a86c8", "#9a9a9a", "#d9722e"])
GROUP_COLOURS = {"S": PALETTE[0], "C": PALETTE[1], "I": PALETTE[2], "E": PALETTE[3]}
CROWDED = 3000
"""Scatter plots of more points have smaller ones."""
DRAWN_POINTS = 100_000
"""Scatter plots show at most this many samples."""
DASHED = (0, (4, 3))


def distribution(name: str, groups: Mapping[str, np.ndarray], *, unit: str) -> Drawn:
    """Return histograms of the score, one outline a group.

    Args:
        name: Prefix of ids.
        groups: Scores by what the legend calls the group, each (n,) float64 without NaN.
        unit: What the score is measured in.
    """
    out: list[Drawn] = []
    everything = np.concatenate(list(groups.values()))
    bins = int(np.clip(2 * min(map(len, groups.values())) ** 0.5, 10, 50))
    edges = bin_edges(everything, bins)
    with drawing(name, out) as axes:
        for k, (label, values) in enumerate(groups.items()):
            counts, _ = np.histogram(values, edges)
            share = 100 * counts / max(1, len(values))
            colour = GROUP_COLOURS.get(label[:1], PALETTE[k % len(PALETTE)])
            axes.stairs(share, edges, color=colour, fill=True, alpha=0.18)
            axes.stairs(share, edges, color=colour, linewidth=1.6, label=label)
        axes.axvline(0, color=INK, linewidth=0.9, linestyle=DASHED)
        axes.set_xlabel(f"score ({unit})")
        axes.set_ylabel("share of the group (%)")
        axes.set_ylim(bottom=0)
        if len(groups) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(0, 1.2), ncols=2, borderaxespad=0)
    return out[0]


def bin_edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Return bin edges over the values; a few far ones do not flatten the rest."""
    low, high = (float(v) for v in np.quantile(values, [0.001, 0.999]))
    low, high = min(low, 0.0), max(high, 0.0)
    pad = 0.05 * (high - low) or 1e-3
    middle = np.linspace(low - pad, high + pad, bins + 1)
    middle[0] = min(middle[0], float(values.min()))
    middle[-1] = max(middle[-1], float(values.max()))
    return middle


def means(name: str, rows: Sequence[tuple[str, float, float]], *, unit: str) -> Drawn:
    """Return group means with 95 % intervals.

    Args:
        name: Prefix of ids.
        rows: (label, mean, half width of the interval).
        unit: What the score is measured in.
    """
    out: list[Drawn] = []
    with drawing(name, out, height=max(1.5, 0.9 + 0.3 * len(rows))) as axes:
        for k, (label, mean, half) in enumerate(rows):
            colour = GROUP_COLOURS.get(label[:1], PALETTE[0])
            axes.errorbar(mean, -k, xerr=half, fmt="o", color=colour, markersize=5, capsize=3)
        axes.set_yticks([-k for k in range(len(rows))], [label for label, _, _ in rows])
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        axes.axvline(0, color=INK, linewidth=0.9, linestyle=DASHED)
        axes.set_xlabel(f"mean score ({unit})")
        axes.xaxis.set_major_locator(MaxNLocator(5))
    return out[0]


def alignments(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    memorization: np.ndarray,
    *,
    labels: tuple[str, str],
    unit: str,
) -> Drawn:
    """Return alignment against alignment, coloured by memorization (the paper's Fig. 2a).

    Args:
        name: Prefix of ids.
        x: (n,) alignment loss.
        y: (n,) alignment loss.
        memorization: (n,) score, for the colour.
        labels: Names of the axes.
        unit: What all three are measured in.
    """
    out: list[Drawn] = []
    step = -(-len(x) // DRAWN_POINTS)
    x, y, memorization = x[::step], y[::step], memorization[::step]
    order = np.argsort(np.abs(memorization), kind="stable")
    with drawing(name, out, height=3.7) as axes:
        reach = float(np.quantile(np.abs(memorization), 0.99)) or 1e-9
        points = axes.scatter(
            x[order],
            y[order],
            c=memorization[order],
            s=9 if len(x) <= CROWDED else 4,
            linewidths=0,
            alpha=0.8,
            cmap=LEVELS,
            norm=TwoSlopeNorm(0.0, -reach, reach),
            # As vectors they would make the file grow with the dataset.
            rasterized=True,
        )
        low, high = float(min(x.min(), y.min())), float(max(x.max(), y.max()))
        pad = 0.04 * (high - low) or 1e-3
        span = (low - pad, high + pad)
        axes.plot(span, span, color=INK, linewidth=0.9, linestyle=DASHED)
        axes.set_xlim(span)
        axes.set_ylim(span)
        axes.set_aspect("equal")
        axes.set_xlabel(f"{labels[0]} ({unit})")
        axes.set_ylabel(f"{labels[1]} ({unit})")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(5))
        assert axes.figure is not None
        bar = axes.figure.colorbar(points, ax=axes, shrink=0.8, aspect=28, extend="both")
        bar.set_label(f"memorization ({unit})")
        bar.outline.set_visible(False)
        if bar.solids is not None:
            bar.solids.set_rasterized(True)
    return out[0]


def scores_with_errors(name: str, memorization: np.ndarray, se: np.ndarray, *, unit: str) -> Drawn:
    """Return scores in rank order with a band of one standard error.

    Args:
        name: Prefix of ids.
        memorization: (n,) from highest to lowest.
        se: (n,) standard errors, NaN where unknown.
        unit: What both are measured in.
    """
    out: list[Drawn] = []
    picked = np.unique(np.linspace(0, len(memorization) - 1, 200).astype(int))
    rank, m, band = picked + 1, memorization[picked], np.nan_to_num(_smooth(se)[picked])
    with drawing(name, out) as axes:
        axes.fill_between(rank, m - band, m + band, color=PALETTE[1], alpha=0.28, linewidth=0)
        axes.plot(rank, m, color=PALETTE[1], linewidth=1.8)
        axes.axhline(0, color=INK, linewidth=0.9, linestyle=DASHED)
        axes.set_xlabel("rank (1 = most memorized)")
        axes.set_ylabel(f"memorization ({unit})")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlim(1, max(2, len(memorization)))
    return out[0]


def _smooth(se: np.ndarray) -> np.ndarray:
    """Return a running root mean square of standard errors along the ranks."""
    width = max(1, len(se) // 100)
    square = np.nan_to_num(se) ** 2
    known = (~np.isnan(se)).astype(float)
    window = np.ones(min(2 * width + 1, len(se)))
    total = np.convolve(square, window, "same")
    count = np.convolve(known, window, "same")
    smooth = np.full(len(se), np.nan)
    np.divide(total, count, out=smooth, where=count > 0)
    np.sqrt(smooth, out=smooth)
    return smooth


def differences(name: str, rows: Sequence[Mapping[str, Any]], measure: Measure = ACCURACY) -> Drawn:
    """Return paired differences of a measure with 95 % intervals, one line a row.

    Args:
        name: Prefix of ids.
        rows: ``label``, ``seeds``, ``mean``, ``low``, ``high`` in what the measure is shown in
            (accuracy: percentage points), the last two None for one seed.
        measure: What they are of.
    """
    out: list[Drawn] = []
    with drawing(name, out, height=max(1.6, 1.0 + 0.52 * len(rows))) as axes:
        for k, row in enumerate(rows):
            if row["low"] is not None:
                axes.plot([row["low"], row["high"]], [-k, -k], color=PALETTE[1], linewidth=2)
            axes.plot([row["mean"]], [-k], "o", color=PALETTE[1], markersize=6)
            axes.plot(row["seeds"], [-k] * len(row["seeds"]), "|", color=INK, alpha=0.7)
            # Only beside its bar, so that it crosses no label.
            axes.plot([0, 0], [-k - 0.2, -k + 0.1], color=INK, linewidth=0.9, linestyle=":")
            axes.annotate(
                row["label"],
                (0.01, -k),
                xycoords=("axes fraction", "data"),
                xytext=(0, 9),
                textcoords="offset points",
                fontsize=8.5,
            )
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-len(rows) + 0.5, 0.75)
        axes.set_xlabel(f"difference from random ({measure.axis})")
        axes.margins(x=0.15)
    return out[0]


def shares_above(name: str, groups: Mapping[str, np.ndarray], *, unit: str) -> Drawn:
    """Return the share of each group above every threshold (the paper's Fig. 5).

    A single group is drawn with its share below minus the threshold, which is what noise alone
    would put above it.

    Args:
        name: Prefix of ids.
        groups: Scores by what the legend calls the group, each (n,) float64 without NaN.
        unit: What scores are measured in.
    """
    out: list[Drawn] = []
    everything = np.concatenate(list(groups.values()))
    high = float(np.quantile(np.abs(everything), 0.998)) or 1e-3
    low = 0.0 if len(groups) == 1 else max(-high, float(everything.min()))
    threshold = np.linspace(low, high, 160)
    with drawing(name, out) as axes:
        for k, (label, values) in enumerate(groups.items()):
            colour = GROUP_COLOURS.get(label[:1], PALETTE[k % len(PALETTE)])
            above = len(values) - np.searchsorted(np.sort(values), threshold, side="right")
            _share(
                axes,
                threshold,
                above,
                len(values),
                colour,
                f"{label}: above" if len(groups) == 1 else label,
            )
            if len(groups) == 1:
                below = len(values) - np.searchsorted(np.sort(-values), threshold, side="right")
                text = "below minus the threshold"
                _share(axes, threshold, below, len(values), INK, text, linestyle=DASHED)
        axes.set_xlabel(f"threshold of the score ({unit})")
        axes.set_ylabel("share above it (%)" if len(groups) > 1 else "share (%)")
        axes.set_ylim(bottom=0)
        axes.margins(x=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.2), ncols=2, borderaxespad=0)
    return out[0]


def _share(
    axes: Axes, x: np.ndarray, count: np.ndarray, n: int, colour: str, label: str, **line: Any
) -> None:
    """Draw a share of n in percent along x with its Wilson interval."""
    z = normal_quantile()
    share = count / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    axes.fill_between(
        x, 100 * (middle - half), 100 * (middle + half), color=colour, alpha=0.2, linewidth=0
    )
    axes.plot(x, 100 * share, color=colour, linewidth=1.6, label=label, **line)


def training(
    name: str,
    epochs: Sequence[int],
    means: Mapping[str, Sequence[tuple[float, float]]],
    losses: Sequence[float | None],
    *,
    unit: str,
) -> Drawn:
    """Return mean scores and the loss along a training (the paper's Fig. 2b).

    Args:
        name: Prefix of ids.
        epochs: When the encoders were scored, ascending.
        means: (mean, half width of its interval) of each group at each epoch.
        losses: Training loss at each epoch; None where it was not finite.
        unit: What scores are measured in.
    """
    out: list[Drawn] = []
    with panels(name, out, 2, height=3.9) as (upper, lower):
        for k, (label, points) in enumerate(means.items()):
            colour = GROUP_COLOURS.get(label[:1], PALETTE[k % len(PALETTE)])
            middle, half = np.array(points, dtype=float).T
            upper.errorbar(
                epochs, middle, yerr=half, fmt="o-", color=colour, markersize=4, capsize=3,
                linewidth=1.4, label=label,
            )  # fmt: skip
        upper.axhline(0, color=INK, linewidth=0.9, linestyle=DASHED)
        upper.set_ylabel(f"mean score\n({unit})")
        if len(means) > 1:
            upper.legend(loc="upper left", bbox_to_anchor=(0, 1.35), ncols=2, borderaxespad=0)
        loss = np.array([np.nan if value is None else value for value in losses])
        lower.plot(epochs, loss, "s-", color=PALETTE[0], markersize=4, linewidth=1.4)
        lower.set_ylabel("training loss\n(the method’s own)")
        lower.set_xlabel("epochs of training")
        if len(epochs) <= 8:
            lower.set_xticks(list(epochs))
        else:
            lower.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        for axes in (upper, lower):
            axes.yaxis.set_major_locator(MaxNLocator(4))
    return out[0]


def agreement(name: str, names: Sequence[str], values: np.ndarray, *, measure: str) -> Drawn:
    """Return correlations between rankings as a matrix.

    Args:
        name: Prefix of ids.
        names: (R,) of the rankings.
        values: (R, R) in [-1, 1].
        measure: What they are.
    """
    out: list[Drawn] = []
    with drawing(name, out, height=max(2.4, 1.2 + 0.5 * len(names))) as axes:
        drawn = axes.imshow(values, cmap=LEVELS, vmin=-1, vmax=1)
        for i in range(len(names)):
            for j in range(len(names)):
                text = f"{values[i, j]:.2f}".replace("-", "−")
                # On a tile of mid-tone, whatever the page's colours are.
                axes.text(j, i, text, ha="center", va="center", color="#000000", fontsize=9)
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set_yticks(range(len(names)), names)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=0)
        assert axes.figure is not None
        bar = axes.figure.colorbar(drawn, ax=axes, shrink=0.8)
        bar.set_label(f"{measure} (−1 to 1)")
        bar.outline.set_visible(False)
        if bar.solids is not None:
            bar.solids.set_rasterized(True)
    return out[0]


def curves(
    name: str,
    lines: Mapping[str, Sequence[tuple[int, float, float | None]]],
    measure: Measure = ACCURACY,
) -> Drawn:
    """Return accuracy against how much was removed, a line a strategy (the paper's Fig. 3).

    Args:
        name: Prefix of ids.
        lines: By strategy (removed images, mean accuracy in %, half width of its interval or None
            for one seed), ascending; or so of another measure.
        measure: What they are of.
    """
    out: list[Drawn] = []
    with drawing(name, out) as axes:
        spots = sorted({point[0] for points in lines.values() for point in points})
        for k, (label, points) in enumerate(lines.items()):
            # Side by side, so that no interval hides another.
            x = np.array([p[0] for p in points]) * (1 + 0.015 * (k - (len(lines) - 1) / 2))
            half = [0.0 if p[2] is None else p[2] for p in points]
            colour = INK if label == "random" else PALETTE[k % len(PALETTE)]
            axes.errorbar(
                x, [p[1] for p in points], yerr=half, fmt="o", color=colour, markersize=4.5,
                capsize=3, linewidth=1.4, label=label,
                linestyle=DASHED if label == "random" else "-",
            )  # fmt: skip
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.set_xticks(spots)
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("removed (images)")
        unit = measure.unit.strip()
        axes.set_ylabel(f"{measure.name} ({unit})" if unit else measure.name)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.legend(loc="upper left", bbox_to_anchor=(0, 1.2), ncols=3, borderaxespad=0)
    return out[0]
