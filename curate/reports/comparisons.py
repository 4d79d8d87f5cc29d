"""Comparisons: what retraining on selections showed, against random ones of the same size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from curate.evaluation.measures import Measure, measure_of
from curate.reports import figures, words
from curate.reports.drawing import Captioned
from curate.reports.tables import Table
from curate.runtime.intervals import half_width

BUDGETS = {"epochs": "equal epochs, so that fewer images are fewer steps", "steps": "equal steps"}


def differences(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a comparison's differences, each labelled in plain words.

    They are in percentage points of accuracy, or in what another measure is shown in; ``of`` is the
    kind of probe, by which ``measure_of`` tells.
    """
    return [
        {
            "of": row["kind"],
            "what": words.shown(row["label"]),
            "source": words.place(row["source"]),
            "kind": words.probe(row["kind"]),
            "label": f"{words.shown(row['label'])} · {words.probe(row['kind'])} "
            f"on {words.place(row['source'])}",
            **{
                key: None if row[key] is None else measure_of(row["kind"]).scale * row[key]
                for key in ("mean", "low", "high")
            },
            "seeds": [measure_of(row["kind"]).scale * gap for gap in row["by_seed"].values()],
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
        # An axis has one measure and its unit.
        by_measure: dict[Measure, list[dict[str, Any]]] = {}
        for row in rows:
            by_measure.setdefault(measure_of(row["of"]), []).append(row)
        for place, (measure, mine) in enumerate(by_measure.items()):
            name_of = f"{prefix}-{measure.name}" if place else prefix
            drawn.insert(place, (figures.differences(name_of, mine, measure), finding, note))
    above = "Above 0: better than random."
    if any(not measure_of(row["of"]).higher_is_better for row in rows):
        above += " Of an error (RMSE, AbsRel), below 0."
    return {
        "title": words.shown(name),
        "note": (
            "Encoders were trained afresh on each selection and on random ones of the same size "
            f"({budget}; the same seeds in pairs), then probed once on test images. {above}"
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
            words.apart(row["mean"], row["of"]),
            _images(row),
            "none (one seed)" if row["low"] is None else _interval(row),
            words.count(row["n"]),
        ]
        for row in rows
    ]
    head = ["selection", "tested on", "probe", "mean difference", "in test images"]
    head += [f"{words.INTERVAL} interval", "paired seeds"]
    measure = _measures(row["of"] for row in rows)
    return f"{measure} minus that of random selection", head, cells, {3, 4, 5, 6}


def _measures(kinds: Iterable[str]) -> str:
    """Return what some kinds of probes measure, to begin a title."""
    names = list(dict.fromkeys(measure_of(kind).name for kind in kinds)) or ["test accuracy"]
    text = ", ".join(names[:-1]) + (" and " if names[1:] else "") + names[-1]
    return text[:1].upper() + text[1:]


def _images(row: Mapping[str, Any]) -> words.Number:
    if row["images"] is None:
        return words.Number(f"{row['n_test']:,} tested", None)
    return words.Number(f"{words.signed(row['images'])} of {row['n_test']:,}", row["images"])


def _interval(row: Mapping[str, Any]) -> str:
    low, high = (words.apart(row[end], row["of"]) for end in ("low", "high"))
    return f"{low.partition(words.NBSP)[0]} to {high}"


def _sd(value: float | None, kind: str) -> words.Number:
    if value is None:
        return words.Number("–", None)
    return words.apart(measure_of(kind).scale * value, kind, sign=False)


def _curves(prefix: str, comparison: Mapping[str, Any]) -> list[Captioned]:
    """Return a figure a source and probe where more than one size was removed."""
    cells: dict[tuple[str, str], dict[str, list[tuple[int, float, float | None]]]] = {}
    for arm in sorted(comparison["arms"], key=lambda arm: arm["remove"]):
        half = None
        if arm["sd"] is not None and arm["n"] > 1:
            half = measure_of(arm["kind"]).scale * half_width(arm["sd"], arm["n"])
        lines = cells.setdefault((arm["source"], arm["kind"]), {})
        strategy = words.shown(arm["strategy"], limit=30)
        mean = measure_of(arm["kind"]).scale * arm["mean"]
        lines.setdefault(strategy, []).append((arm["remove"], mean, half))
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
        drawn = figures.curves(f"{prefix}-curve{k}", lines, measure_of(kind))
        curves.append((drawn, finding, note))
    return curves


def _arms_table(comparison: Mapping[str, Any]) -> Table | None:
    cells = [
        [
            words.shown(arm["label"]),
            words.place(arm["source"]),
            words.probe(arm["kind"]),
            words.measured(arm["mean"], arm["kind"]),
            _sd(arm["sd"], arm["kind"]),
            words.count(arm["n"]),
        ]
        for arm in comparison["arms"]
    ]
    measure = _measures(arm["kind"] for arm in comparison["arms"])
    head = ["trained on", "tested on", "probe", f"mean {measure.replace('Test', 'test')}"]
    head += ["sd over seeds", "seeds"]
    return (f"{measure} of every arm", head, cells, {3, 4, 5}) if cells else None
