"""The stages from encoders to scores: alignment of every encoder, then memorization.

Both go shard by shard, so that memory does not grow with the dataset.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.encoders.backbone import load_encoder
from curate.encoders.training import snapshot_epochs, snapshot_name
from curate.errors import DataError, DivergedError
from curate.runs import more_views, units
from curate.runs.run import Run
from curate.runtime import randomness
from curate.runtime.files import on_disk, read_json, replacing, write_json, write_table
from curate.runtime.intervals import CONFIDENCE
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result
from curate.scores import estimator, separation
from curate.scores.alignment import Alignment, align_images
from curate.scores.plan import Plan
from curate.scores.significance import check, tests
from curate.scores.standard_errors import Prior
from curate.scores.summary import Interval, ScoreSummary
from curate.scores.table import SCORE_SCHEMA, ScoreTable
from curate.stages import shard, train
from curate.stages.context import Context
from curate.stages.placement import Part, Placed, by_shard, placed

COLLAPSED = 1e-6
"""An encoder whose largest alignment is below this maps all views of every sample to one point."""


@dataclass(frozen=True)
class Moment:
    """When in their training the encoders are measured.

    Attributes:
        epoch: After how many epochs; None for its end.
    """

    epoch: int | None = None

    @property
    def place(self) -> str:
        """What units and files of this moment begin with."""
        return "" if self.epoch is None else f"{snapshot_name(self.epoch)}/"

    def encoder(self, run: Run, name: str) -> Path:
        """Return the folder of an encoder as it was then."""
        return run.path / "encoders" / name / self.place

    def unit(self, name: str) -> str:
        """Return the name of a unit of work."""
        return f"{self.place}{name}"

    def file(self, run: Run, name: str) -> Path:
        """Return a file of the run."""
        return run.path / self.place / name


END = Moment()


def align(run: Run, context: Context, when: Moment = END) -> Placed:
    """Measure the alignment of every encoder on every sample of the plan."""
    made = placed(run, train.train_run(run, context))
    _align(run, context, when, made, lambda part: [(part, run.recipe.score.views)])
    more = more_views.more_views(run)
    if when == END and len(more.uids):
        _align(run, context, when, made, lambda part: _by_views(part, more), more_views.further)
    return made


def _by_views(part: Part, more: more_views.MoreViews) -> list[tuple[Part, int]]:
    """Return the samples of a shard that get more views than the others, by how many."""
    views = more.of(part.uids)
    return [(part.only(views == k), int(k)) for k in np.unique(views) if k]


def _align(
    run: Run,
    context: Context,
    when: Moment,
    made: Placed,
    shown: Callable[[Part], list[tuple[Part, int]]],
    named: Callable[[str], str] = str,
) -> None:
    """Measure samples of every shard, where that is not done yet.

    Args:
        run: The run.
        context: Device, workers, progress.
        when: When in their training encoders are measured.
        made: The plan.
        shown: Gives the samples of a shard that are measured, by their number of views.
        named: Gives the name of a unit, and the stem of its file, from that of the shard.
    """
    sizes = {part.name: sum(len(p.rows) for p, _ in shown(part)) for part in by_shard(run, made)}
    digests = shard_digests(run)
    wanted = {
        (s, e): units.align(
            run,
            when.unit(f"align/{e}/{named(s)}"),
            e,
            digests[s],
            more=named is not str,
        )
        for s, size in sizes.items()
        if size
        for e in made.encoders
    }
    missing: dict[str, list[str]] = {}
    device = context.resolved_device()
    for (s, e), unit in wanted.items():
        if not unit.intact() and not unit.fetch(device):
            missing.setdefault(s, []).append(e)
    if not missing:
        return
    run.check_code("align", wanted.values())
    pixels, config = shard.pixels(run, context), run.recipe
    used = [e for e in made.encoders if any(e in names for names in missing.values())]
    encoders = {
        e: load_encoder(train.encoder_folder(run, context, e) / when.place, device=device)
        for e in used
    }
    with run.timed("align"):
        done, total = 0, sum(sizes[s] for s in missing)
        context.progress("align", done, total)
        for part in by_shard(run, made):
            names = missing.get(part.name, [])
            if not names:
                continue
            tables: dict[str, list[pa.Table]] = {e: [] for e in names}
            for some, views in shown(part):
                found = align_images(
                    {e: encoders[e] for e in names},
                    pixels[some.places],
                    randomness.uid_keys(some.uids),
                    config.measuring_views(),
                    config.score.model_copy(update={"views": views}),
                    representation=config.encoder.representation,
                    device=device,
                )
                for name, alignment in found.items():
                    if not np.isfinite(alignment.align).all():
                        raise DivergedError(
                            f"encoder {name} of {run.path} gives representations that are not "
                            "finite; lower train.lr or set train.clip_norm, and start over with "
                            "--fresh."
                        )
                    tables[name].append(alignment.to_table(some.uids, views))
                done += len(some.uids)
                context.progress("align", done, total)
            for name, found_here in tables.items():
                table = pa.concat_tables(found_here)
                path = when.file(run, f"alignment/{name}/{named(part.name)}.parquet")
                unit = wanted[part.name, name]
                with unit.making():
                    write_table(path, table)
                    unit.complete([path], device, n=table.num_rows)


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


def shard_digests(run: Run) -> dict[str, str]:
    """Return the sha256 of each shard by its stem."""
    record = run.done("shard")
    assert record is not None, "shards come first"
    return {
        Path(name).stem: output["sha256"]
        for name, output in record["outputs"].items()
        if name.endswith(".tar")
    }


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
    made, recipe = align(run, context, when), run.recipe
    with unit.making("score"):
        offsets = _offsets(run, made, when)
        n, scratch = len(made.rows), run.path / "cache"
        memorization_N = on_disk(n, np.float64, scratch)
        delta_N = on_disk(n, np.float64, scratch) if made.kind == "pair" else None
        errors = estimator.Errors()
        for part, found, _ in _estimates(run, made, offsets, when):
            errors.add(found)
            memorization_N[part.rows] = found.memorization
            if delta_N is not None:
                delta_N[part.rows] = found.delta
        ranks_N = estimator.rank(memorization_N, scratch)
        signal = separation.summarise(
            memorization_N,
            errors,
            made.group,
            delta=delta_N,
            fixed_groups=made.kind in ("pair", "halves"),
        )
        more = more_views.more_views(run) if when == END else more_views.NONE
        about = {
            "views": recipe.score.views,
            "more_views": more.facts(),
            "pairing": recipe.score.pairing,
            "distance": recipe.score.distance,
            "representation": recipe.encoder.representation,
            "calibrated": recipe.score.calibrate,
            "encoders": list(made.encoders),
            "interval": interval(errors.prior),
            "offsets": dict(zip(made.encoders, offsets.tolist(), strict=True)),
        }
        summary = ScoreSummary.from_json(signal | about)
        with (
            replacing(path) as temporary,
            pq.ParquetWriter(temporary, SCORE_SCHEMA, compression="zstd") as out,
        ):
            # Estimated once more: to keep all columns would take 80 bytes a sample.
            for part, found, views in _estimates(run, made, offsets, when, errors.prior):
                group, ranks = made.group[part.rows], ranks_N[part.rows]
                table = ScoreTable.build(part.index, part.uids, group, found, ranks, views)
                out.write_table(table.table)
        write_json(summary_path, summary.to_json())
        unit.complete([path, summary_path])
    return summary


def interval(prior: Prior) -> Interval:
    """Return how ``se`` becomes an interval."""
    known = np.isfinite(prior.total_freedom) and prior.total_freedom > 0
    return Interval(CONFIDENCE, prior.total_freedom if known else None, prior.quantile)


def _offsets(run: Run, made: Placed, when: Moment) -> np.ndarray:
    """Return the level of each encoder, (E,), and find out whether one collapsed."""
    fitted = estimator.calibrates(made.group)
    fit = estimator.OffsetFit(len(made.encoders))
    largest = np.zeros(len(made.encoders))
    for part in by_shard(run, made):
        # The views that all samples have: some have more.
        align_nE = np.stack([a.align for a in _alignments(run, made, when, part.name)], axis=1)
        chosen = fitted[part.rows]
        fit.add(align_nE[chosen], made.inclusion[part.rows][chosen])
        largest = np.maximum(largest, align_nE.max(axis=0, initial=0.0))
    for name, value in zip(made.encoders, largest, strict=True):
        if value < COLLAPSED:
            raise DivergedError(
                f"encoder {name} of {run.path} collapsed: all its views have one representation. "
                "Train longer or with a lower train.lr, with --fresh; no scores were written."
            )
    return fit.offsets()


def _estimates(
    run: Run, made: Placed, offsets: np.ndarray, when: Moment, prior: Prior | None = None
) -> Iterator[tuple[Part, estimator.Estimate, int]]:
    """Yield the samples of each shard, their scores, and with how many views they were measured."""
    more = more_views.more_views(run) if when == END else more_views.NONE
    for whole in by_shard(run, made):
        views = more.of(whole.uids)
        for k in np.unique(views):
            chosen = views == k
            name = more_views.further(whole.name) if k else whole.name
            found = _alignments(run, made, when, name, int(k))
            rows = slice(None) if k else chosen
            part = whole.only(chosen)
            yield (
                part,
                estimator.estimate(
                    np.stack([a.align[rows] for a in found], axis=1),
                    np.stack([a.leave_one_out[rows] for a in found], axis=1),
                    made.inclusion[part.rows],
                    offsets,
                    repeat=made.repeats,
                    calibrate=run.recipe.score.calibrate,
                    pair=made.kind in ("pair", "halves"),
                    prior=prior,
                ),
                int(k) or run.recipe.score.views,
            )


def _alignments(run: Run, made: Placed, when: Moment, name: str, views: int = 0) -> list[Alignment]:
    """Return what each encoder was measured to be, of one file: of those with so many views."""
    tables = (pq.read_table(when.file(run, f"alignment/{e}/{name}.parquet")) for e in made.encoders)
    return [
        Alignment.from_table(t.filter(pc.equal(t["n_views"], views)) if views else t)
        for t in tables
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


def score(
    run: Run,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    workers: int | None = 1,
    progress: Progress = silent,
) -> Scored:
    """Score every candidate of a run; what is missing before that is done first."""
    with run.lock():
        parts = [units.score(run) if units.members(run) else None, snapshots(run)]
        wanted = parts if run.recipe.train.snapshots else parts[:1]
        already = all(unit is not None and unit.intact() for unit in wanted)
        if not already:
            score_run(run, Context.of(run, data, device, workers, progress))
    content = read_json(run.path / "scores.json")
    return Scored.from_json({**content, "path": run.path / "scores.parquet", "already": already})


@dataclass(frozen=True)
class Significant(Result):
    """The samples whose memorization is above 0 beyond chance.

    Attributes:
        fdr: Expected share of false ones among them.
        n_tested: Samples that have a score.
        n: How many are significant.
        samples: Their uid, memorization, se, p and q, the surest first.
    """

    fdr: float
    n_tested: int
    n: int
    samples: pa.Table


def significant(run: Run, fdr: float = 0.05) -> Significant:
    """Return the samples of a scored run whose memorization is above 0 beyond chance.

    Args:
        run: A scored run whose plan shows how much encoders err.
        fdr: Expected share of false ones among those returned (Benjamini & Hochberg 1995).

    Raises:
        UsageError: If ``fdr`` is not between 0 and 1.
        DataError: If the run is not scored, or its plan has one encoder a side.
    """
    check(fdr)
    table = run.scores().select(["uid", "memorization", "se"])
    table = table.filter(table["memorization"].is_valid())
    summary = ScoreSummary.read(run.path)
    if summary.reliability.encoders is None:
        raise DataError(
            f"run {run.path} has one encoder on each side, whose errors cannot be told from "
            "memorization; give the plan repeats (--set plan.repeats=3)."
        )
    p, q = tests(
        table["memorization"].to_numpy(),
        table["se"].to_numpy(),
        freedom=summary.interval.freedom,
    )
    found = np.flatnonzero(q <= fdr)
    found = found[np.lexsort((found, p[found]))]
    rows = table.take(pa.array(found))
    rows = rows.append_column("p", pa.array(p[found])).append_column("q", pa.array(q[found]))
    return Significant(fdr, len(p), len(found), rows)
