"""The stages from encoders to scores: alignment of every encoder, then memorization.

Both go shard by shard, so that memory does not grow with the dataset.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import keyed, memorization, stages
from curate.align import Alignment, align_images
from curate.atomic import read_json, write_json, write_table
from curate.backbone import load_encoder
from curate.errors import DivergedError
from curate.records.plan import Plan
from curate.records.scores import ScoreTable
from curate.rundir import Run
from curate.stages import Context
from curate.views import ViewSpec, spec

COLLAPSED = 1e-6
"""An encoder whose largest alignment is below this maps all views of every sample to one point."""


def align(run: Run, context: Context) -> Plan:
    """Measure the alignment of every encoder on every sample of the plan."""
    made = stages.train(run, context)
    parts = by_shard(run, made)
    wanted = {s: [e for e in made.encoders if not run.done(f"align/{e}/{s}")] for s in parts}
    missing = {s: names for s, names in wanted.items() if names}
    if not missing:
        return made
    run.check_code("align")
    run.forget("score")
    images, device, config = stages.canvas(run, context), context.resolved_device(), run.recipe
    views = measuring_views(run)
    used = [e for e in made.encoders if any(e in names for names in missing.values())]
    encoders = {e: load_encoder(run.path / "encoders" / e, device=device) for e in used}
    with run.timed("align"):
        done, total = 0, sum(len(parts[s]) for s in missing)
        context.report("align", done, total)
        for s, names in missing.items():
            uids = made.uids[parts[s]]
            found = align_images(
                {e: encoders[e] for e in names},
                images.array[images.rows(uids)],
                keyed.uid_words(uids),
                views,
                config.score,
                representation=config.encoder.representation,
                device=device,
            )
            for name, alignment in found.items():
                if not np.isfinite(alignment.align).all():
                    raise DivergedError(
                        f"encoder {name} of {run.path} gives representations that are not finite; "
                        "lower train.lr or set train.clip_norm, and start over with --fresh."
                    )
                path = run.path / "alignment" / name / f"{s}.parquet"
                write_table(path, alignment.to_table(uids, config.score.views))
                run.complete(f"align/{name}/{s}", [path], n=len(uids))
            done += len(uids)
            context.report("align", done, total)
    return made


def measuring_views(run: Run) -> ViewSpec:
    """Return the view set that scores are measured with."""
    chosen = run.recipe.views
    if chosen.measure == "train":
        return spec(chosen.train, chosen.settings)
    return spec(chosen.measure, {})


def by_shard(run: Run, made: Plan) -> dict[str, np.ndarray]:
    """Return the plan's rows of each shard, by the shard's stem, in the order of the shards."""
    rows = stages.index(run).select(["uid", "shard"])
    place = pc.index_in(pa.array(made.uids, pa.string()), value_set=rows["uid"].combine_chunks())
    names = rows["shard"].take(place).to_numpy().astype(str)
    found, which, counts = np.unique(names, return_inverse=True, return_counts=True)
    parts = np.split(np.argsort(which, kind="stable"), np.cumsum(counts)[:-1])
    return {Path(s).stem: part for s, part in zip(found, parts, strict=True)}


def score(run: Run, context: Context) -> dict[str, Any]:
    """Turn alignments into scores; returns what ``scores.json`` says.

    Raises:
        DivergedError: If an encoder collapsed; no scores are written.
    """
    path, summary_path = run.path / "scores.parquet", run.path / "scores.json"
    if run.done("score"):
        return read_json(summary_path)
    made, recipe = align(run, context), run.recipe
    with run.timed("score"):
        parts = by_shard(run, made)
        offsets = _offsets(run, made, parts)
        estimate = _estimate(run, made, parts, offsets)
        ranks = memorization.rank(estimate.memorization, made.uids)
        table = ScoreTable.build(
            stages.index(run), made.uids, made.group, estimate, ranks, recipe.score.views
        )
        summary = memorization.summarise(estimate, made.group, pair=made.kind == "pair")
        summary |= {
            "views": recipe.score.views,
            "pairing": recipe.score.pairing,
            "distance": recipe.score.distance,
            "representation": recipe.encoder.representation,
            "calibrated": recipe.score.calibrate,
            "encoders": list(made.encoders),
            "offsets": dict(zip(made.encoders, offsets.tolist(), strict=True)),
        }
        write_table(path, table.table)
        write_json(summary_path, summary)
        run.complete("score", [path, summary_path])
    return summary


def _offsets(run: Run, made: Plan, parts: dict[str, np.ndarray]) -> np.ndarray:
    """Return the level of each encoder, (E,), and find out whether one collapsed."""
    fitted = memorization.calibrates(made.group)
    fit = memorization.OffsetFit(len(made.encoders))
    largest = np.zeros(len(made.encoders))
    for s, rows in parts.items():
        align_nE, _ = _alignments(run, made, s)
        chosen = fitted[rows]
        fit.add(align_nE[chosen], made.inclusion[rows][chosen])
        largest = np.maximum(largest, align_nE.max(axis=0, initial=0.0))
    for name, value in zip(made.encoders, largest, strict=True):
        if value < COLLAPSED:
            raise DivergedError(
                f"encoder {name} of {run.path} collapsed: all its views have one representation. "
                "Train longer or with a lower train.lr, with --fresh; no scores were written."
            )
    return fit.offsets()


def _estimate(
    run: Run, made: Plan, parts: dict[str, np.ndarray], offsets: np.ndarray
) -> memorization.Estimate:
    """Return the scores of all samples of the plan, in its order."""
    columns: dict[str, np.ndarray] = {}
    for s, rows in parts.items():
        align_nE, left_out_nEK = _alignments(run, made, s)
        part = memorization.estimate(
            align_nE,
            left_out_nEK,
            made.inclusion[rows],
            offsets,
            repeat=made.repeats,
            calibrate=run.recipe.score.calibrate,
            pair=made.kind in ("pair", "halves"),
        )
        for name, values in vars(part).items():
            columns.setdefault(name, np.empty(len(made.uids)))[rows] = values
    return memorization.Estimate(**columns)


def _alignments(run: Run, made: Plan, s: str) -> tuple[np.ndarray, np.ndarray]:
    """Return align (n, E) and leave-one-out (n, E, K) of one shard."""
    found = [
        Alignment.from_table(pq.read_table(run.path / "alignment" / e / f"{s}.parquet"))
        for e in made.encoders
    ]
    align_nE = np.stack([a.align for a in found], axis=1)
    return align_nE, np.stack([a.leave_one_out for a in found], axis=1)
