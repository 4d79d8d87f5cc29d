"""What a selection did: retrain on it, probe it, and compare it with a random one."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from curate import comparison, rundir, scoring, selection, selectors, shards, sources, stages
from curate.backbone import load_encoder
from curate.errors import UsageError
from curate.images import build_canvas, open_canvas
from curate.probing import INDEXED, ProbeSet, probe, probe_set
from curate.rundir import Run
from curate.runtime import randomness
from curate.runtime.files import file_sha256, read_json, write_json
from curate.runtime.progress import Report, silent
from curate.runtime.workers import Unit, run_units
from curate.stages import Context

if TYPE_CHECKING:
    from curate.backbone import Encoder


def slug(text: str) -> str:
    """Return ``text`` as a file name."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-.") or "x"


# Retraining


def retrain(run: Run, manifest: Path, context: Context, *, seed: int | None = None) -> Path:
    """Train an encoder afresh on what a manifest keeps; returns its folder.

    Args:
        run: Gives recipe and images.
        manifest: A manifest of the run's dataset, wherever it was made.
        context: Device and progress.
        seed: Training seed; None takes the recipe's.

    Raises:
        MismatchError: If the manifest was made from another dataset.
    """
    kept = selection.read_for(run, manifest).kept()
    if manifest.suffix != ".parquet":
        manifest = manifest.with_name(f"{manifest.name}.parquet")
    seed = run.recipe.train.seed if seed is None else seed
    unit, folder = (
        f"retrain/{slug(manifest.stem)}-s{seed}",
        f"retrained/{slug(manifest.stem)}-s{seed}",
    )
    digest = file_sha256(manifest)
    record = run.done(unit)
    # A manifest of the same name may hold another selection by now.
    if record is None or record["manifest_sha256"] != digest:
        stages.canvas(run, context)
        device = context.resolved_device()
        own_seed = randomness.seed_for(seed, "retrain")
        with run.timed("retrain"):
            stages.train_unit(
                run, unit, kept, own_seed, folder, device, context.report, manifest_sha256=digest
            )
    return run.path / folder


# Probes


def probe_data(
    run: Run | None,
    name: str,
    context: Context,
    home: Path,
    *,
    size: int,
    channels: int,
) -> ProbeSet:
    """Return the probe set of ``self`` or of a SOURCE, decoded at an encoder's size.

    Args:
        run: The run the encoder belongs to; None for an encoder on its own.
        name: ``self`` or a SOURCE.
        context: Where a SOURCE's data lies, and how to report.
        home: Folder that keeps what was read of sources.
        size: Side of the encoder's images.
        channels: 1 or 3.

    Raises:
        DataError: If samples have no labels, or are too few.
        UsageError: If ``self`` is asked for without a run.
    """
    if name == "self":
        if run is None:
            raise UsageError("probe on 'self' needs an encoder inside a run; use --on SOURCE.")
        images = stages.canvas(run, context)
        rows = stages.index(run, INDEXED)
        return probe_set("self", images, rows, run.facts()["test_role"])
    fit = run.recipe.data.fit if run else "crop"
    wanted = {
        "source": name,
        "data": str(context.data.resolve()) if context.data else None,
        "canvas": {"size": size, "channels": channels, "fit": fit},
    }
    digest = hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()[:8]
    folder = home / f"{slug(name)}-{digest}"
    ready, images_path = folder / "ready.json", folder / "canvas.npy"
    if not ready.is_file():
        # An interrupted reading is begun again.
        shutil.rmtree(folder, ignore_errors=True)
        source = sources.open_source(name, split="train", data=context.data)
        parts = [(source, "train")]
        test = stages.split_for_tests("auto", source.splits, "train")
        if test:
            parts.append((sources.open_source(name, split=test, data=context.data), "test"))
        shards.write(parts, folder / "shards", report=context.report)
        build_canvas(
            folder / "shards",
            images_path,
            size=size,
            channels=channels,
            fit=fit,
            report=context.report,
        )
        write_json(ready, {**wanted, "test_role": "test" if test else None})
    rows = shards.Reader(folder / "shards").index(INDEXED)
    return probe_set(name, open_canvas(images_path, rows), rows, read_json(ready)["test_role"])


def probe_encoder(
    folder: Path,
    context: Context,
    *,
    on: Sequence[str],
    kinds: Sequence[str],
) -> dict[str, Any]:
    """Probe an encoder on sources; writes ``probes/*.json`` where it belongs to a run.

    Args:
        folder: The encoder's.
        context: Device, progress, and where the data of a SOURCE lies.
        on: ``self`` (the labels of the encoder's run) or SOURCEs.
        kinds: As in ``probes.PROBES``.
    """
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} holds no encoder (weights.safetensors and config.json).")
    encoder = load_encoder(folder, device=context.resolved_device())
    home = rundir.enclosing(folder)
    if home is None:
        with tempfile.TemporaryDirectory(prefix="curate-") as temporary:
            results = _probe(None, encoder, context, Path(temporary), on, kinds)
        return {"encoder": str(folder), "results": results, "path": None}
    run = Run.open(home)
    with run.timed("probe"):
        results = _probe(run, encoder, context, home / "probes" / "data", on, kinds)
    place = folder.resolve().relative_to(home)
    path = run.path / "probes" / f"{slug(str(place))}-on-{slug('-'.join(on))}.json"
    write_json(path, {"encoder": str(place), "results": results})
    return {"encoder": str(folder), "results": results, "path": str(path)}


def _probe(
    run: Run | None,
    encoder: Encoder,
    context: Context,
    home: Path,
    on: Sequence[str],
    kinds: Sequence[str],
) -> list[dict[str, Any]]:
    size, channels = encoder.size, encoder.channels
    sets = [probe_data(run, name, context, home, size=size, channels=channels) for name in on]
    return [r for data in sets for r in probe(encoder, data, tuple(kinds), report=context.report)]


# Comparison


def compare(
    run: Run,
    context: Context,
    *,
    remove: Sequence[int],
    strategies: Sequence[str],
    seeds: int,
    budget: str,
) -> dict[str, Any]:
    """Train on selections of equal size with paired seeds, probe each, and compare with random.

    Seed s of every strategy shares initialisation and the views of shared samples, so that the
    difference within a seed is the selection's.

    Args:
        run: A run; what is missing for scores is done.
        context: Device, workers, progress.
        remove: How many of the scored samples to remove, one comparison each.
        strategies: As in ``select``; ``random`` is what the others are compared with.
        seeds: Paired repetitions.
        budget: ``epochs`` (fewer samples are fewer steps) or ``steps`` (as many as on all samples).

    Returns:
        What ``comparison.json`` holds, and the folder it lies in.

    Raises:
        UsageError: If there are not so many samples to remove.
        DataError: If samples to be probed on have no labels.
    """
    scoring.score(run, context)
    scored = run.scores()
    scored = scored.filter(scored["memorization"].is_valid())
    uids = np.array(scored["uid"].to_pylist(), dtype=object)
    remove = tuple(dict.fromkeys(remove))
    check_removals(remove, len(uids))
    strategies = tuple(dict.fromkeys((*strategies, comparison.CONTROL)))
    name = f"remove-{'-'.join(map(str, remove))}-{'-'.join(strategies)}-{seeds}-seeds-{budget}"
    folder, unit = run.path / "comparisons" / name, f"compare/{name}"
    if not run.done(unit):
        config = run.recipe
        settings = {
            "remove": list(remove),
            "strategies": list(strategies),
            "seeds": seeds,
            "budget": budget,
            "probes": {"sources": list(config.probe.sources), "kinds": list(config.probe.kinds)},
        }
        # Before hours of training, not after, it shows whether there is anything to probe on.
        probed = probe_sets(run, context)
        with run.timed("compare"):
            arms = _train_arms(run, context, name, scored, remove, strategies, seeds, budget)
            rows = []
            for done, (about, place) in enumerate(arms, 1):
                encoder = load_encoder(run.path / place, device=context.resolved_device())
                for data in probed:
                    rows += [{**about, **f} for f in probe(encoder, data, config.probe.kinds)]
                context.report("probe", done, len(arms))
            summary = comparison.summarise(rows, len(uids)) | {"settings": settings}
            run.complete(unit, comparison.write(folder, rows, summary))
    return {**read_json(folder / "comparison.json"), "path": str(folder)}


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


def probe_sets(run: Run, context: Context) -> list[ProbeSet]:
    """Return what the recipe's probes are fitted and tested on.

    Raises:
        DataError: If samples have no labels, or are too few.
    """
    data, home = run.recipe.data, run.path / "probes" / "data"
    # --data says where the run's own source lies, and nothing of another's.
    elsewhere = Context(context.device, context.workers, None, context.report)
    return [
        probe_data(
            run,
            name,
            context if name == "self" else elsewhere,
            home,
            size=data.size,
            channels=data.channels,
        )
        for name in run.recipe.probe.sources
    ]


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
    everything = stages.own_uids(run)
    uids = np.array(scored["uid"].to_pylist(), dtype=object)
    memorization = scored["memorization"].to_numpy()
    config = run.recipe.train
    batch = min(config.batch_size, len(everything))
    steps = config.epochs * (len(everything) // batch) if budget == "steps" else None
    stages.canvas(run, context)
    device = context.resolved_device()
    arms, units = [], []
    for n in remove:
        for strategy in strategies:
            for seed in range(seeds):
                kept = selectors.select(strategy, memorization, uids, len(uids) - n, seed)
                arm = f"{strategy}-{n}-s{seed}"
                place = f"comparisons/{name}/encoders/{arm}"
                arms.append(({"strategy": strategy, "remove": n, "seed": seed}, place))
                arguments = {
                    "path": run.path,
                    "unit": f"compare/{name}/{arm}",
                    "folder": place,
                    # What the plan left unscored stays: only scores are compared.
                    "kept": np.setdiff1d(everything, uids[~kept]),
                    "seed": randomness.seed_for(config.seed, "compare", seed),
                    "device": device,
                    "steps": steps,
                }
                if not run.done(f"compare/{name}/{arm}"):
                    units.append(Unit(f"compare {arm}", train_arm, arguments))
    if units:
        run.check_code(f"compare/{name}")
    run_units(units, context.training_workers(run.recipe), context.report)
    return arms


def train_arm(
    path: Path,
    unit: str,
    folder: str,
    kept: np.ndarray,
    seed: int,
    device: str,
    steps: int | None,
    report: Report = silent,
) -> None:
    """Train one arm of a comparison: a unit of work."""
    stages.train_unit(Run.open(path), unit, kept, seed, folder, device, report, steps=steps)
