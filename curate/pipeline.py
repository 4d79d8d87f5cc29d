"""The whole line, from images to a report: each stage does what is missing, and no more."""

from __future__ import annotations

from typing import Any

import numpy as np

from curate import downstream, reports, scoring, selection, stages
from curate.records.plan import Plan
from curate.rundir import Run
from curate.stages import Context


def run_all(run: Run, context: Context) -> dict[str, Any]:
    """Do every stage of a run that is not done.

    Returns:
        ``summary`` (what ``scores.json`` says), ``manifest``, ``kept`` and ``dropped``,
        ``comparison`` (None where the recipe asks for none), and the paths of ``scores`` and
        ``report``.

    Raises:
        CurateError: The first error of a stage; what was finished before it stays.
    """
    stages.shard(run, context)
    plan = stages.plan(run, context)
    refuse_early(run, context, plan)
    stages.train(run, context)
    scoring.align(run, context)
    summary = scoring.score(run, context)
    stages.inspect(run, context)
    selected = selection.select(run, **selection.wanted(run.recipe.select))
    compared = None
    if compares(run):
        compared = downstream.compare(run, context, **run.recipe.compare.model_dump())
    page = reports.build(run.path)
    return {
        "run": str(run.path),
        "summary": summary,
        "scores": str(run.path / "scores.parquet"),
        "manifest": selected["path"],
        "kept": selected["kept"],
        "dropped": selected["dropped"],
        "separation": summary["separation"],
        "comparison": compared,
        "report": str(page),
    }


def compares(run: Run) -> bool:
    """Return whether the recipe asks for a comparison."""
    return bool(run.recipe.compare.remove)


def refuse_early(run: Run, context: Context, plan: Plan) -> None:
    """Raise now what the end of the line would raise after hours of training.

    Raises:
        UsageError: If the recipe selects or compares more samples than will be scored, leaves open
            what becomes of unscored ones, or inspects an encoder that is not in the plan.
        DataError: If it compares, and there are no labels to probe on.
    """
    own = np.isin(plan.uids, stages.own_uids(run).astype(np.bytes_))
    inclusion = plan.inclusion[own]
    scored = int((inclusion.any(axis=1) & ~inclusion.all(axis=1)).sum())
    config = run.recipe.select
    selection.kept_count(config.count, config.fraction, scored=scored, strategy=config.strategy)
    selection.check_unscored(len(inclusion) - scored, len(inclusion), config.unscored)
    stages.encoder_to_inspect(run, plan)
    if compares(run):
        downstream.check_removals(run.recipe.compare.remove, scored)
        downstream.probe_sets(run, context)
