"""The functions behind the command line: ``import curate`` offers each of them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate import recipe as recipes
from curate import rundir
from curate.atomic import read_json
from curate.errors import UsageError, unknown
from curate.machine import doctor
from curate.opening import open_run, recipe_of
from curate.progress import Report, silent
from curate.recipe import Recipe
from curate.rundir import Run

if TYPE_CHECKING:
    from curate.stages import Context

__all__ = [
    "compare",
    "doctor",
    "export",
    "forecast",
    "inspect",
    "load_encoder",
    "load_recipe",
    "open_run",
    "probe",
    "recipe_list",
    "report",
    "retrain",
    "run",
    "run_all",
    "score",
    "select",
    "select_table",
    "shard",
    "train",
    "verify",
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
        n: recipes.read_yaml(path).get("description") for n, path in recipes.packaged().items()
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
        return pipeline.run_all(run, _context(run, data, device, workers, report))


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
        made = stages.train(run, _context(run, data, device, workers, report))
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
    return forecast(recipe, _context(there, data, device, workers, silent), there)


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
        already = run.done("score") is not None
        if not already:
            from curate import scoring

            scoring.score(run, _context(run, data, device, workers, report))
    facts = read_json(run.path / "scores.json")
    return {**facts, "path": str(run.path / "scores.parquet"), "already": already}


def inspect(run: Run, *, device: str = "auto", report: Report = silent) -> dict[str, Any]:
    """Find neighbours, outliers and near-duplicates of a run's samples."""
    from curate import stages

    with run.lock():
        return stages.inspect(run, _context(run, None, device, 1, report))


def report(run: Run) -> Path:
    """Write ``report.html`` of a run, one self-contained file; returns its path."""
    from curate import reports

    with run.lock():
        return reports.build(run.path)


# Selections


def select(
    run: Run,
    *,
    strategy: str = "top",
    count: int | None = None,
    fraction: float | None = None,
    unscored: str | None = None,
    seed: int = 0,
    name: str | None = None,
) -> dict[str, Any]:
    """Select from a run's scores and write ``manifests/NAME.parquet`` and ``.json``.

    Args:
        run: A scored run.
        strategy: ``top``, ``bottom`` or ``random`` keep samples; ``drop-top`` drops them.
        count: How many scored samples to keep (``drop-top``: to drop).
        fraction: The same as a share of the scored samples.
        unscored: ``keep`` or ``drop`` what the plan left unscored; needed where there is any.
        seed: Seed of ``random``.
        name: Name of the manifest; None makes one from the strategy and size.

    Returns:
        ``path``, ``kept``, ``dropped``, ``scored``, ``unscored``, ``description``, ``separation``.

    Raises:
        UsageError: If there are not so many samples, or it is not said what becomes of unscored.
        DataError: If the run has no scores.
    """
    from curate import selection

    with run.lock():
        return selection.select(
            run,
            strategy=strategy,
            count=count,
            fraction=fraction,
            unscored=unscored,
            seed=seed,
            name=name,
        )


def select_table(
    scores: str | Path,
    *,
    by: str = "memorization",
    out: str | Path = ".",
    strategy: str = "top",
    count: int | None = None,
    fraction: float | None = None,
    unscored: str | None = None,
    seed: int = 0,
    name: str | None = None,
) -> dict[str, Any]:
    """Select from any parquet or csv that has ``uid`` and a number, with no run at all.

    Args:
        scores: The table; a number that is null or not finite counts as unscored.
        by: Column to select by; ``top`` keeps its highest.
        out: Folder for the manifest.
        strategy: As in ``select``, and so are the others.
        count: As in ``select``.
        fraction: As in ``select``.
        unscored: As in ``select``.
        seed: As in ``select``.
        name: As in ``select``.
    """
    from curate import selection

    return selection.select_table(
        Path(scores),
        by=by,
        out=Path(out),
        strategy=strategy,
        count=count,
        fraction=fraction,
        unscored=unscored,
        seed=seed,
        name=name,
    )


def export(
    manifest: str | Path, *, to: str, out: str | Path, report: Report = silent
) -> dict[str, Any]:
    """Write a manifest (``csv``) or what it keeps (``paths``, ``folder``) for another tool.

    Raises:
        UsageError: For an unknown format, an ``out`` that is there, or a manifest outside a run
            whose images would be needed.
        MismatchError: If the manifest was made from another dataset than the run it lies in.
    """
    from curate import exports, selection
    from curate.records.manifest import Manifest

    path, home = Path(manifest), rundir.enclosing(Path(manifest))
    made = selection.read_for(Run.open(home), path) if home else Manifest.read(path)
    shards = home / "shards" if home else None
    return exports.export(made, to=to, out=Path(out), shards=shards, report=report)


# What a selection did


def retrain(
    manifest: str | Path,
    *,
    run: Run | str | None = None,
    runs: str | Path = "runs",
    seed: int | None = None,
    device: str = "auto",
    report: Report = silent,
) -> dict[str, Any]:
    """Train an encoder afresh on what a manifest keeps; returns its folder as ``encoder``.

    Args:
        manifest: A manifest (``.parquet``).
        run: The run to train in; None takes the one that the manifest lies in.
        runs: Folder that holds the runs.
        seed: Training seed; None takes the recipe's.
        device: ``auto``, ``cpu`` or ``cuda``.
        report: Progress callback.

    Raises:
        UsageError: If the manifest lies in no run and none is named.
        MismatchError: If it was made from another dataset than the run's.
    """
    from curate import downstream

    path = Path(manifest)
    if run is None:
        home = rundir.enclosing(path)
        if home is None:
            raise UsageError(f"{path} lies in no run; name one with --run.")
        run = Run.open(home)
    elif not isinstance(run, Run):
        run = open_run(run, runs=runs, create=False)
    with run.lock():
        context = _context(run, None, device, 1, report)
        return {"encoder": str(downstream.retrain(run, path, context, seed=seed))}


def probe(
    encoder: str | Path,
    *,
    on: Sequence[str] = ("self",),
    kinds: Sequence[str] | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    report: Report = silent,
) -> dict[str, Any]:
    """Fit linear and k-NN probes on an encoder's frozen features and test them once.

    Args:
        encoder: An encoder's folder.
        on: ``self`` (the labels of the encoder's run) or SOURCEs.
        kinds: ``linear`` or ``knn``; None takes both.
        data: Where a SOURCE's data lies on this machine.
        device: ``auto``, ``cpu`` or ``cuda``.
        report: Progress callback.

    Returns:
        ``encoder``, ``results`` (one a source and kind, accuracies in [0, 1]), and the ``path``
        they are stored at (None for an encoder outside a run).

    Raises:
        DataError: If samples have no labels.
    """
    from curate import downstream, probes

    chosen = tuple(kinds or probes.PROBES)
    for kind in chosen:
        if kind not in probes.PROBES:
            raise unknown("probe", kind, probes.PROBES)
    home = rundir.enclosing(Path(encoder))
    with Run.open(home).lock() if home else contextlib.nullcontext():
        context = _context(None, data, device, 1, report)
        return downstream.probe_encoder(Path(encoder), context, on=on, kinds=chosen)


def compare(
    run: Run,
    *,
    remove: Sequence[int] | None = None,
    strategies: Sequence[str] | None = None,
    seeds: int | None = None,
    budget: str | None = None,
    device: str = "auto",
    workers: int | None = 1,
    report: Report = silent,
) -> dict[str, Any]:
    """Retrain on selections of equal size and compare them with random; None: as in the recipe.

    Args:
        run: A run; what is missing for scores is done first.
        remove: How many samples to remove, one comparison each.
        strategies: As in ``select``.
        seeds: Paired repetitions; two or more give an interval.
        budget: Equal ``epochs`` or equal ``steps``.
        device: ``auto``, ``cpu`` or ``cuda``.
        workers: Trainings side by side; None chooses.
        report: Progress callback.

    Returns:
        ``arms``, ``differences`` (from random, with 95 % intervals), ``verdict`` and ``path``.

    Raises:
        UsageError: If there are not so many samples to remove.
        DataError: If samples have no labels to be probed on.
    """
    from curate import downstream, selectors

    config = run.recipe.compare
    budget = budget or config.budget
    if budget not in ("epochs", "steps"):
        raise unknown("budget", budget, ("epochs", "steps"))
    for strategy in strategies or ():
        if strategy not in selectors.SELECTORS:
            raise unknown("strategy", strategy, selectors.SELECTORS)
    sizes = tuple(config.remove if remove is None else remove)
    if not sizes:
        raise UsageError("say how many samples to remove, e.g. --remove 500,1000.")
    with run.lock():
        return downstream.compare(
            run,
            _context(run, None, device, workers, report),
            remove=sizes,
            strategies=tuple(strategies or config.strategies),
            seeds=seeds or config.seeds,
            budget=budget,
        )


# What is there


def verify(path: str | Path, *, full: bool = False, report: Report = silent) -> dict[str, Any]:
    """Check a run, shards or a manifest against what was recorded when it was made.

    Raises:
        UsageError: If ``path`` is none of these.
        DataError: If anything is missing or changed; the first faults are named.
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


def _context(
    run: Run | None,
    data: str | Path | None,
    device: str,
    workers: int | None,
    report: Report,
) -> Context:
    from curate.stages import Context

    # Where the images were when the run was made, unless they are said to be elsewhere now.
    place = data or (run.facts().get("data_path") if run else None)
    return Context(device, workers, Path(place) if place else None, report)
