"""Tables: captions, heads and cells of everything in a run that is best read as rows."""

from __future__ import annotations

from curate import selection
from curate.reports import words
from curate.reports.material import Material, Selection

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
            f"{facts['n']:,}",
            words.fixed(facts["mean"], material.decimals + 1),
            words.fixed(facts["sd"], material.decimals + 1),
        ]
        for name, facts in material.groups()
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
                f"{chosen.kept:,} ({words.percent(share, 1)})",
                f"{chosen.dropped:,}",
                _stays(chosen),
                words.shown(chosen.facts.get("separation", "–")),
            ]
        )
    head = ["manifest", "what it keeps", "kept (images)", "dropped (images)"]
    head += ["expected to stay", "separation"]
    return "Manifests of this run", head, rows, {2, 3, 4}


def _selected(chosen: Selection) -> str:
    """Return what a manifest keeps, in plain words."""
    counts = chosen.facts["counts"]
    strategy, kept = str(chosen.facts["strategy"]), counts["kept_scored"]
    text = selection.describe(strategy, kept, counts["scored"])
    unscored = chosen.kept - kept
    return words.shown(f"{text}, and {unscored:,} not scored" if unscored else text)


def _stays(chosen: Selection) -> str:
    """Return the expected share that stays on its side of the cut, beside what luck would give."""
    if chosen.expected_share is None:
        return "–"
    counts = chosen.facts["counts"]
    side = "dropped_scored" if chosen.facts["strategy"] == "drop-top" else "kept_scored"
    luck = words.percent(counts[side] / counts["scored"])
    return f"{words.percent(chosen.expected_share)} (luck: {luck})"


def probes(material: Material) -> Table | None:
    """Return probes of single encoders, or None where there is none."""
    rows = [
        [
            words.shown(facts["encoder"]),
            words.place(r["source"]),
            words.probe(r["kind"]),
            words.percent(r["accuracy"], 2),
            f"{r['n_test']:,}",
        ]
        for _, facts in material.probes
        for r in facts["results"]
    ]
    head = ["encoder", "tested on", "probe", "test accuracy", "test images"]
    return ("Probes of single encoders", head, rows, {3, 4}) if rows else None


def data(material: Material) -> Table:
    """Return what went in: source, counts, plan, command, fingerprints."""
    run, data, plan = material.run, material.recipe["data"], material.recipe["plan"]
    rows = [["source", words.shown(f"{data['source']}, split {data.get('split', 'train')}")]]
    rows += [
        [
            f"images, {words.shown(role)}",
            f"{facts['written']:,} used, {facts['rejected']:,} rejected",
        ]
        for role, facts in material.dataset["splits"].items()
    ]
    rows += [
        [
            "canvas",
            f"{data['size']} × {data['size']} pixels, {words.size(data['channels'], 'channel')}",
        ],
        ["plan", ", ".join(f"{k} {v}" for k, v in plan.items())],
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
    """Return seconds per stage and their share, the longest first."""
    spent = material.run.get("seconds", {})
    total = sum(spent.values())
    rows = [
        [words.shown(stage), words.seconds(s), words.percent(s / total if total else 0)]
        for stage, s in sorted(spent.items(), key=lambda item: -item[1])
    ]
    return f"Time: {words.seconds(total)} in all", ["stage", "time", "share"], rows, {1, 2}


def encoders(material: Material) -> Table:
    """Return the encoders: members, last loss, time, offset."""
    offsets = material.summary.get("offsets", {})
    rows = []
    for name in material.summary.get("encoders", []):
        record = material.records.get(name, {})
        taken = record.get("seconds")
        rows.append(
            [
                words.shown(name),
                f"{material.members[name]:,}" if name in material.members else "–",
                words.number(record.get("loss")),
                words.seconds(taken) if taken is not None else "–",
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
