"""Steps: what to do next with a run, most urgent first, each with a command that can be pasted."""

from __future__ import annotations

import shlex
from pathlib import Path

from curate.reports import words
from curate.reports.material import Material
from curate.runs.late import is_adopted
from curate.runs.next_steps import Stand, Step, next_steps
from curate.scores.summary import Reliability


def steps(material: Material) -> list[Step]:
    """Return what to do next with a run: what follows from its verdict, then a look."""
    path, summary = material.path, material.summary
    # Where a name alone would not find the run, its path does.
    run = shlex.quote(words.shown(path.name if path.parent == Path("runs") else path))
    selected = None
    if material.selections:
        first = path / "manifests" / f"{material.selections[0].name}.parquet"
        selected = shlex.quote(words.shown(first))
    stand = Stand(
        run=run,
        grade=summary["verdict"]["grade"],
        reliability=Reliability.from_json(summary["reliability"]),
        epochs=int(material.recipe.get("train", {}).get("epochs", 100)),
        scored=summary["n_scored"],
        unscored=summary["n_unscored"],
        compared=bool(material.comparisons),
        selected=selected,
        adopted=is_adopted(material.recipe),
    )
    look = Step("Look at the outliers and near-duplicates above before dropping them.", None)
    if material.inspected is None:
        look = Step("Look for outliers and near-duplicates.", f"curate inspect {run}")
    return [*next_steps(stand), look]
