"""The functions behind the command line: ``import curate`` offers each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate import recipe as recipes
from curate import recipe_files
from curate.choosing import (
    agree,
    compare,
    context,
    export,
    localize,
    measure,
    probe,
    retrain,
    select,
    select_table,
)
from curate.machine import doctor
from curate.opening import open_run, recipe_of
from curate.recipe import Recipe
from curate.rundir import Run
from curate.runtime.files import read_json
from curate.runtime.progress import Report, silent

if TYPE_CHECKING:
    pass

__all__ = [
    "agree",
    "bench",
    "compare",
    "doctor",
    "export",
    "forecast",
    "inspect",
    "ledger",
    "load_encoder",
    "load_recipe",
    "localize",
    "measure",
    "open_run",
    "probe",
    "recipe_list",
    "refine",
    "report",
    "retrain",
    "run",
    "run_all",
    "score",
    "select",
    "select_table",
    "shard",
    "significant",
    "train",
    "verify",
    "view",
]


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Return a recipe by name or path, with ``{"section.key": value}`` replaced.

    Raises:
        UsageError: For an unknown recipe, key or value; the nearest name is offered.
    """
    return recipes.load(name, overrides)


def recipe_list() -> dict[str, str]:
    """Return the description of every recipe that can be named, by name."""
    texts = {
        n: recipe_files.read(path).get("description") for n, path in recipe_files.packaged().items()
    }
    return {name: " ".join(str(texts[name] or "").split()) for name in sorted(texts)}


# Stages of a run


def run(
    recipe: Recipe | str,
    *,
    runs: str | Path = "runs",
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    fresh: bool = False,
    report: Report = silent,
) -> Run:
    """Do the whole line for a recipe and return the run.

    Args:
        recipe: A Recipe (``load_recipe``) or its name.
        runs: Folder that holds the runs.
        data: Where the recipe's source lies on this machine.
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: Trainings side by side; None chooses. Scripts that ask for more than one guard
            their entry with ``if __name__ == "__main__"``, as ``multiprocessing`` needs it.
        fresh: Set an existing run aside and start over.
        report: Progress callback (what, done, total).

    Raises:
        CurateError: What a user can cause; ``exit_code`` tells the kinds apart.
    """
    made = open_run(recipe, runs=runs, fresh=fresh, data=data)
    run_all(made, data=data, device=device, workers=workers, report=report)
    return made


def run_all(
    run: Run,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    report: Report = silent,
) -> dict[str, Any]:
    """Do every stage of a run that is not done.

    Returns:
        ``summary`` (what ``scores.json`` says), ``comparison`` (or None), and the paths ``run``,
        ``scores``, ``manifest`` and ``report``.
    """
    from curate import pipeline

    with run.lock():
        return pipeline.run_all(run, context(run, data, device, workers, report))


def shard(
    source: str,
    out: str | Path,
    *,
    split: str = "train",
    data: str | Path | None = None,
    limit: int | None = None,
    max_bad: float = 0.01,
    report: Report = silent,
) -> dict[str, Any]:
    """Write a source's images to WebDataset tars with an index in a new folder.

    Raises:
        UsageError: For an unknown source, or a folder that is not empty.
        DataError: If nothing could be read, or more than ``max_bad`` was rejected.
    """
    from curate import shards, sources

    opened = sources.open_source(source, split=split, data=Path(data) if data else None)
    parts = [(opened, "train")]
    facts = shards.write(parts, Path(out), limit=limit, max_bad=max_bad, report=report)
    return {**facts, "path": str(out)}


def train(
    run: Run,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    report: Report = silent,
) -> dict[str, Any]:
    """Train the encoders of a run's plan that are not trained.

    Returns:
        ``folder``, ``encoders`` (names) and ``trained`` (how many of them just now).
    """
    from curate import stages

    with run.lock():
        before = len(list((run.path / "records" / "train").glob("*.json")))
        made = stages.train(run, context(run, data, device, workers, report))
    return {
        "folder": str(run.path / "encoders"),
        "encoders": list(made.encoders),
        "trained": len(made.encoders) - before,
    }


def forecast(
    name: str | Recipe,
    *,
    runs: str | Path = "runs",
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
) -> dict[str, Any]:
    """Return what training and scoring will take, as ``forecasting.forecast`` tells it."""
    from curate.forecasting import forecast

    recipe, there = recipe_of(name, runs=runs, overrides=overrides)
    return forecast(recipe, context(there, data, device, workers, silent), there)


def bench(
    name: str | Recipe = "digits",
    *,
    runs: str | Path = "runs",
    overrides: Mapping[str, Any] | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    report: Report = silent,
) -> dict[str, Any]:
    """Return how fast each stage of a recipe is on this machine, as ``benchmark.bench`` does."""
    from curate.benchmark import bench

    recipe, there = recipe_of(name, runs=runs, overrides=overrides)
    return bench(recipe, context(there, data, device, 1, report))


def score(
    run: Run,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    report: Report = silent,
) -> dict[str, Any]:
    """Score every candidate of a run; what is missing before that is done first.

    Returns:
        What ``scores.json`` says, the ``path`` of the scores, and whether they were there
        ``already``.
    """
    with run.lock():
        units = ("score", "snapshots") if run.recipe.train.snapshots else ("score",)
        already = all(run.done(unit) for unit in units)
        if not already:
            from curate import scoring

            scoring.score(run, context(run, data, device, workers, report))
    facts = read_json(run.path / "scores.json")
    return {**facts, "path": str(run.path / "scores.parquet"), "already": already}


def refine(
    run: Run,
    until: str,
    *,
    budget: str | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    report: Report = silent,
) -> dict[str, Any]:
    """Score a run, and add encoders or views to it until its ranking is as sure as asked.

    Args:
        run: Any run; it is extended in place.
        until: ``reliability=X`` (of views and encoders), or ``overlap=X``: the share of the
            recipe's selection that is expected to be among the truly most memorized.
        budget: Time such as ``90s``, ``30m`` or ``2h`` that no round is expected to exceed.
        data: Where the recipe's source lies on this machine.
        device: As in ``run``, and so are ``workers`` and ``report``.
        workers: Trainings side by side.
        report: Progress callback.

    Returns:
        What ``refining.refine`` does: ``value``, ``reached``, ``why``, and ``rounds``.

    Raises:
        UsageError: If ``until`` or ``budget`` cannot be read.
    """
    from curate import refining

    return refining.refine(
        run,
        context(run, data, device, workers, report),
        refining.Goal.parse(until),
        None if budget is None else refining.seconds(budget),
    )


def significant(run: Run, fdr: float = 0.05) -> dict[str, Any]:
    """Return the samples of a scored run whose memorization is above 0 beyond chance.

    Args:
        run: A scored run whose plan shows how much encoders err.
        fdr: Expected share of false ones among those returned (Benjamini & Hochberg 1995).

    Returns:
        ``fdr``, ``n_tested``, ``n``, and ``samples``, a table with uid, memorization, se, p and q,
        the surest first.

    Raises:
        UsageError: If ``fdr`` is not between 0 and 1.
        DataError: If the run is not scored, or its plan has one encoder a side.
    """
    from curate import significance

    return significance.significant(run, fdr)


def inspect(
    run: Run, *, sample: str | None = None, device: str = "auto", report: Report = silent
) -> dict[str, Any]:
    """Find neighbours, outliers and near-duplicates of a run's samples, and their kind.

    Args:
        run: A run; what is missing is done first. Where it is scored, memorized samples are told
            apart, and what memorization goes with is said.
        sample: A uid or the beginning of one: return what is known of that sample alone.
        device: ``auto``, ``cpu`` or ``cuda``.
        report: Progress callback.

    Returns:
        What ``inspect.json`` says, with the ``path`` of the table; or, for a ``sample``, its place
        in the ranking, its row of the table, its neighbours, and where its file lies.

    Raises:
        UsageError: If no sample, or more than one, begins like ``sample``, or ``inspect.encoder``
            is nothing that is there.
        ResourceError: If FAISS is not installed, or pretrained weights cannot be had.
    """
    from curate import lookup, stages

    with run.lock():
        facts = stages.inspect(run, context(run, None, device, 1, report))
        return facts if sample is None else lookup.sample(run, sample)


def report(
    run: Run,
    *,
    formats: Sequence[str] = ("html",),
    against: Sequence[Run | str | Path] = (),
    runs: str | Path = "runs",
) -> Path:
    """Write ``report.html`` of a run, one self-contained file, or what it shows as files.

    Args:
        run: A scored run.
        formats: ``html``; ``png`` and ``svg`` write each figure, ``csv`` each table, into
            ``report/`` of the run.
        against: Other runs, or tables of scores, whose rankings are compared with this one's.
        runs: Folder that holds the runs of ``against``.

    Returns:
        The page, or the folder of the files where no page was asked for.

    Raises:
        UsageError: For an unknown format or run.
        DataError: If a run has no scores yet.
    """
    from curate import reports

    agreement = agree([run, *against], runs=runs) if against else None
    with run.lock():
        return reports.build(run.path, formats=formats, agreement=agreement)


def view(
    run: Run,
    *,
    port: int = 0,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve a run's samples to a browser on this machine, for looking and marking, until closed.

    Args:
        run: A scored run.
        port: To listen on, on 127.0.0.1 alone; 0 takes a free one.
        started: Called with the address once it can be opened.

    Raises:
        UsageError: If the port is taken or not allowed.
        DataError: If the run has no scores yet.
    """
    from curate import viewing

    viewing.serve(run, port=port, started=started)


# What is there, and what it cost


def ledger(run: Run) -> dict[str, Any]:
    """Return what a run cost, and when its selections have paid for its scores.

    Returns:
        ``stages`` (each with ``seconds`` of this run and ``samples``: images written, decoded,
        trained on once, encoded or scored), ``scoring_seconds``, ``training_seconds_per_sample``
        (one image in one epoch), ``epochs``, and ``selections``: of each manifest what it drops,
        the seconds that saves in a training of so many epochs, and after how many such trainings
        that is what the scores took (None: never).

    Raises:
        DataError: If nothing is trained yet.
    """
    from curate import costs

    return costs.ledger(run)


def verify(path: str | Path, *, full: bool = False, report: Report = silent) -> dict[str, Any]:
    """Check a run, shards or a manifest against what was recorded when it was made.

    Returns:
        ``path``, ``kind``, ``checked``, ``full``, ``ok``, and ``faults``: one ``{file, offset, key,
        problem}`` for each thing that is missing or changed, as ``curate verify --json`` prints it.

    Raises:
        UsageError: If ``path`` is none of these.
    """
    from curate import verification

    return verification.verify(Path(path), full=full, report=report)


def load_encoder(folder: str | Path, device: str = "cpu") -> Any:
    """Return a trained encoder in evaluation mode.

    The module maps uint8 images (B, C, H, W) to representations (B, T, D), float32; normalisation
    is inside.

    Raises:
        DataError: If the folder holds no encoder, or a damaged one.
    """
    from curate import backbone

    return backbone.load_encoder(Path(folder), device=device)
