"""From alignments to scores: the memorization of every sample.

It goes shard by shard, so that memory does not grow with the dataset.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.shards import Reader
from curate.encoders.schedule import snapshot_epochs
from curate.errors import DivergedError
from curate.runs import alignments, more_views, units
from curate.runs.run import Run
from curate.runtime.engines import LOCAL
from curate.runtime.engines.base import Engine
from curate.runtime.files import on_disk, replacing, write_json
from curate.runtime.intervals import CONFIDENCE
from curate.runtime.options import option
from curate.runtime.progress import Progress, silent
from curate.scores import estimator, separation
from curate.scores.alignment import Alignment
from curate.scores.plan import Plan
from curate.scores.standard_errors import Prior
from curate.scores.summary import Interval, ScoreSummary
from curate.scores.table import SCORE_SCHEMA, ScoreTable
from curate.stages import expectation, train
from curate.stages.align import END, Moment, align
from curate.stages.context import Context
from curate.stages.placement import Part, Placed, by_shard

COLLAPSED = 1e-6
"""An encoder whose largest alignment is below this maps all views of every sample to one point."""
NO_HALVES = (np.empty(0), np.empty(0))


def score_run(run: Run, context: Context) -> ScoreSummary:
    """Turn alignments into scores.

    Where the recipe keeps snapshots, they are scored as well, into ``snapshots/EPOCH/``, and
    ``snapshots.json`` has the summaries along the training (Fig. 2b of arXiv 2401.12233).

    Raises:
        DivergedError: If an encoder collapsed; no scores are written.
    """
    summary = _score(run, context, END)
    unit = snapshots(run)
    if unit is not None and not unit.intact():
        epochs = snapshot_epochs(run.recipe.train)
        along = {epoch: _score(run, context, Moment(epoch)) for epoch in epochs}
        path = run.path / "snapshots.json"
        rows = [
            {"epoch": epoch, "loss": _mean_loss(run, epoch), **scores.to_json()}
            for epoch, scores in {**along, run.recipe.train.epochs: summary}.items()
        ]
        with unit.making():
            write_json(path, {"epochs": rows})
            unit.complete([path])
    return summary


def snapshots(run: Run) -> units.Unit | None:
    """Return the unit of the summaries along the training, None where the recipe keeps none."""
    if not run.recipe.train.snapshots:
        return None
    return units.Unit(run, "snapshots", {"score": units.score(run).key})


def _mean_loss(run: Run, epoch: int) -> float | None:
    """Return the loss in an epoch, averaged over the encoders; None where it was not finite."""
    losses = []
    for name in Plan.read(run.path / "plan.parquet").encoders:
        with (run.path / "encoders" / name / "log.jsonl").open(encoding="utf-8") as log:
            losses += [line["loss"] for line in map(json.loads, log) if line["epoch"] == epoch]
    return None if None in losses else float(np.mean(losses))


def _score(run: Run, context: Context, when: Moment) -> ScoreSummary:
    """Score the encoders as they were at one moment of their training."""
    path, summary_path = when.file(run, "scores.parquet"), when.file(run, "scores.json")
    train.train_run(run, context)
    unit = units.score(run, when.place)
    if unit.intact():
        return ScoreSummary.read(path.parent)
    plan, late = align(run, context, when).known()
    recipe = run.recipe
    with unit.making("score"):
        offsets = _offsets(run, plan, when)
        n, scratch = len(plan.rows), run.path / "cache"
        memorization_N = on_disk(n, np.float64, scratch)
        delta_N = on_disk(n, np.float64, scratch) if plan.kind == "pair" else None
        errors = estimator.Errors()
        for part, estimate, *_ in _estimates(run, plan, offsets, when):
            errors.add(estimate)
            memorization_N[part.rows] = estimate.memorization
            if delta_N is not None:
                delta_N[part.rows] = estimate.delta
        ranks_N = estimator.rank(memorization_N, scratch)
        folders = {e: train.encoder_folder(run, context, e) / when.place for e in plan.encoders}
        collected = expectation.Collected(run, plan, errors)
        prior = errors.prior
        for part, estimate, _, halves in _estimates(run, plan, offsets, when, prior, halved=True):
            collected.add(part, estimate, halves)
        awaited = expectation.expected(collected, folders, context)
        signal = separation.summarise(
            memorization_N,
            errors,
            plan.group,
            delta=delta_N,
            fixed_groups=plan.kind in ("pair", "halves"),
            looks=run.looks(),
        ).to_json()
        more = more_views.more_views(run) if when == END else more_views.NONE
        about = {
            "views": recipe.score.views,
            "more_views": more.facts(),
            "pairing": recipe.score.pairing,
            "distance": recipe.score.distance,
            "representation": recipe.encoder.representation,
            "calibrated": recipe.score.calibrate,
            "encoders": list(plan.encoders),
            "interval": interval(prior),
            "offsets": dict(zip(plan.encoders, offsets.tolist(), strict=True)),
            "expectation": awaited.facts.to_json(),
        }
        summary = ScoreSummary.from_json(signal | about)
        with (
            replacing(path) as temporary,
            pq.ParquetWriter(temporary, SCORE_SCHEMA, compression="zstd") as out,
        ):
            classes = Reader(run.path / "shards").classes
            # Estimated once more: to keep all columns would take 80 bytes a sample.
            for part, estimate, views, _ in _estimates(run, plan, offsets, when, prior):
                group, ranks = plan.group[part.rows], ranks_N[part.rows]
                more_columns = awaited.columns(part.rows)
                table = ScoreTable.build(
                    *(part.index, part.uids, group, estimate, ranks, views, more_columns),
                    classes=classes,
                )
                out.write_table(table.table)
            for table in unseen(run, late, offsets, when):
                out.write_table(table)
        write_json(summary_path, summary.to_json())
        unit.complete([path, summary_path])
    return summary


def unseen(run: Run, late: Placed, offsets: np.ndarray, when: Moment = END) -> Iterator[pa.Table]:
    """Yield the rows that scores have of samples that came too late for every encoder, by shard."""
    classes = Reader(run.path / "shards").classes
    for part, estimate, views, _ in _estimates(run, late, offsets, when):
        group, ranks = late.group[part.rows], np.zeros(len(part.rows), dtype=np.int64)
        about = (part.index, part.uids, group, estimate, ranks, views)
        yield ScoreTable.build(*about, classes=classes).table


def reestimated(run: Run, made: Placed, repeats: Collection[int]) -> np.ndarray:
    """Return the memorization that some repeats of a scored run's plan give alone, re-estimated.

    Returns:
        (N,) float64 in the order of the plan (``made``), NaN where they do not define it.
    """
    some = made.of_repeats(repeats)
    offsets = _offsets(run, some, END)
    memorization_N = on_disk(len(made.rows), np.float64, run.path / "cache")
    for part, estimate, *_ in _estimates(run, some, offsets, END):
        memorization_N[part.rows] = estimate.memorization
    return memorization_N


def interval(prior: Prior) -> Interval:
    """Return how ``se`` becomes an interval."""
    estimable = np.isfinite(prior.total_freedom) and prior.total_freedom > 0
    return Interval(CONFIDENCE, prior.total_freedom if estimable else None, prior.quantile)


def _offsets(run: Run, plan: Placed, when: Moment) -> np.ndarray:
    """Return the level of each encoder, (E,), and find out whether one collapsed."""
    fitted = estimator.calibrates(plan.group)
    fit = estimator.OffsetFit(len(plan.encoders))
    largest = np.zeros(len(plan.encoders))
    for part in by_shard(run, plan):
        # The views that all samples have: some have more.
        align_nE = np.stack([a.align for a in _alignments(run, plan, when, part.name)], axis=1)
        mask = fitted[part.rows]
        fit.add(align_nE[mask], plan.inclusion[part.rows][mask])
        largest = np.maximum(largest, align_nE.max(axis=0, initial=0.0))
    for name, value in zip(plan.encoders, largest, strict=True):
        if value < COLLAPSED:
            raise DivergedError(
                f"encoder {name} of {run.path} collapsed: all its views have one representation. "
                f"Train longer or with a lower train.lr, with {option(fresh=True)}; no scores were "
                "written."
            )
    return fit.offsets()


def _estimates(
    run: Run,
    plan: Placed,
    offsets: np.ndarray,
    when: Moment,
    prior: Prior | None = None,
    *,
    halved: bool = False,
) -> Iterator[tuple[Part, estimator.Estimate, int, tuple[np.ndarray, np.ndarray]]]:
    """Yield the samples of each shard, their scores, the number of their views, and their halves.

    Halves (``estimator.halves``) are empty unless ``halved``.
    """
    more = more_views.more_views(run) if when == END else more_views.NONE
    cells = expectation.cells(run)
    for whole in by_shard(run, plan):
        views = more.of(whole.uids)
        for k in np.unique(views):
            mask = views == k
            name = more_views.further(whole.name) if k else whole.name
            alignments_E = _alignments(run, plan, when, name, int(k))
            rows = slice(None) if k else mask
            part = whole.only(mask)
            align_nE = np.stack([a.align[rows] for a in alignments_E], axis=1)
            left_out_nEK = np.stack([a.leave_one_out[rows] for a in alignments_E], axis=1)
            inclusion = plan.inclusion[part.rows]
            calibrate = run.recipe.score.calibrate
            estimate = estimator.estimate(
                align_nE,
                left_out_nEK,
                inclusion,
                offsets,
                repeat=plan.repeats,
                calibrate=calibrate,
                pair=plan.kind in ("pair", "halves"),
                prior=prior,
            )
            halves = NO_HALVES
            if halved:
                level = offsets if calibrate else np.zeros_like(offsets)
                halves = estimator.halves(
                    align_nE, left_out_nEK, inclusion, level, repeat=plan.repeats, cells=cells
                )
            yield part, estimate, int(k) or run.recipe.score.views, halves


def _alignments(run: Run, plan: Placed, when: Moment, name: str, views: int = 0) -> list[Alignment]:
    """Return what each encoder was measured to be, of one file: of those with so many views."""
    tables = alignments.read(run, plan.encoders, name, when.place)
    return [
        Alignment.from_table(t.filter(pc.equal(t["n_views"], views)) if views else t)
        for t in (tables[e] for e in plan.encoders)
    ]


@dataclass(frozen=True, kw_only=True)
class Scored(ScoreSummary):
    """The scores of a run, and what is said of them.

    Attributes:
        path: ``scores.parquet``.
        already: Whether the run was scored before.
    """

    path: Path
    already: bool


def _is_scored(run: Run) -> bool:
    """Return whether a run's scores are there, and what they were made from is recorded."""
    members, along = units.members(run), snapshots(run)
    if not members or not units.plan(run).intact():
        return False
    trained = (units.train(run, name) for name in members)
    # Encoders that were deleted are not trained again for scores that are there.
    recorded = all((run.record(u.name) or {}).get("key") == u.key for u in trained)
    score_units = [units.score(run), *([along] if along else [])]
    return recorded and all(unit.intact() for unit in score_units)


def score(
    run: Run,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    engine: str | Engine | None = LOCAL,
    progress: Progress = silent,
) -> Scored:
    """Score every candidate of a run; what is missing before that is done first."""
    with run.lock():
        already = _is_scored(run)
        if not already:
            score_run(run, Context.of(run, data, device, workers, progress, engine))
    table = run.path / "scores.parquet"
    return Scored.load(run.path / "scores.json", path=table, already=already)
