"""Compare: retrain on selections of equal size and hold them against random ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.data.sample import packed_uids
from curate.encoders.backbone import load_encoder
from curate.errors import DataError, UsageError
from curate.evaluation import comparison
from curate.evaluation.answers import Answers, probe_name
from curate.evaluation.comparison import Comparison
from curate.evaluation.config import CompareConfig
from curate.evaluation.probing import measure_probes
from curate.runs import units
from curate.runs.dataset import own_uids
from curate.runs.run import Run
from curate.runtime import randomness
from curate.runtime.progress import Progress, silent
from curate.runtime.settings import checked
from curate.runtime.workers import Unit, run_units
from curate.scores.plan import Plan
from curate.selection.strategies import choose
from curate.stages import align, score, shard, train
from curate.stages.context import Context
from curate.stages.probe import probe_sets


def compare_run(
    run: Run,
    context: Context,
    config: CompareConfig,
) -> Comparison:
    """Train on selections of equal size with paired seeds, probe each, and compare with random.

    Seed s of every strategy shares initialisation and the views of shared samples, so that the
    difference within a seed is the selection's. All seeds train on one selection, and what is
    found holds for that; with ``config.redraw`` each ranks anew, by repeats of the plan that no
    other seed ranks by, so that the noise of the ranking is in the differences as that of the
    training is.

    Args:
        run: A run; what is missing for scores is done.
        context: Device, workers, progress.
        config: What is compared; ``random`` is added, which the others are compared with.

    Raises:
        UsageError: If there are not so many samples to remove, or fewer repeats than seeds to rank
            anew by.
        DataError: If samples to be probed on have no labels, or some have no score of few repeats.
    """
    ranking = score.score_run(run, context).verdict
    scored = run.scores(("memorization", "se"))
    scored = scored.filter(scored["memorization"].is_valid())
    uids = np.array(scored["uid"].to_pylist(), dtype=object)
    remove = tuple(dict.fromkeys(config.remove))
    check_removals(remove, len(uids))
    check_repeats(run, config)
    strategies = tuple(dict.fromkeys((*config.strategies, comparison.CONTROL)))
    seeds, budget = config.seeds, config.budget
    name = f"remove-{'-'.join(map(str, remove))}-{'-'.join(strategies)}-{seeds}-seeds-{budget}"
    name += "-redraw" if config.redraw else ""
    folder, asked = run.path / "comparisons" / name, run.recipe.probe
    settings = {
        "remove": list(remove),
        "strategies": list(strategies),
        "seeds": seeds,
        "budget": budget,
        "redraw": config.redraw,
        "probes": {"sources": list(asked.sources), "kinds": list(asked.kinds)},
    }
    parts = {**units.training(run), "scores": units.scores_digest(run), "settings": settings}
    unit = units.Unit(run, f"compare/{name}", parts)
    if unit.intact() is None:
        # Before hours of training, not after, it shows whether there is anything to probe on.
        probed = probe_sets(run, context)
        with unit.making("compare"):
            rankings = _rankings(run, context, config, scored)
            arms = _train_arms(run, context, name, uids, rankings, settings)
            rows, answers = [], Answers()
            for done, (about, place) in enumerate(arms, 1):
                encoder = load_encoder(run.path / place, device=context.resolved_device())
                for data in probed:
                    for result, right in measure_probes(encoder, data, asked.kinds):
                        rows.append({**about, **result.to_json()})
                        probed_by = probe_name(**about, kind=result.kind)
                        answers.add(data.name, data.test, probed_by, right)
                context.progress("probe", done, len(arms))
            summary = comparison.summarise(
                rows, answers, len(uids), holds_for=_holds_for(run, config), ranking=ranking
            )
            unit.complete(comparison.write(folder, rows, answers, summary, settings))
    return Comparison.read(folder)


def check_removals(remove: Sequence[int], scored: int) -> None:
    """Check that a comparison leaves something to train on.

    Raises:
        UsageError: If a number is not between 1 and all but one of the scored samples.
    """
    for n in remove:
        if not 0 < n < scored:
            raise UsageError(
                f"cannot remove {n:,}: {scored:,} are scored; 1 to {scored - 1:,} can be."
            )


def check_repeats(run: Run, config: CompareConfig) -> None:
    """Check that every seed has a repeat of the plan to rank by, where each ranks anew.

    Raises:
        UsageError: If there are more seeds.
    """
    repeats = run.recipe.plan.repeats
    if config.redraw and repeats < config.seeds:
        raise UsageError(
            f"redraw ranks anew for each of {config.seeds} seeds, by repeats of its own, and the "
            f"plan has {repeats}; add some: "
            f"'curate score {run.name} --set plan.repeats={config.seeds}'."
        )


def _dealt(run: Run, config: CompareConfig) -> list[range]:
    """Return by which repeats of the plan each seed ranks."""
    repeats = run.recipe.plan.repeats
    return [range(repeats)[seed :: config.seeds] for seed in range(config.seeds)]


def _holds_for(run: Run, config: CompareConfig) -> str:
    """Return in words what the intervals of a comparison hold for."""
    if not config.redraw:
        return comparison.THIS_SELECTION
    sizes = sorted({len(repeats) for repeats in _dealt(run, config)})
    n = " to ".join(map(str, sizes))
    return f"selections ranked anew, each by {n} of {run.recipe.plan.repeats} repeats"


def _rankings(
    run: Run, context: Context, config: CompareConfig, scored: pa.Table
) -> Iterator[np.ndarray]:
    """Yield by which scores each seed selects, (N,) float64 in the order of ``scored``."""
    if not config.redraw:
        memorization_N = scored["memorization"].to_numpy()
        for _ in range(config.seeds):
            yield memorization_N
        return
    uids, found = packed_uids(scored["uid"]), align.align(run, context)
    place_N = np.searchsorted(Plan.read(run.path / "plan.parquet").uids, uids)
    for seed, repeats in enumerate(_dealt(run, config)):
        memorization_N = score.reestimated(run, found, repeats)[place_N]
        lacking = int(np.isnan(memorization_N).sum())
        if lacking:
            raise DataError(
                f"{lacking:,} samples have no score by the {len(repeats)} repeats that seed {seed} "
                "ranks by; compare with fewer seeds, or add repeats to the plan."
            )
        yield memorization_N


def _train_arms(
    run: Run,
    context: Context,
    name: str,
    uids: np.ndarray,
    rankings: Iterable[np.ndarray],
    settings: Mapping[str, Any],
) -> list[tuple[dict[str, Any], str]]:
    """Train what is missing of a comparison; returns what each arm is, and its encoder's place.

    Args:
        run: The run.
        context: Device, workers, progress.
        name: Of the comparison.
        uids: (N,) of the scored samples.
        rankings: For each seed the scores (N,) that it selects by.
        settings: What is compared.
    """
    everything = own_uids(run).to_numpy(zero_copy_only=False)
    config = run.recipe.train
    batch = min(config.batch_size, len(everything))
    by_steps = settings["budget"] == "steps"
    steps = config.epochs * (len(everything) // batch) if by_steps else None
    shard.canvas(run, context)
    device = context.resolved_device()
    arms, jobs, wanted = [], [], []
    for seed, memorization_N in enumerate(rankings):
        own_seed = randomness.seed_for(config.seed, "compare", seed)
        for n, strategy in itertools.product(settings["remove"], settings["strategies"]):
            kept = choose(strategy, memorization_N, uids, len(uids) - n, seed)
            arm = f"{strategy}-{n}-s{seed}"
            place = f"comparisons/{name}/encoders/{arm}"
            arms.append(({"strategy": strategy, "remove": n, "seed": seed}, place))
            # What the plan left unscored stays: only scores are compared.
            samples = np.setdiff1d(everything, uids[~kept])
            unit_name = f"compare/{name}/{arm}"
            arguments = {
                "path": run.path,
                "unit": unit_name,
                "folder": place,
                "kept": samples,
                "seed": own_seed,
                "device": device,
                "steps": steps,
            }
            unit = units.trained_on(run, unit_name, samples, seed=own_seed, steps=steps)
            wanted.append(unit)
            if not unit.intact():
                jobs.append(Unit(f"compare {arm}", train_arm, arguments))
    if jobs:
        run.check_code("compare", wanted, device)
    workers = context.training_workers(run.recipe)
    run_units(
        jobs,
        workers,
        context.progress,
        what="retrain",
        of="encoders",
        begin=context.begin(),
    )
    return arms


def train_arm(
    path: Path,
    unit: str,
    folder: str,
    kept: np.ndarray,
    seed: int,
    device: str,
    steps: int | None,
    progress: Progress = silent,
) -> None:
    """Train one arm of a comparison: a unit of work."""
    run = Run.open(path)
    made = units.trained_on(run, unit, kept, seed=seed, steps=steps)
    train.train_unit(run, made, kept, seed, folder, device, progress, steps=steps)


def compare(
    run: Run,
    *,
    remove: Sequence[int] | None = None,
    strategies: Sequence[str] | None = None,
    seeds: int | None = None,
    budget: str | None = None,
    redraw: bool | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    progress: Progress = silent,
) -> Comparison:
    """Retrain on selections of equal size and compare them with random; None: as in the recipe.

    Args:
        run: A run; what is missing for scores is done first.
        remove: How many samples to remove, one comparison each.
        strategies: As in ``select``.
        seeds: Paired repetitions; two or more give an interval, five a useful one.
        budget: Equal ``epochs`` or equal ``steps``.
        redraw: Whether every seed ranks anew, by repeats of the plan that no other ranks by.
        data: Where the recipe's source lies on this machine.
        device: ``auto``, ``cpu``, ``cuda``, or cards: ``cuda:0-7``.
        workers: Trainings side by side; None chooses.
        progress: Progress callback.

    Raises:
        UsageError: If there are not so many samples to remove.
        DataError: If samples have no labels to be probed on.
    """
    there = run.recipe.compare
    config = checked(
        CompareConfig,
        {
            "remove": there.remove if remove is None else remove,
            "strategies": tuple(strategies or there.strategies),
            "seeds": seeds or there.seeds,
            "budget": budget or there.budget,
            "redraw": there.redraw if redraw is None else redraw,
        },
    )
    if not config.remove:
        raise UsageError("say how many samples to remove, such as 500 and 1000.")
    with run.lock():
        return compare_run(run, Context.of(run, data, device, workers, progress), config)
