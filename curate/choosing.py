"""Public functions on selections and what they did, and on rankings: part of ``curate.api``."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate import rundir
from curate.errors import UsageError, unknown
from curate.opening import open_run
from curate.rundir import Run
from curate.runtime.progress import Report, silent

if TYPE_CHECKING:
    from curate.stages import Context


def context(
    run: Run | None,
    data: str | Path | None,
    device: str,
    workers: int | None,
    report: Report,
) -> Context:
    """Return how to work on a run; its images are where they were, or at ``data``."""
    from curate.stages import Context

    place = data or (run.facts().get("data_path") if run else None)
    return Context(device, workers, Path(place) if place else None, report)


def agree(
    rankings: Sequence[Run | str | Path],
    *,
    tops: Sequence[int] = (),
    by: str = "memorization",
    runs: str | Path = "runs",
) -> dict[str, Any]:
    """Compare the rankings of two or more runs, or of column ``by`` of parquet or csv files.

    Returns:
        As ``agreement.agree`` does: ``names``, and ``pairs`` with correlations and shared tops.
    """
    from curate import agreement

    return agreement.agree(
        [agreement.read(item, runs=Path(runs), by=by) for item in rankings], tuple(tops)
    )


# Beside memorization


def measure(
    run: Run,
    kinds: Sequence[str] | None = None,
    *,
    device: str = "auto",
    report: Report = silent,
) -> dict[str, Any]:
    """Compute other people's measures of a run's samples into ``measures.parquet``.

    Args:
        run: A run; what is missing for scores is done first.
        kinds: Names in ``measures.MEASURES``; None takes all that can be computed.
        device: ``auto``, ``cpu`` or ``cuda``.
        report: Progress callback.

    Returns:
        As ``measuring.measure`` does: ``measures`` with their agreement with memorization,
        ``left_out``, ``path``.

    Raises:
        UsageError: For an unknown measure, or one that needs labels where there are none.
    """
    from curate import measuring

    with run.lock():
        return measuring.measure(run, context(run, None, device, 1, report), kinds)


def localize(
    run: Run,
    *,
    encoders: Sequence[str] | None = None,
    device: str = "auto",
    report: Report = silent,
) -> dict[str, Any]:
    """Measure LayerMem and UnitMem of a pair of a run's encoders (arXiv 2409.19069).

    Args:
        run: A run; what is missing for encoders is done first.
        encoders: f and g by name; None takes the first two of the plan.
        device: ``auto``, ``cpu`` or ``cuda``.
        report: Progress callback.

    Returns:
        As ``localizing.localize`` does: ``layers`` with their SSLMem and UnitMem, paths.

    Raises:
        UsageError: If the names are not two different encoders of the plan.
        DataError: If fewer than two samples are in f and not in g.
        DivergedError: If a layer gives values that are not finite.
    """
    from curate import localizing

    with run.lock():
        return localizing.localize(run, context(run, None, device, 1, report), encoders=encoders)


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
    """Write a manifest (``csv``) or what it keeps (any other format) for another tool.

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
        how = context(run, None, device, 1, report)
        return {"encoder": str(downstream.retrain(run, path, how, seed=seed))}


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
        how = context(None, data, device, 1, report)
        return downstream.probe_encoder(Path(encoder), how, on=on, kinds=chosen)


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
            context(run, None, device, workers, report),
            remove=sizes,
            strategies=tuple(strategies or config.strategies),
            seeds=seeds or config.seeds,
            budget=budget,
        )
