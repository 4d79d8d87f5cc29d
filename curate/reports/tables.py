"""Tables: captions, heads and cells of everything in a run that is best read as rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from curate.evaluation.agreement import Agreement
from curate.reports import words
from curate.reports.material import Material, Selection
from curate.runs.late import is_adopted
from curate.runtime.intervals import t_quantile
from curate.selection import selection

Table = tuple[str, list[str], list[list[str]], set[int]]
"""Caption, column heads, rows, and which columns are numbers."""


def tests(material: Material) -> Table:
    """Return the group tests, each in words."""
    rows = [
        [
            test["name"],
            words.TESTS.get(test["name"], ""),
            words.held(test["name"], test["p"]),
            words.number(test["statistic"]),
            words.p_value(test["p"]),
            words.number(test["cohens_d"], 2),
            " / ".join(f"{n:,}" for n in test["n"]),
        ]
        for test in material.summary["tests"]
    ]
    kinds = [
        "test",
        "in words",
        "result",
        "t statistic",
        "p-value",
        "Cohen’s d (sd units)",
        "images",
    ]
    # E>0 is the paper's finding for raw scores, not a consequence of memorization.
    predicted = [row for row in rows if row[0] != "E>0"]
    held = sum(row[2].startswith(("holds", "not rejected")) for row in predicted)
    return (
        f"Group tests: {held} of {len(predicted)} come out as memorization predicts",
        kinds,
        rows,
        {3, 4, 5, 6},
    )


def groups(material: Material) -> Table:
    """Return the moments of the score by group."""
    rows = [
        [
            material.group_name(name),
            words.count(group["n"]),
            words.fixed(group["mean"], material.decimals + 1),
            words.fixed(group["sd"], material.decimals + 1),
        ]
        for name, group in material.groups()
    ]
    unit = material.unit
    head = ["group", "images", f"mean score ({unit})", f"standard deviation ({unit})"]
    return "Scores by group", head, rows, {1, 2, 3}


def selections(material: Material) -> Table | None:
    """Return the manifests of the run, or None where there is none."""
    if not material.selections:
        return None
    rows = []
    for chosen in material.selections:
        share = chosen.kept / max(1, chosen.kept + chosen.dropped)
        rows.append(
            [
                words.shown(chosen.name),
                _selected(chosen),
                words.count(chosen.kept, f"{chosen.kept:,} ({words.percent(share, 1)})"),
                words.count(chosen.dropped),
                _stays(chosen),
                words.shown((chosen.facts.get("verdict") or {}).get("grade", "–")),
            ]
        )
    head = ["manifest", "what it keeps", "kept (images)", "dropped (images)"]
    head += ["expected to stay", "the scores show"]
    return "Manifests of this run", head, rows, {2, 3, 4}


def _selected(chosen: Selection) -> str:
    """Return what a manifest keeps, in plain words."""
    text = selection.described(chosen.facts)
    unscored = chosen.kept - chosen.facts["counts"]["kept_scored"]
    return words.shown(f"{text}, and {unscored:,} not scored" if unscored else text)


def _stays(chosen: Selection) -> str:
    """Return the expected share that stays on its side of the cut, beside what luck would give."""
    if chosen.expected_share is None:
        return "–"
    counts = chosen.facts["counts"]
    side = "dropped_scored" if chosen.facts["strategy"] == "drop-top" else "kept_scored"
    luck = words.percent(counts[side] / counts["scored"])
    share = words.percent(chosen.expected_share)
    return words.Number(f"{share} (luck: {luck})", share.value, share.unit)


def probes(material: Material) -> Table | None:
    """Return probes of single encoders, or None where there is none."""
    rows = [
        [
            words.shown(probe["encoder"]),
            words.place(r["source"]),
            words.probe(r["kind"]),
            words.measured(r["value"] if "value" in r else r["accuracy"], r["kind"]),
            words.count(r["n_test"]),
        ]
        for _, probe in material.probes
        for r in probe["results"]
    ]
    dense = any("value" in r for _, probe in material.probes for r in probe["results"])
    head = ["encoder", "tested on", "probe", "measured" if dense else "test accuracy"]
    head += ["test images"]
    return ("Probes of single encoders", head, rows, {3, 4}) if rows else None


def _plan(plan: Mapping[str, Any]) -> list[list[str]]:
    """Return the plan in a row, or the encoders that were adopted."""
    if plan["kind"] != "adopted":
        return [["plan", ", ".join(f"{k} {v}" for k, v in plan.items())]]
    rows = [
        [
            f"encoder {words.shown(one['name'])}",
            words.shown(
                f"{one['backbone']}, {one['preprocessing']['size']} pixels, trained elsewhere, "
                f"weights {one['weights'][:16]}"
            ),
        ]
        for one in plan["encoders"]
    ]
    applies = "of the recipe do not apply to these encoders, but to what comparisons train"
    return [*rows, ["training settings", applies]]


def data(material: Material) -> Table:
    """Return what went in: source, counts, plan, command, fingerprints."""
    run, data, plan = material.run, material.recipe["data"], material.recipe["plan"]
    rows = [["source", words.shown(f"{data['source']}, split {data.get('split', 'train')}")]]
    rows += [
        [
            f"images, {words.shown(role)}",
            f"{split['written']:,} used, {split['rejected']:,} rejected",
        ]
        for role, split in material.dataset["splits"].items()
    ]
    rows += [
        [
            "canvas",
            f"{data['size']} × {data['size']} pixels, {words.size(data['channels'], 'channel')}",
        ],
        *_plan(plan),
        ["scored / not scored", _scored(material)],
        ["device", _device(material)],
        ["command", words.shown(run.get("command", "not recorded"), limit=600)],
        ["recipe fingerprint", words.shown(run.get("recipe_fingerprint", "–"))],
        ["dataset fingerprint", words.shown(run.get("dataset_fingerprint", "–"))],
    ]
    return "Data and plan", ["what", "value"], rows, set()


def _device(material: Material) -> str:
    device, cores = material.run.get("device", "not recorded"), material.run.get("cores")
    return words.shown(device) + (f", {words.size(cores, 'CPU core')}" if cores else "")


def _scored(material: Material) -> str:
    return f"{material.summary['n_scored']:,} / {material.summary['n_unscored']:,} images"


def times(material: Material) -> Table:
    """Return seconds per stage, their share and how many images they were for, longest first."""
    stages = material.ledger.stages
    total = sum(row.seconds for row in stages)
    rows = [
        [
            words.shown(row.stage),
            words.seconds(row.seconds),
            words.percent(row.seconds / total if total else 0),
            words.count(row.samples) if row.samples else "–",
        ]
        for row in stages
    ]
    caption = f"Time: {words.seconds(total)} in all"
    return caption, ["stage", "time", "share", "images, each time they pass"], rows, {1, 2, 3}


def savings(material: Material) -> Table | None:
    """Return when each selection has paid for its scores, or None where there is no selection."""
    spent, epochs = material.ledger.scoring_seconds, material.ledger.epochs
    rows = [
        [
            words.shown(row.name),
            words.seconds(row.saved_seconds),
            "never" if row.pays_back_after is None else words.count(row.pays_back_after),
        ]
        for row in material.ledger.selections
    ]
    # Begins as the other table of times does, which drills know by that.
    caption = f"Time: the scores took {words.seconds(spent)}; what training on a selection saves"
    head = ["manifest", f"saved by a training of {words.size(epochs, 'epoch')}"]
    return (caption, [*head, "trainings that pay for the scores"], rows, {1, 2}) if rows else None


def encoders(material: Material) -> Table:
    """Return the encoders: members, last loss, time, offset."""
    offsets = material.summary.get("offsets", {})
    rows = []
    for name in material.summary.get("encoders", []):
        record = material.records.get(name, {})
        taken = record.get("seconds")
        training = words.seconds(taken) if taken is not None else "–"
        rows.append(
            [
                words.shown(name),
                words.count(material.members[name]) if name in material.members else "–",
                words.number(record.get("loss")),
                "elsewhere" if is_adopted(material.recipe) else training,
                words.number(offsets.get(name)),
            ]
        )
    head = [
        "encoder",
        "trained on (images)",
        "last loss",
        "training",
        f"offset ({material.unit})",
    ]
    return "Encoders", head, rows, {1, 2, 3, 4}


def versions(material: Material) -> Table:
    """Return the versions of what shaped the artefacts."""
    rows = [[words.shown(k), words.shown(v)] for k, v in material.run.get("versions", {}).items()]
    return "Versions", ["package", "version"], rows, set()


SAMPLES = 300
"""Rows of the table of samples at most: what a browser sorts at once."""
PATH = 200
"""Characters of a file's path that the table shows at most."""


def samples(material: Material) -> Table:
    """Return the samples themselves, or the ends of the ranking and what lies evenly between."""
    ranked = material.ranked()
    rows = _spread(ranked)
    taken = material.scores.select(["uid", "label", "path"]).take(pa.array(rows))
    triage = material.triage_of(taken["uid"])
    numbers, decimals = material.numbers, material.decimals
    cells = [
        [
            words.count(int(numbers["rank"][row])),
            words.fixed(numbers["memorization"][row], decimals),
            words.fixed(numbers["se"][row], decimals),
            words.fixed(numbers["align_in"][row], decimals),
            words.fixed(numbers["align_out"][row], decimals),
            material.label_name(sample["label"]),
            *([] if triage is None else [words.shown(triage[k])]),
            words.shown(sample["path"] or "–", limit=PATH),
            words.shown(sample["uid"]),
        ]
        for k, (row, sample) in enumerate(zip(rows.tolist(), taken.to_pylist(), strict=True))
    ]
    unit = material.unit
    head = ["rank", f"score ({unit})", f"standard error ({unit})"]
    head += [f"alignment, trained on it ({unit})", f"alignment, not trained on it ({unit})"]
    head += ["class", *([] if triage is None else ["triage"]), "file", "uid"]
    caption = f"All {len(ranked):,} scored images"
    if len(rows) < len(ranked):
        ends = SAMPLES // 3
        caption = (
            f"{len(rows):,} of {len(ranked):,} scored images: the {ends} most and the {ends} least "
            f"memorized, and {len(rows) - 2 * ends} at even distances of rank between them; "
            "scores.parquet has all"
        )
    return caption, head, cells, {0, 1, 2, 3, 4}


def _spread(ranked: np.ndarray) -> np.ndarray:
    """Return at most ``SAMPLES`` rows: both ends, and some at even distances between."""
    if len(ranked) <= SAMPLES:
        return ranked
    ends = SAMPLES // 3
    between = np.linspace(ends, len(ranked) - ends - 1, SAMPLES - 2 * ends).round().astype(int)
    return np.concatenate([ranked[:ends], ranked[between], ranked[-ends:]])


LABELS = 200
"""Rows of the table of labels at most."""


def labels(material: Material) -> Table | None:
    """Return the mean score of each label with its interval; None where fewer than two have any."""
    known = material.scores["label"].is_valid()
    labelled = np.asarray(known.to_numpy(zero_copy_only=False)) & ~np.isnan(
        material.numbers["memorization"]
    )
    values = material.scores["label"].fill_null(0).to_numpy()[labelled]
    m, rank = material.numbers["memorization"][labelled], material.numbers["rank"][labelled]
    names, place = np.unique(values, return_inverse=True)
    if len(names) < 2:
        return None
    n = np.bincount(place)
    mean = np.bincount(place, m) / n
    spread = np.bincount(place, (m - mean[place]) ** 2)
    top = np.bincount(place, rank <= max(1, len(material.ranked()) // 10)) / n
    shown = np.argsort(-n, kind="stable")[:LABELS]
    shown = shown[np.argsort(-mean[shown], kind="stable")]
    rows = []
    for k in shown:
        half = np.nan
        if n[k] > 1:
            half = t_quantile(n[k] - 1) * np.sqrt(spread[k] / (n[k] - 1) / n[k])
        rows.append(
            [
                material.label_name(int(names[k])),
                words.count(int(n[k])),
                words.fixed(float(mean[k]), material.decimals + 1),
                words.fixed(float(half), material.decimals + 1),
                words.percent(float(top[k]), 1),
            ]
        )
    unit = material.unit
    head = ["label", "scored images", f"mean memorization ({unit})"]
    head += [f"± {words.INTERVAL} interval ({unit})", "of them in the top tenth"]
    apart = "" if len(names) <= LABELS else f" (the {LABELS} most frequent of {len(names):,})"
    return f"Memorization by label{apart}, highest mean first", head, rows, {1, 2, 3, 4}


def triage(material: Material) -> Table | None:
    """Return how many samples each class of triage has, and its rule; None without a triage."""
    summary = (material.inspect_facts or {}).get("triage")
    if not summary:
        return None
    total = sum(summary["counts"].values())
    rows = [
        [
            words.shown(name),
            words.count(n),
            words.percent(n / total if total else 0.0, 1),
            words.shown(summary["rules"].get(name, ""), limit=400),
        ]
        for name, n in summary["counts"].items()
    ]
    return "Triage: what kind of image each is", ["class", "images", "share", "rule"], rows, {1, 2}


def relations(material: Material) -> Table | None:
    """Return how memorization goes with what can be seen of images; None where it is unknown."""
    by_name = (material.inspect_facts or {}).get("relations")
    if not by_name:
        return None
    rows = [
        [
            words.shown(fact.get("text", name)),
            words.fixed(fact["spearman"], 2),
            f"{words.fixed(fact['low'], 2)} to {words.fixed(fact['high'], 2)}",
            words.count(fact["n"]),
        ]
        for name, fact in sorted(by_name.items(), key=lambda item: -abs(item[1]["spearman"]))
    ]
    head = ["property", "Spearman correlation (−1 to 1)", f"{words.INTERVAL} interval", "images"]
    return "What goes together with memorization", head, rows, {1, 2, 3}


def agreement(compared: Agreement) -> Table:
    """Return how alike runs rank the images they share."""
    rows = []
    for pair in compared.pairs:
        cells = [words.shown(f"{pair.a} and {pair.b}"), words.count(pair.n)]
        for r in (pair.kendall, pair.spearman, pair.pearson):
            text = f"{words.fixed(r.value, 2)} ({words.fixed(r.low, 2)} to "
            cells.append(words.Number(f"{text}{words.fixed(r.high, 2)})", r.value))
        top = pair.tops[-1]
        text = f"{words.percent(top.overlap)} of {top.n:,} (chance: {words.percent(top.chance)})"
        cells.append(words.Number(text, 100 * top.overlap, "%"))
        shared = "unknown"
        if pair.shared_groups is not None:
            shared = f"{pair.shared_groups:,} of {pair.groups:,}"
        cells.append(words.Number(shared, pair.shared_groups))
        rows.append(cells)
    level = words.INTERVAL
    head = ["runs", "images of both", f"Kendall’s tau-b ({level} interval)"]
    head += [f"Spearman ({level} interval)", f"Pearson ({level} interval)", "shared top"]
    head.append("training sets in both (they agree by these as well)")
    return "Agreement of rankings", head, rows, {1, 2, 3, 4, 5, 6}
