"""Comparisons: what retraining on selections showed, against random ones of the same size."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from curate.reports import figures, words
from curate.reports.drawing import Captioned
from curate.reports.tables import Table
from curate.runtime.intervals import half_width

BUDGETS = {"epochs": "equal epochs, so that fewer images are fewer steps", "steps": "equal steps"}


def differences(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a comparison's differences in percentage points, each labelled in plain words."""
    return [
        {
            "what": words.shown(row["label"]),
            "source": words.place(row["source"]),
            "kind": words.probe(row["kind"]),
            "label": f"{words.shown(row['label'])} · {words.probe(row['kind'])} "
            f"on {words.place(row['source'])}",
            **{
                key: None if row[key] is None else 100 * row[key] for key in ("mean", "low", "high")
            },
            "seeds": [100 * gap for gap in row["by_seed"].values()],
            "p": row["p"],
            "n": row["n"],
            "images": row["images"],
            "n_test": row["n_test"],
        }
        for row in comparison["differences"]
    ]


def shown(name: str, comparison: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of one comparison: a note, figures and two tables."""
    rows, settings = differences(comparison), comparison.get("settings", {})
    budget = BUDGETS.get(str(settings.get("budget")), "an equal budget")
    finding = words.shown(f"For {comparison['holds_for']}: {comparison['verdict']}", limit=400)
    prefix = f"compare-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    drawn = _curves(prefix, comparison)
    if rows:
        note = (
            f"Dots: mean over seeds; bars: its {words.INTERVAL} interval, which counts seeds and "
            "the choice of test images; ticks: each pair of seeds."
        )
        drawn.insert(0, (figures.differences(prefix, rows), finding, note))
    return {
        "title": words.shown(name),
        "note": (
            "Encoders were trained afresh on each selection and on random ones of the same size "
            f"({budget}; the same seeds in pairs), then probed once on test images. Above 0: "
            "better than random."
        ),
        "name": prefix,
        "figures": drawn,
        "differences": _differences_table(rows),
        "arms": _arms_table(comparison),
    }


def _differences_table(rows: list[dict[str, Any]]) -> Table:
    cells = [
        [
            row["what"],
            row["source"],
            row["kind"],
            words.points(row["mean"]),
            words.Number(f"{words.signed(row['images'])} of {row['n_test']:,}", row["images"]),
            "none (one seed)"
            if row["low"] is None
            else f"{words.signed(row['low'])} to {words.points(row['high'])}",
            words.count(row["n"]),
        ]
        for row in rows
    ]
    head = ["selection", "tested on", "probe", "mean difference", "in test images"]
    head += [f"{words.INTERVAL} interval", "paired seeds"]
    return "Test accuracy minus that of random selection", head, cells, {3, 4, 5, 6}


def _sd(share: float | None) -> words.Number:
    if share is None:
        return words.Number("–", None)
    text = f"{100 * share:.2f}{words.NBSP}points"
    return words.Number(text, 100 * share, "percentage points")


def _curves(prefix: str, comparison: Mapping[str, Any]) -> list[Captioned]:
    """Return a figure a source and probe where more than one size was removed."""
    cells: dict[tuple[str, str], dict[str, list[tuple[int, float, float | None]]]] = {}
    for arm in sorted(comparison["arms"], key=lambda arm: arm["remove"]):
        half = None
        if arm["sd"] is not None and arm["n"] > 1:
            half = 100 * half_width(arm["sd"], arm["n"])
        lines = cells.setdefault((arm["source"], arm["kind"]), {})
        strategy = words.shown(arm["strategy"], limit=30)
        lines.setdefault(strategy, []).append((arm["remove"], 100 * arm["mean"], half))
    curves = []
    for k, ((source, kind), lines) in enumerate(cells.items()):
        if len({point[0] for points in lines.values() for point in points}) < 2:
            continue
        rows = [d for d in comparison["differences"] if (d["source"], d["kind"]) == (source, kind)]
        worse = sum(d["high"] is not None and d["high"] < 0 for d in rows)
        better = sum(d["low"] is not None and d["low"] > 0 for d in rows)
        probe = words.probe(kind)
        finding = (
            f"{probe[:1].upper()}{probe[1:]} on {words.place(source)}: of the intervals of "
            f"{words.size(len(rows), 'difference')} from random, {better} lie above 0 and {worse} "
            "below."
        )
        note = (
            f"Bars: {words.INTERVAL} t-intervals of the mean over seeds; differences are judged in "
            "pairs of seeds, which these bars do not show."
        )
        curves.append((figures.curves(f"{prefix}-curve{k}", lines), finding, note))
    return curves


def _arms_table(comparison: Mapping[str, Any]) -> Table | None:
    cells = [
        [
            words.shown(arm["label"]),
            words.place(arm["source"]),
            words.probe(arm["kind"]),
            words.percent(arm["mean"], 2),
            _sd(arm["sd"]),
            words.count(arm["n"]),
        ]
        for arm in comparison["arms"]
    ]
    head = ["trained on", "tested on", "probe", "mean test accuracy", "sd over seeds", "seeds"]
    return ("Test accuracy of every arm", head, cells, {3, 4, 5}) if cells else None
