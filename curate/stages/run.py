"""The whole line, from images to a report: each stage does what is missing, and no more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate import reports
from curate.data.sample import packed_uids
from curate.evaluation.comparison import Comparison
from curate.runs import fitting
from curate.runs.dataset import own_uids
from curate.runs.opening import open_run
from curate.runs.recipe import Recipe
from curate.runs.run import Run
from curate.runtime.engines import LOCAL
from curate.runtime.engines.base import Engine
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.scores import verdict
from curate.scores.plan import Plan
from curate.scores.summary import ScoreSummary
from curate.selection import selection
from curate.stages import align, compare, forecast, inspect, probe, score, select, shard, train
from curate.stages.context import Context
from curate.stages.learned import Learned, learned_run


@dataclass(frozen=True)
class Completed(Result):
    """What the whole line made.

    Attributes:
        run: The folder of the run.
        summary: What ``scores.json`` holds.
        scores: ``scores.parquet``.
        manifest: Of the recipe's selection.
        kept: Samples that it keeps.
        dropped: Samples that it drops.
        separation: Whether scores tell members from non-members.
        comparison: None where the recipe asks for none.
        learned: Whether the encoders beat random weights; None unless the recipe was fitted to
            the images and these have labels.
        report: The report.
    """

    run: Path
    summary: ScoreSummary
    scores: Path
    manifest: Path
    kept: int
    dropped: int
    separation: str
    comparison: Comparison | None
    learned: Learned | None
    report: Path


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
    own = np.isin(plan.uids, packed_uids(own_uids(run)))
    inclusion = plan.inclusion[own]
    scored = int((inclusion.any(axis=1) & ~inclusion.all(axis=1)).sum())
    config = run.recipe.select
    selection.kept_count(config, scored)
    selection.check_unscored(len(inclusion) - scored, len(inclusion), config.unscored)
    inspect.encoder_to_inspect(run, plan)
    if compares(run):
        compare.check_removals(run.recipe.compare.remove, scored)
        compare.check_repeats(run, run.recipe.compare)
        probe.probe_sets(run, context)


def run(
    recipe: Recipe | str,
    *,
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    engine: str | Engine | None = LOCAL,
    fresh: bool = False,
    require: str | None = None,
    progress: Progress = silent,
) -> Run:
    """Do the whole line for a recipe and return the run.

    Args:
        recipe: A Recipe (``load_recipe``) or its name.
        runs: Folder that holds the runs.
        data: Where the recipe's source lies on this machine.
        device: ``auto``, ``cpu``, ``cuda``, or cards: ``cuda:0-7``.
        workers: Trainings side by side; None chooses. Scripts that ask for more than one guard
            their entry with ``if __name__ == "__main__"``, as ``multiprocessing`` needs it.
        engine: What does units of work: ``local`` (this machine's processes), ``ray``,
            ``ray://HOST:PORT``, ``slurm``, or one with settings (``curate.runtime.engines``).
        fresh: Set an existing run aside and start over.
        require: ``reliability=X``: go on by a ranking that is as reliable, or end with the scores.
        progress: Progress callback (what, done, total).

    Raises:
        CurateError: What a user can cause; ``exit_code`` tells the kinds apart.
    """
    opened = open_run(recipe, runs=runs, fresh=fresh, data=data)
    run_all(
        opened,
        data=data,
        device=device,
        workers=workers,
        engine=engine,
        require=require,
        progress=progress,
    )
    return opened


def run_all(
    run: Run,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    engine: str | Engine | None = LOCAL,
    require: str | None = None,
    progress: Progress = silent,
) -> Completed:
    """Do every stage of a run that is not done; see ``run``.

    Raises:
        CurateError: The first error of a stage; what was finished before it stays.
    """
    context = Context.of(run, data, device, workers, progress, engine)
    if require is not None:
        verdict.required(require)
    with run.lock():
        shard.shard_run(run, context)
        refuse_early(run, context, train.plan(run, context))
        if fitting.is_fitted(run):
            forecast.say(run, context)
        plan = train.train_run(run, context)
        align.align(run, context)
        summary = score.score_run(run, context)
        verdict.require(require, summary, run.name, run.recipe.select.by)
        inspect.inspect_run(run, context)
        selected = select.select_run(run, context, run.recipe.select)
        # A recipe that nobody tried on these images may train what knows nothing of them.
        learned = learned_run(run, context, plan) if fitting.is_fitted(run) else None
        compared = None
        if compares(run):
            compared = compare.compare_run(run, context, run.recipe.compare)
        page = reports.build(run.path)
    return Completed(
        run=run.path,
        summary=summary,
        scores=run.path / "scores.parquet",
        manifest=selected.path,
        kept=selected.kept,
        dropped=selected.dropped,
        separation=summary.separation,
        comparison=compared,
        learned=learned,
        report=page,
    )
