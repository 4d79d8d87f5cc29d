"""Findings: each figure with the sentence it proves and how to read it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from curate.reports import figures, words
from curate.reports.drawing import Captioned
from curate.reports.material import Material
from curate.reports.words import INTERVAL, NBSP
from curate.runtime.intervals import half_width


def findings(material: Material) -> list[Captioned]:
    """Return the figures of a run, the most telling first; those without data are left out."""
    captioned = [
        _distribution_figure(material),
        _means_figure(material),
        _alignment_figure(material),
        _thresholds_figure(material),
        _rank_figure(material),
        _training_figure(material),
    ]
    return [figure for figure in captioned if figure is not None]


def _named_groups(material: Material) -> dict[str, np.ndarray]:
    """Return the scores of each group that has any, in the order of a legend."""
    score = material.score
    known = ~np.isnan(score)
    if material.plan == "pair":
        names = {g: words.GROUPS[g].split(",")[0] for g in "CSEI"}
    elif material.plan == "halves":
        names = {g: material.group_name(g) for g in "fg"}
    else:
        return {"all scored images": score[known]} if known.any() else {}
    parts = {text: score[known & (material.group == g)] for g, text in names.items()}
    return {text: values for text, values in parts.items() if len(values)}


def _distribution_figure(material: Material) -> Captioned | None:
    groups = _named_groups(material)
    if not groups:
        return None
    svg = figures.distribution("distribution", groups, unit=material.unit)
    pair = material.plan == "pair"
    scored = next(iter(groups.values())) if pair else np.concatenate(list(groups.values()))
    finding = (
        f"{words.percent(float((scored > 0).mean()))} of the "
        f"{'candidates' if pair else 'scored images'} score above 0."
    )
    note = (
        f"Each outline adds up to 100{NBSP}%. Dashed: 0, where seeing an image makes no "
        "difference. Without memorization about half would lie on each side."
    )
    return svg, finding, note


def _means_figure(material: Material) -> Captioned | None:
    rows = []
    for name, group in material.groups():
        if group["sd"] is not None and group["n"] > 1:
            half = half_width(group["sd"], group["n"])
            rows.append((material.group_name(name, short=True), group["mean"], half))
    if not rows:
        return None
    svg = figures.means("means", rows, unit=material.unit)
    note = f"Bars: {INTERVAL} intervals of the mean over images."
    if material.plan == "pair":
        note += " Expected where there is memorization: C above the others, I below them, S at 0."
    else:
        note += " Expected where there is memorization: above 0."
    if material.plan in ("folds", "parts"):
        note += " One left or right of the others points at an encoder that differs."
    return svg, intervals_lie(rows), note


def intervals_lie(rows: Sequence[tuple[str, float, float]]) -> str:
    """Return on which side of 0 the intervals of (label, mean, half width) lie."""
    sides = {
        "above 0": [label for label, mean, half in rows if mean > half],
        "below 0": [label for label, mean, half in rows if mean < -half],
        "not told from 0": [label for label, mean, half in rows if abs(mean) <= half],
    }
    labelled = {side: labels for side, labels in sides.items() if labels}
    if len(rows) > 4:
        return f"Of {len(rows)} means, {', '.join(f'{len(v)} {k}' for k, v in labelled.items())}."
    text = "; ".join(
        f"{side}: {', '.join(label.partition(':')[0] for label in labels)}"
        for side, labels in labelled.items()
    )
    return f"Mean {text}."


def _alignment_figure(material: Material) -> Captioned | None:
    seen, unseen = material.numbers["align_in"], material.numbers["align_out"]
    m = material.numbers["memorization"]
    known = ~(np.isnan(seen) | np.isnan(unseen) | np.isnan(m))
    if known.sum() < 2:
        return None
    if material.plan in ("pair", "halves"):
        only_g = np.isin(material.group, ["I", "g"])
        x, y = np.where(only_g, unseen, seen), np.where(only_g, seen, unseen)
        labels = ("alignment on f", "alignment on g")
        note = "Expected where there is memorization: what only f saw above the dashed line, what "
        note += "only g saw below it."
    else:
        x, y, labels = seen, unseen, ("alignment, trained on it", "alignment, not trained on it")
        note = "One point an image; above the dashed line: worse where unseen."
    finding = (
        f"{words.percent(float((unseen[known] > seen[known]).mean()))} of the images align worse "
        "on encoders that never saw them"
    )
    if material.summary.get("calibrated"):
        after = words.percent(float((m[known] > 0).mean()))
        finding += f"; {after} once each encoder’s offset is removed"
        note += " The axes show alignments before offsets are removed, the colour after."
    svg = figures.alignments(
        "align", x[known], y[known], m[known], labels=labels, unit=material.unit
    )
    if np.ptp(x[known]) > 0 and np.ptp(y[known]) > 0:
        r = float(stats.spearmanr(x[known], y[known]).statistic)
        note += f" Spearman correlation of the axes: {words.number(r, 2)}"
        note += "; memorization is a small difference of similar numbers." if r > 0.7 else "."
    if known.sum() > figures.DRAWN_POINTS:
        note += f" Shown: about {figures.DRAWN_POINTS:,} of {int(known.sum()):,} images."
    return svg, f"{finding}.", note


def _rank_figure(material: Material) -> Captioned | None:
    rows = material.ranked()
    if len(rows) < 2:
        return None
    m, se = material.numbers["memorization"][rows], material.numbers["se"][rows]
    svg = figures.scores_with_errors("ranks", m, se, unit=material.unit)
    spread = float(m.std(ddof=1))
    if np.isnan(se).all():
        finding = f"The spread of scores (standard deviation) is {words.number(spread, 2)}."
        return svg, finding, "No standard error is known for this run."
    typical = float(np.sqrt(np.nanmean(se**2)))
    finding = f"A score’s typical standard error is {words.number(typical, 2)} {material.unit}"
    finding += (
        f", {typical / spread:.1f} times the spread of scores ({words.number(spread, 2)})."
        if spread > 0
        else "; all scores are equal."
    )
    only = material.summary["reliability"].get("encoders") is None
    note = "Band: ± one standard error" + (
        ", from views only, so that it is too narrow." if only else ", from views and encoders."
    )
    return svg, finding, note


def _thresholds_figure(material: Material) -> Captioned | None:
    groups = _named_groups(material)
    if not groups:
        return None
    drawn = figures.shares_above("thresholds", groups, unit=material.unit)
    # The first group: a pair's candidates, or all there is.
    values = next(iter(groups.values())) if material.plan == "pair" else material.score
    values = values[~np.isnan(values)]
    cut = float(np.quantile(values, 0.9))
    scored = "candidates" if material.plan == "pair" else "images"
    note = f"Bands: {INTERVAL} intervals of a share (Wilson)."
    if not cut > 0:
        return drawn, f"Fewer than a tenth of the {scored} score above 0.", note
    below = float((values < -cut).mean())
    finding = (
        f"A tenth of the {scored} score above {words.number(cut, 2)} {material.unit}; "
        f"{words.percent(below, 1)} score below {words.number(-cut, 2)}, where only noise puts "
        "them."
    )
    return drawn, finding, note


def _training_figure(material: Material) -> Captioned | None:
    if len(material.along) < 2:
        return None
    epochs = [int(row["epoch"]) for row in material.along]
    names = [g for g, _ in material.groups() if g != "all"] if material.plan == "pair" else ["all"]
    means: dict[str, list[tuple[float, float]]] = {}
    for name in names:
        points = [row["groups"].get(name, {}) for row in material.along]
        if all(p.get("sd") is not None and p["n"] > 1 for p in points):
            means[material.group_name(name, short=True)] = [
                (p["mean"], half_width(p["sd"], p["n"])) for p in points
            ]
    if not means:
        return None
    losses = [row.get("loss") for row in material.along]
    drawn = figures.training("training", epochs, means, losses, unit=material.unit)
    label, points = next(iter(means.items()))
    (first, half), (last, other) = points[0], points[-1]
    change = "rises" if last - other > first + half else "falls"
    if abs(last - first) <= half + other:
        change = "goes"
    finding = (
        f"Mean score ({label}) {change} from {words.fixed(first, material.decimals + 1)} after "
        f"epoch {epochs[0]} to {words.fixed(last, material.decimals + 1)} {material.unit} after "
        f"epoch {epochs[-1]}"
    )
    if losses[0] is not None and losses[-1] is not None:
        finding += f", the loss from {words.number(losses[0])} to {words.number(losses[-1])}"
    note = f"Bars: {INTERVAL} intervals of the mean over images."
    return drawn, f"{finding}.", note


def agreement_figure(material: Material) -> Captioned | None:
    """Return how alike this run and others rank; None where none was compared."""
    agreement = material.agreement
    if agreement is None:
        return None
    names = [words.shown(name, limit=24) for name in agreement.names]
    values = agreement.matrix("kendall")
    drawn = figures.agreement("agreement", names, values, measure="Kendall’s tau-b")
    taus = [pair.kendall for pair in agreement.pairs]
    low, high = (words.fixed(f([tau.value for tau in taus]), 2) for f in (min, max))
    between = low if low == high else f"{low} to {high}"
    apart = sum(tau.low > 0 for tau in taus)
    finding = (
        f"Kendall’s tau-b between the rankings is {between}; {apart} of "
        f"{words.size(len(taus), 'interval')} lie above 0, which unrelated rankings would give."
    )
    return drawn, finding, "The table below has the intervals."
