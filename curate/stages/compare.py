"""Compare: retrain on selections of equal size and hold them against random ones."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.data.sample import packed_uids
from curate.encoders.backbone import load_encoder
from curate.errors import DataError, UsageError, unknown
from curate.evaluation import comparison
from curate.evaluation.answers import Answers, probe_name
from curate.evaluation.arms import CONTROL, wanted
from curate.evaluation.comparison import Comparison
from curate.evaluation.config import CompareConfig
from curate.evaluation.dense.base import DenseSet
from curate.evaluation.probing import ProbeSet, measure_probes
from curate.runs import units
from curate.runs.dataset import own_uids
from curate.runs.run import Run
from curate.runtime import randomness
from curate.runtime.engines import LOCAL
from curate.runtime.engines.base import Engine, Unit
from curate.runtime.files import read_json, write_json
from curate.runtime.progress import Progress, silent
from curate.runtime.settings import checked
from curate.scores.plan import Plan
from curate.stages import align, score, shard, train
from curate.stages.choosing import Chooser
from curate.stages.contest import Contest, Field, costs
from curate.stages.context import Context
from curate.stages.dense import dense_probed, place_of, settings_of
from curate.stages.probe import probe_sets

LONGEST = 120
"""Letters of a comparison's name; what is longer is cut, and told apart by a digest."""


def compare_run(
    run: Run,
    context: Context,
    config: CompareConfig,
    *,
    on: Sequence[str] | None = None,
) -> Comparison:
    """Train on selections of equal size with paired seeds, probe each, and compare with random.

    Seed s of every arm shares initialisation and the views of shared samples, so that the
    difference within a seed is the selection's. All seeds train on one selection, and what is
    found holds for that; with ``config.redraw`` each ranks anew, by repeats of the plan that no
    other seed ranks by, so that the noise of the ranking is in the differences as that of the
    training is. Arms that are the same samples are one training, also of several comparisons.

    Args:
        run: A run; what is missing for scores is done, and measures that arms go by.
        context: Device, workers, progress.
        config: What is compared; ``random`` is added, which the others are compared with.
        on: What is probed on; None takes the recipe's sources.

    Raises:
        UsageError: If there are not so many samples to remove, or fewer repeats than seeds to rank
            anew by.
        DataError: If samples to be probed on have no labels, or some have no score of few repeats.
    """
    ranking = score.score_run(run, context).verdict
    field = _field(run, context, config)
    n = field.scored.num_rows
    check_removals(config.remove, n)
    check_repeats(run, config)
    names = tuple(dict.fromkeys((*config.strategies, CONTROL)))
    arms = [wanted(name) for name in names]
    contest = Contest.of(field, arms, config)
    probe_config = run.recipe.probe
    probes: dict[str, Any] = {
        "sources": list(on or probe_config.sources),
        "kinds": list(probe_config.kinds),
    }
    dense = {
        source: settings_of(probe_config, source).model_dump(mode="json")
        for source in probes["sources"]
        if place_of(source) is not None
    }
    if dense:
        probes["dense"] = dense
    settings = {
        "remove": list(dict.fromkeys(config.remove)),
        "strategies": list(names),
        "seeds": config.seeds,
        "budget": config.budget,
        "redraw": config.redraw,
        "pool": config.pool,
        "space": config.space,
        "probes": probes,
    }
    name = _name(settings, beside=on is not None)
    folder = run.path / "comparisons" / name
    parts = {**units.training(run), "scores": units.scores_digest(run), "settings": settings}
    unit = units.Unit(run, f"compare/{name}", {**parts, **contest.digests()})
    if unit.intact() is None:
        # Before hours of training, not after, it shows whether there is anything to probe on.
        probed = probe_sets(run, context, on)
        with unit.making("compare"):
            rankings = tuple(_rankings(run, context, config, field.scored))
            contest = replace(contest, rankings=rankings)
            trained = _train_arms(run, context, config, contest)
            rows, answers = _probe_arms(run, context, trained, probed, probe_config.kinds)
            summary = comparison.summarise(
                rows, answers, n, holds_for=_holds_for(run, config), ranking=ranking
            )
            unit.complete(comparison.write(folder, rows, answers, summary, settings))
    result = Comparison.read(folder)
    return replace(result, costs=costs(run, arms, result))


def _field(run: Run, context: Context, config: CompareConfig) -> Field:
    """Return what is chosen from: the dataset, or what one encoder of the plan is trained on.

    Raises:
        UsageError: If the plan has no such encoder.
    """
    everything, scored = own_uids(run).sort(), run.scores(("memorization", "label"))
    if config.pool is not None:
        plan = Plan.read(run.path / "plan.parquet")
        if config.pool not in plan.encoders:
            raise unknown("pool", config.pool, plan.encoders)
        pool = pa.array(plan.members(config.pool)).cast(pa.string())
        everything = everything.filter(pc.is_in(everything, value_set=pool))
    there = pc.and_(scored["memorization"].is_valid(), pc.is_in(scored["uid"], everything))
    scored = scored.filter(there)
    return Field(
        everything.to_numpy(zero_copy_only=False), scored, Chooser(run, context, scored["uid"])
    )


def _name(settings: Mapping[str, Any], *, beside: bool) -> str:
    """Return the name of a comparison, which says what is compared, or as much as fits.

    Args:
        settings: What is compared.
        beside: Whether it is probed on other sources than the recipe's.
    """
    words = ["remove", *settings["remove"], *settings["strategies"]]
    words += [settings["seeds"], "seeds", settings["budget"]]
    words += ["redraw"] if settings["redraw"] else []
    words += ["pool", settings["pool"]] if settings["pool"] else []
    words += ["in", settings["space"]] if settings["space"] else []
    words += ["on", *settings["probes"]["sources"]] if beside else []
    text = "-".join(map(str, words))
    if re.fullmatch(r"[A-Za-z0-9.-]+", text) and len(text) <= LONGEST:
        return text
    short = re.sub(r"[^A-Za-z0-9.-]+", "_", text)[:LONGEST]
    return f"{short}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


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
    uids, plan = packed_uids(scored["uid"]), align.align(run, context)
    place_N = np.searchsorted(Plan.read(run.path / "plan.parquet").uids, uids)
    for seed, repeats in enumerate(_dealt(run, config)):
        memorization_N = score.reestimated(run, plan, repeats)[place_N]
        lacking = int(np.isnan(memorization_N).sum())
        if lacking:
            raise DataError(
                f"{lacking:,} samples have no score by the {len(repeats)} repeats that seed {seed} "
                "ranks by; compare with fewer seeds, or add repeats to the plan."
            )
        yield memorization_N


def _train_arms(
    run: Run, context: Context, config: CompareConfig, contest: Contest
) -> list[tuple[dict[str, Any], units.Unit]]:
    """Train what is missing of a comparison; returns what each arm is, and its training.

    An encoder lies under the key of its training, so that equal arms are one.
    """
    train_settings, everything = run.recipe.train, contest.field.everything
    batch = train_settings.batch_of(len(everything))
    by_steps = config.budget == "steps"
    steps = train_settings.epochs * (len(everything) // batch) if by_steps else None
    shard.canvas(run, context)
    device = context.device_of_units()
    arms: list[tuple[dict[str, Any], units.Unit]] = []
    jobs: dict[str, Unit] = {}
    trainings: dict[str, units.Unit] = {}
    for arm in contest.arms():
        own_seed = randomness.seed_for(train_settings.seed, "compare", arm.seed)
        unit = units.trained_on(run, "", arm.samples, seed=own_seed, steps=steps)
        unit = replace(unit, name=f"compare/arms/{unit.key[:16]}")
        about = {"strategy": arm.name, "remove": arm.remove, "seed": arm.seed}
        arms.append((about, unit))
        if unit.name in trainings:
            continue
        trainings[unit.name] = unit
        if not unit.intact():
            arguments = {
                "path": run.path,
                "unit": unit.name,
                "folder": _place(unit),
                "kept": arm.samples,
                "seed": own_seed,
                "device": device,
                "steps": steps,
            }
            name = f"compare {arm.name}-{arm.remove}-s{arm.seed}"
            run.record_path(unit.name).unlink(missing_ok=True)
            jobs[unit.name] = train.job(
                name, train_arm, arguments, unit.key, train_settings.threads
            )
    if jobs:
        run.check_code("compare", trainings.values(), device)
    workers = context.training_workers(run.recipe)
    context.do(run, list(jobs.values()), workers, what="retrain", of="encoders")
    return arms


def _probe_arms(
    run: Run,
    context: Context,
    arms: Sequence[tuple[Mapping[str, Any], units.Unit]],
    probed: Sequence[ProbeSet | DenseSet],
    kinds: tuple[str, ...],
) -> tuple[list[dict[str, Any]], Answers]:
    """Probe each encoder once; returns a row for each arm, source and kind, and each test image.

    A seed has one decoder upon all arms, as it has one initialisation of their encoders.
    """
    rows: list[dict[str, Any]] = []
    answers, trainings = Answers(), {unit.key: (unit, about["seed"]) for about, unit in arms}
    jobs = list(itertools.product(trainings.values(), probed))
    by_probe = {}
    for done, ((unit, seed), data) in enumerate(jobs, 1):
        if isinstance(data, DenseSet):
            config = settings_of(run.recipe.probe, data.name)
            place = run.path / _place(unit)
            results = dense_probed(run, context, place, data, config, key=unit.key, seed=seed)
        else:
            results = _probed(run, context, unit, data, kinds)
        by_probe[unit.key, data.name] = results
        context.progress("probe", done, len(jobs))
    for about, unit in arms:
        for data in probed:
            for result, of_image in by_probe[unit.key, data.name]:
                rows.append({**about, **result, "encoder": _place(unit)})
                name = probe_name(**about, kind=result["kind"])
                answers.add(data.name, data.test, name, of_image)
    return rows, answers


def _probed(
    run: Run, context: Context, trained: units.Unit, data: ProbeSet, kinds: tuple[str, ...]
) -> list[tuple[dict[str, Any], np.ndarray]]:
    """Probe an encoder on a source, unless that was done: a unit of work.

    In the file ``right`` is a bit for each test image, as hex digits.

    Returns:
        What each kind of probe reached, and which of the test images it had right, (m,) bool.
    """
    parts = {"encoder": trained.key, "source": data.digest(), "kinds": list(kinds)}
    unit = units.Unit(run, "", parts)
    name = f"{trained.key[:16]}-{unit.key[:8]}"
    unit = replace(unit, name=f"compare/probes/{name}")
    file = run.path / "comparisons" / "probes" / f"{name}.json"
    if unit.intact() is None:
        encoder = load_encoder(run.path / _place(trained), device=context.resolved_device())
        results = [
            {**result.to_json(), "right": np.packbits(right).tobytes().hex()}
            for result, right in measure_probes(encoder, data, kinds)
        ]
        write_json(file, {"results": results})
        unit.complete([file])
    answered = []
    for stored in read_json(file)["results"]:
        bits = np.frombuffer(bytes.fromhex(stored.pop("right")), dtype=np.uint8)
        answered.append((stored, np.unpackbits(bits, count=len(data.test)).astype(bool)))
    return answered


def _place(unit: units.Unit) -> str:
    """Return where the encoder of an arm lies, relative to the run."""
    return f"comparisons/encoders/{unit.key[:16]}"


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
    training = units.trained_on(run, unit, kept, seed=seed, steps=steps)
    train.train_unit(run, training, kept, seed, folder, device, progress, steps=steps)


def compare(
    run: Run,
    *,
    remove: Sequence[int] | None = None,
    strategies: Sequence[str] | None = None,
    seeds: int | None = None,
    budget: str | None = None,
    redraw: bool | None = None,
    pool: str | None = None,
    space: str | None = None,
    on: Sequence[str] | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    engine: str | Engine | None = LOCAL,
    progress: Progress = silent,
) -> Comparison:
    """Retrain on selections of equal size and compare them with random; None: as in the recipe.

    Args:
        run: A run; what is missing for scores is done first.
        remove: How many samples to remove, one comparison each.
        strategies: Arms: ``all``, strategies as in ``select``, columns (the highest are kept),
            ``STRATEGY:COLUMN``, ``random-matched:ARM``, and manifests (``.parquet``), which remove
            as many as they drop.
        seeds: Paired repetitions; two or more give an interval, five a useful one.
        budget: Equal ``epochs`` or equal ``steps``.
        redraw: Whether every seed ranks anew, by repeats of the plan that no other ranks by.
        pool: The encoder of the plan whose samples are all that there is to train on.
        space: Where strategies choose, as in ``select``.
        on: What is probed on: ``self``, SOURCEs, SOURCE=DIR, ``seg:DIR`` or ``depth:DIR``; None
            takes the recipe's.
        data: Where the recipe's source lies on this machine.
        device: ``auto``, ``cpu``, ``cuda``, or cards: ``cuda:0-7``.
        workers: Trainings side by side; None chooses.
        engine: As in ``run``.
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
            "pool": there.pool if pool is None else pool,
            "space": there.space if space is None else space,
        },
    )
    if not config.remove and not all(wanted(name).is_manifest for name in config.strategies):
        raise UsageError("say how many samples to remove, such as 500 and 1000.")
    with run.lock():
        context = Context.of(run, data, device, workers, progress, engine)
        return compare_run(run, context, config, on=on)
