"""Comparisons: what retraining on selections showed, against random ones of the same size."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from curate.reports import figures, words
from curate.reports.tables import Table

BUDGETS = {"epochs": "equal epochs, so that fewer images are fewer steps", "steps": "equal steps"}


def differences(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
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
        }
        for row in facts["differences"]
    ]


def shown(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the page shows of one comparison: a note, a figure and two tables."""
    rows, settings = differences(facts), facts.get("settings", {})
    budget = BUDGETS.get(str(settings.get("budget")), "an equal budget")
    verdict = words.shown(facts["verdict"], limit=400)
    drawn = None
    if rows:
        prefix = f"compare-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        drawn = (
            figures.differences(prefix, rows),
            verdict[:1].upper() + verdict[1:],
            f"Dots: mean over seeds; bars: its {words.INTERVAL} t-interval; ticks: each pair of "
            "seeds.",
        )
    return {
        "title": words.shown(name),
        "note": (
            "Encoders were trained afresh on each selection and on random ones of the same size "
            f"({budget}; the same seeds in pairs), then probed once on test images. Above 0: "
            "better than random."
        ),
        "figure": drawn,
        "differences": _differences_table(rows),
        "arms": _arms_table(facts),
    }


def _differences_table(rows: list[dict[str, Any]]) -> Table:
    cells = [
        [
            row["what"],
            row["source"],
            row["kind"],
            words.points(row["mean"]),
            "none (one seed)"
            if row["low"] is None
            else f"{words.signed(row['low'])} to {words.points(row['high'])}",
            f"{row['n']:,}",
        ]
        for row in rows
    ]
    head = ["selection", "tested on", "probe", "mean difference"]
    head += [f"{words.INTERVAL} interval", "paired seeds"]
    return "Test accuracy minus that of random selection", head, cells, {3, 4, 5}


def _arms_table(facts: Mapping[str, Any]) -> Table | None:
    cells = [
        [
            words.shown(arm["label"]),
            words.place(arm["source"]),
            words.probe(arm["kind"]),
            words.percent(arm["mean"], 2),
            "–" if arm["sd"] is None else f"{100 * arm['sd']:.2f}{words.NBSP}points",
            f"{arm['n']:,}",
        ]
        for arm in facts["arms"]
    ]
    head = ["trained on", "tested on", "probe", "mean test accuracy", "sd over seeds", "seeds"]
    return ("Test accuracy of every arm", head, cells, {3, 4, 5}) if cells else None
