"""Steps: what to do next with a run, most urgent first, each with a command that can be typed."""

from __future__ import annotations

import shlex
from pathlib import Path

from curate.reports import words
from curate.reports.material import Material
from curate.scores.summary import GOOD

Step = tuple[str, str | None]
"""Advice, and the command that follows it, if one does."""


def steps(material: Material) -> list[Step]:
    """Return what to do next with a run."""
    path = material.path
    # Where a name alone would not find the run, its path does.
    run = shlex.quote(words.shown(path.name if path.parent == Path("runs") else path))
    listed: list[Step] = []
    clear = material.summary["separation"] == "clear"
    if not clear:
        epochs = 4 * int(material.recipe.get("train", {}).get("epochs", 100))
        listed.append(
            (
                "Get a signal first: train longer or on fewer images, measure with the views the "
                "encoder was trained with, or use more encoders. Do not select by these scores.",
                f"curate run {run} --set train.epochs={epochs} --fresh",
            )
        )
    reliability = material.summary["reliability"].get("encoders")
    if reliability is None or reliability < GOOD:
        listed.append(
            (
                "Make the ranking more reliable: training noise is averaged out by more encoders, "
                "not by more views.",
                f"curate score {run} --until reliability={GOOD:g}",
            )
        )
    scored = material.summary["n_scored"]
    if clear and not material.comparisons and scored > 1:
        listed.append(
            (
                "Find out whether selecting matters: retrain on memorized and on random "
                "selections of equal size, with at least three seeds.",
                f"curate compare {run} --remove {max(1, scored // 10)} --strategies top,random "
                "--seeds 3",
            )
        )
    if clear and material.selections:
        first = path / "manifests" / f"{material.selections[0].name}.parquet"
        listed.append(
            (
                "Use a selection: the names of the files it keeps, or with --to folder the images "
                "themselves, for your own training.",
                f"curate export {shlex.quote(words.shown(first))} --to paths --out kept.txt",
            )
        )
    elif clear:
        unscored = " --unscored keep" if material.summary["n_unscored"] else ""
        listed.append(("Select images to keep.", f"curate select {run} --fraction 0.8{unscored}"))
    if material.inspected is None:
        listed.append(("Look for outliers and near-duplicates.", f"curate inspect {run}"))
    else:
        listed.append(
            ("Look at the outliers and near-duplicates above before dropping them.", None)
        )
    return listed
