"""Compare: retrain on selections of equal size and hold them against random ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curate.encoders.backbone import load_encoder
from curate.errors import UsageError
from curate.evaluation import comparison
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
from curate.selection.strategies import choose
from curate.stages import score, shard, train
from curate.stages.context import Context
from curate.stages.probe import probe_sets


def compare_run(
    run: Run,
    context: Context,
    config: CompareConfig,
) -> Comparison:
    """Train on selections of equal size with paired seeds, probe each, and compare with random.

    Seed s of every strategy shares initialisation and the views of shared samples, so that the
    difference within a seed is the selection's.

    Args:
        run: A run; what is missing for scores is done.
        context: Device, workers, progress.
        config: What is compared; ``random`` is added, which the others are compared with.

    Raises:
        UsageError: If there are not so many samples to remove.
        DataError: If samples to be probed on have no labels.
    """
    score.score_run(run, context)
    scored = run.scores()
    scored = scored.filter(scored["memorization"].is_valid())
    uids = np.array(scored["uid"].to_pylist(), dtype=object)
    remove = tuple(dict.fromkeys(config.remove))
    check_removals(remove, len(uids))
    strategies = tuple(dict.fromkeys((*config.strategies, comparison.CONTROL)))
    seeds, budget = config.seeds, config.budget
    name = f"remove-{'-'.join(map(str, remove))}-{'-'.join(strategies)}-{seeds}-seeds-{budget}"
    folder, asked = run.path / "comparisons" / name, run.recipe.probe
    settings = {
        "remove": list(remove),
        "strategies": list(strategies),
        "seeds": seeds,
        "budget": budget,
        "probes": {"sources": list(asked.sources), "kinds": list(asked.kinds)},
    }
    parts = {**units.training(run), "scores": units.scores_digest(run), "settings": settings}
    unit = units.Unit(run, f"compare/{name}", parts)
    if unit.intact() is None:
        # Before hours of training, not after, it shows whether there is anything to probe on.
        probed = probe_sets(run, context)
        with unit.making("compare"):
            arms = _train_arms(run, context, name, scored, remove, strategies, seeds, budget)
            rows = []
            for done, (about, place) in enumerate(arms, 1):
                encoder = load_encoder(run.path / place, device=context.resolved_device())
                for data in probed:
                    results = measure_probes(encoder, data, asked.kinds)
                    rows += [{**about, **result.to_json()} for result in results]
                context.progress("probe", done, len(arms))
            summary = comparison.summarise(rows, len(uids))
            unit.complete(comparison.write(folder, rows, summary, settings))
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


def _train_arms(
    run: Run,
    context: Context,
    name: str,
    scored: Any,
    remove: Sequence[int],
    strategies: Sequence[str],
    seeds: int,
    budget: str,
) -> list[tuple[dict[str, Any], str]]:
    """Train what is missing of a comparison; returns what each arm is, and its encoder's place."""
    everything = own_uids(run).to_numpy(zero_copy_only=False)
    uids = np.array(scored["uid"].to_pylist(), dtype=object)
    memorization = scored["memorization"].to_numpy()
    config = run.recipe.train
    batch = min(config.batch_size, len(everything))
    steps = config.epochs * (len(everything) // batch) if budget == "steps" else None
    shard.canvas(run, context)
    device = context.resolved_device()
    arms, jobs, wanted = [], [], []
    for n in remove:
        for strategy in strategies:
            for seed in range(seeds):
                kept = choose(strategy, memorization, uids, len(uids) - n, seed)
                arm = f"{strategy}-{n}-s{seed}"
                place = f"comparisons/{name}/encoders/{arm}"
                arms.append(({"strategy": strategy, "remove": n, "seed": seed}, place))
                # What the plan left unscored stays: only scores are compared.
                samples = np.setdiff1d(everything, uids[~kept])
                own_seed = randomness.seed_for(config.seed, "compare", seed)
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
        run.check_code("compare", wanted)
    run_units(jobs, context.training_workers(run.recipe), context.progress)
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
        seeds: Paired repetitions; two or more give an interval.
        budget: Equal ``epochs`` or equal ``steps``.
        data: Where the recipe's source lies on this machine.
        device: ``auto``, ``cpu`` or ``cuda``.
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
        },
    )
    if not config.remove:
        raise UsageError("say how many samples to remove, such as 500 and 1000.")
    with run.lock():
        return compare_run(run, Context.of(run, data, device, workers, progress), config)
