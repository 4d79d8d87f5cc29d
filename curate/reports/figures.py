"""Figures: matplotlib drawings turned into inline SVG that follows the page's colours.

A strict content security policy forbids inline styles, so that every ``style`` attribute becomes
presentation attributes; ink becomes ``currentColor`` and is legible in light and dark alike.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

INK = "#010101"
"""Stands for the page's text colour until the SVG is rewritten."""
PALETTE = ("#3a86c8", "#d9722e", "#3f9b6b", "#a06cc4", "#cf4f66", "#8c8c3a", "#2fa3a3", "#96705b")
"""Mid-tones: at least 3:1 against both the light and the dark background."""
LEVELS = LinearSegmentedColormap.from_list("levels", ["#3a86c8", "#9a9a9a", "#d9722e"])
GROUP_COLOURS = {"S": PALETTE[0], "C": PALETTE[1], "I": PALETTE[2], "E": PALETTE[3]}
CROWDED = 3000
"""Scatter plots of more points have smaller ones."""
DRAWN_POINTS = 100_000
"""Scatter plots show at most this many samples."""
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"

STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.linewidth": 0.7,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9,
    "axes.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.labelcolor": INK,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "text.color": INK,
    # Names from outside must never be read as mathematics.
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.formatter.useoffset": False,
    "axes.unicode_minus": True,
}


@contextmanager
def drawing(name: str, out: list[Markup], *, height: float = 3.1) -> Iterator[Axes]:
    """Yield axes; append their SVG to ``out`` at the end.

    Args:
        name: Unique on the page; prefixes every id.
        out: Receives the SVG.
        height: In inches, for a width of 4.7.
    """
    with mpl.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(4.7, height), dpi=160, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure.subplots()
        stream = io.BytesIO()
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    out.append(inline(stream.getvalue(), name))


def inline(svg: bytes, name: str) -> Markup:
    """Return matplotlib's SVG as markup that needs no style attribute, no id of its own, no file.

    Args:
        svg: What ``savefig`` wrote.
        name: Unique on the page; prefixes every id.
    """
    ET.register_namespace("", SVG)
    root = ET.fromstring(svg)  # noqa: S314  (our own output, not a file from outside)
    for parent in list(root.iter()):
        for child in list(parent):
            tag = child.tag.rpartition("}")[2]
            if tag in ("metadata", "style") or (tag == "defs" and not _kept(child)):
                parent.remove(child)
    for node in root.iter():
        _plain(node, name)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.set("aria-hidden", "true")
    root.set("focusable", "false")
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704  (ElementTree escaped it)


def _kept(defs: ET.Element) -> bool:
    return any(child.tag.rpartition("}")[2] != "style" for child in defs)


def _plain(node: ET.Element, name: str) -> None:
    """Rewrite one element: styles to attributes, ids and links prefixed, ink to currentColor."""
    for declaration in node.attrib.pop("style", "").split(";"):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":
            # A shorthand is no presentation attribute; the page's own font follows by inheritance.
            size = re.search(r"([\d.]+)px", value)
            node.set("font-size", size.group(1) if size else "9")
        elif key == "font-size":
            node.set(key, value.removesuffix("px"))
        elif key and not key.startswith(("font-", "-", "image-rendering")):
            node.set(key, value)
    if f"{{{XLINK}}}href" in node.attrib:
        node.set("href", node.attrib.pop(f"{{{XLINK}}}href"))
    for key, value in list(node.attrib.items()):
        if key == "id":
            node.set(key, f"{name}-{value}")
        elif key == "href" and value.startswith("#"):
            node.set(key, f"#{name}-{value[1:]}")
        elif value.startswith("url(#"):
            node.set(key, f"url(#{name}-{value[5:]}")
        elif value == INK:
            node.set(key, "currentColor")
    if node.tag == f"{{{SVG}}}text" and "fill" not in node.attrib:
        node.set("fill", "currentColor")


def distribution(name: str, groups: Mapping[str, np.ndarray], *, unit: str) -> Markup:
    """Return histograms of the score, one outline a group.

    Args:
        name: Prefix of ids.
        groups: Scores by what the legend calls the group, each (n,) float64 without NaN.
        unit: What the score is measured in.
    """
    out: list[Markup] = []
    everything = np.concatenate(list(groups.values()))
    edges = _edges(everything, bins=int(np.clip(2 * min(map(len, groups.values())) ** 0.5, 10, 50)))
    with drawing(name, out) as axes:
        for k, (label, values) in enumerate(groups.items()):
            counts, _ = np.histogram(values, edges)
            share = 100 * counts / max(1, len(values))
            colour = GROUP_COLOURS.get(label[:1], PALETTE[k % len(PALETTE)])
            axes.stairs(share, edges, color=colour, fill=True, alpha=0.18)
            axes.stairs(share, edges, color=colour, linewidth=1.6, label=label)
        axes.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.set_xlabel(f"score ({unit})")
        axes.set_ylabel("share of the group (%)")
        axes.set_ylim(bottom=0)
        if len(groups) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(0, 1.2), ncols=2, borderaxespad=0)
    return out[0]


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Return bin edges over the values; a few far ones do not flatten the rest."""
    low, high = (float(v) for v in np.quantile(values, [0.001, 0.999]))
    low, high = min(low, 0.0), max(high, 0.0)
    pad = 0.05 * (high - low) or 1e-3
    middle = np.linspace(low - pad, high + pad, bins + 1)
    middle[0] = min(middle[0], float(values.min()))
    middle[-1] = max(middle[-1], float(values.max()))
    return middle


def means(name: str, rows: Sequence[tuple[str, float, float]], *, unit: str) -> Markup:
    """Return group means with 95 % intervals.

    Args:
        name: Prefix of ids.
        rows: (label, mean, half width of the interval).
        unit: What the score is measured in.
    """
    out: list[Markup] = []
    with drawing(name, out, height=max(1.5, 0.9 + 0.3 * len(rows))) as axes:
        for k, (label, mean, half) in enumerate(rows):
            colour = GROUP_COLOURS.get(label[:1], PALETTE[0])
            axes.errorbar(mean, -k, xerr=half, fmt="o", color=colour, markersize=5, capsize=3)
        axes.set_yticks([-k for k in range(len(rows))], [label for label, _, _ in rows])
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        axes.axvline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
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
) -> Markup:
    """Return alignment against alignment, coloured by memorization (the paper's Fig. 2a).

    Args:
        name: Prefix of ids.
        x: (n,) alignment loss.
        y: (n,) alignment loss.
        memorization: (n,) score, for the colour.
        labels: Names of the axes.
        unit: What all three are measured in.
    """
    out: list[Markup] = []
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
        axes.plot(span, span, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
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


def scores_with_errors(name: str, memorization: np.ndarray, se: np.ndarray, *, unit: str) -> Markup:
    """Return scores in rank order with a band of one standard error.

    Args:
        name: Prefix of ids.
        memorization: (n,) from highest to lowest.
        se: (n,) standard errors, NaN where unknown.
        unit: What both are measured in.
    """
    out: list[Markup] = []
    picked = np.unique(np.linspace(0, len(memorization) - 1, 200).astype(int))
    rank, m, band = picked + 1, memorization[picked], np.nan_to_num(_smooth(se)[picked])
    with drawing(name, out) as axes:
        axes.fill_between(rank, m - band, m + band, color=PALETTE[1], alpha=0.28, linewidth=0)
        axes.plot(rank, m, color=PALETTE[1], linewidth=1.8)
        axes.axhline(0, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
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
    return np.sqrt(np.divide(total, count, out=np.full(len(se), np.nan), where=count > 0))


def differences(name: str, rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Return paired differences of accuracy with 95 % intervals, one line a row.

    Args:
        name: Prefix of ids.
        rows: ``label``, ``seeds``, ``mean``, ``low``, ``high`` in percentage points, the last two
            None for one seed.
    """
    out: list[Markup] = []
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
        axes.set_xlabel("difference from random (percentage points of test accuracy)")
        axes.margins(x=0.15)
    return out[0]
