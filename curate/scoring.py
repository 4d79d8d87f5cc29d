"""The stages from encoders to scores: alignment of every encoder, then memorization.

Both go shard by shard, so that memory does not grow with the dataset.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import doubt, memorization, separation, stages
from curate.align import Alignment, align_images
from curate.backbone import load_encoder
from curate.contrasts import CONFIDENCE, Prior
from curate.errors import DataError, DivergedError
from curate.records.plan import Plan
from curate.records.sample import packed_uids
from curate.records.scores import SCORE_SCHEMA, ScoreTable
from curate.rundir import Run
from curate.runtime import randomness
from curate.runtime.files import on_disk, read_json, replacing, write_json, write_table
from curate.shards import Reader
from curate.stages import Context
from curate.training import snapshot_epochs, snapshot_name

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
    made = placed(run, stages.train(run, context))
    _align(run, context, when, made, lambda part: [(part, run.recipe.score.views)])
    more = doubt.more_views(run)
    if when == END and len(more.uids):
        _align(run, context, when, made, lambda part: _by_views(part, more), doubt.further)
    return made


def _by_views(part: Part, more: doubt.MoreViews) -> list[tuple[Part, int]]:
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
    wanted = {
        s: [e for e in made.encoders if not run.done(when.unit(f"align/{e}/{named(s)}"))]
        for s, size in sizes.items()
        if size
    }
    missing = {s: names for s, names in wanted.items() if names}
    if not missing:
        return
    run.check_code(when.unit("align"))
    run.forget(when.unit("score"))
    pixels, device, config = stages.pixels(run, context), context.resolved_device(), run.recipe
    used = [e for e in made.encoders if any(e in names for names in missing.values())]
    encoders = {e: load_encoder(when.encoder(run, e), device=device) for e in used}
    with run.timed("align"):
        done, total = 0, sum(sizes[s] for s in missing)
        context.report("align", done, total)
        for part in by_shard(run, made):
            names = missing.get(part.name, [])
            if not names:
                continue
            tables: dict[str, list[pa.Table]] = {e: [] for e in names}
            for some, views in shown(part):
                found = align_images(
                    {e: encoders[e] for e in names},
                    pixels[some.places],
                    randomness.uid_words(some.uids),
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
                context.report("align", done, total)
            for name, found_here in tables.items():
                table = pa.concat_tables(found_here)
                path = when.file(run, f"alignment/{name}/{named(part.name)}.parquet")
                write_table(path, table)
                unit = when.unit(f"align/{name}/{named(part.name)}")
                run.complete(unit, [path], n=table.num_rows)


@dataclass(frozen=True)
class Placed:
    """A plan whose N samples are known by their places in the shards: uids take five times as much.

    Attributes:
        kind: As in the plan, and so are ``group``, ``encoders``, ``inclusion`` and ``repeats``.
        rows: (N,) int32, rows of the plan, shard by shard, in each sorted by uid.
        places: (N,) int32, the places of those samples in the index.
        starts: (S + 1,) int64; shard s has the samples from ``starts[s]`` to ``starts[s + 1]``.
    """

    kind: str
    group: np.ndarray
    encoders: tuple[str, ...]
    inclusion: np.ndarray
    repeats: np.ndarray
    rows: np.ndarray
    places: np.ndarray
    starts: np.ndarray


@dataclass(frozen=True)
class Part:
    """The samples of a plan that lie in one shard, n of them, sorted by uid.

    Attributes:
        name: The shard's stem.
        uids: (n,) bytes.
        rows: (n,) int32, their rows of the plan.
        places: (n,) int32, their places in the index.
        index: uid, key, shard and label of all samples of the shard.
    """

    name: str
    uids: np.ndarray
    rows: np.ndarray
    places: np.ndarray
    index: pa.Table

    def only(self, chosen: np.ndarray) -> Part:
        """Return some of the samples, by (n,) bool."""
        return replace(
            self, uids=self.uids[chosen], rows=self.rows[chosen], places=self.places[chosen]
        )


def placed(run: Run, made: Plan) -> Placed:
    """Find the samples of a plan in the shards of its run.

    Raises:
        DataError: If one is in none.
    """
    n, start, found = len(made.uids), 0, [0]
    rows, places = (on_disk(n, np.int32, run.path / "cache") for _ in range(2))
    for index in Reader(run.path / "shards").parts(["uid"]):
        uids = packed_uids(index["uid"])
        # A uid that is longer than any of the plan's is cut here, and differs below.
        at = np.searchsorted(made.uids, uids.astype(made.uids.dtype))
        at = np.minimum(at, n - 1)
        mine = np.flatnonzero(made.uids[at] == uids)
        mine = mine[np.argsort(at[mine], kind="stable")]
        new = slice(found[-1], found[-1] + len(mine))
        rows[new], places[new] = at[mine], start + mine
        found.append(new.stop)
        start += len(uids)
    if found[-1] != n:
        raise DataError(
            f"{n - found[-1]} of {n} samples of {run.path / 'plan.parquet'} are not in the shards' "
            "index; start over with --fresh."
        )
    return Placed(
        made.kind,
        made.group,
        made.encoders,
        made.inclusion,
        made.repeats,
        rows,
        places,
        np.array(found),
    )


def by_shard(run: Run, made: Placed) -> Iterator[Part]:
    """Yield the plan's samples shard by shard."""
    start = 0
    columns = ["uid", "key", "shard", "label"]
    for s, index in enumerate(Reader(run.path / "shards").parts(columns)):
        here = slice(made.starts[s], made.starts[s + 1])
        if here.start < here.stop:
            name, places = Path(index["shard"][0].as_py()).stem, made.places[here]
            uids = packed_uids(index["uid"])[places - start]
            yield Part(name, uids, made.rows[here], places, index)
        start += index.num_rows


def score(run: Run, context: Context) -> dict[str, Any]:
    """Turn alignments into scores; returns what ``scores.json`` says.

    Where the recipe keeps snapshots, they are scored as well, into ``snapshots/EPOCH/``, and
    ``snapshots.json`` has the summaries along the training (Fig. 2b of arXiv 2401.12233).

    Raises:
        DivergedError: If an encoder collapsed; no scores are written.
    """
    summary = _score(run, context, END)
    if run.recipe.train.snapshots and not run.done("snapshots"):
        epochs = snapshot_epochs(run.recipe.train)
        along = {epoch: _score(run, context, Moment(epoch)) for epoch in epochs}
        path = run.path / "snapshots.json"
        rows = [
            {"epoch": epoch, "loss": _mean_loss(run, epoch), **facts}
            for epoch, facts in {**along, run.recipe.train.epochs: summary}.items()
        ]
        write_json(path, {"epochs": rows})
        run.complete("snapshots", [path])
    return summary


def _mean_loss(run: Run, epoch: int) -> float | None:
    """Return the loss in an epoch, averaged over the encoders; None where it was not finite."""
    losses = []
    for name in Plan.read(run.path / "plan.parquet").encoders:
        with (run.path / "encoders" / name / "log.jsonl").open(encoding="utf-8") as log:
            losses += [line["loss"] for line in map(json.loads, log) if line["epoch"] == epoch]
    return None if None in losses else float(np.mean(losses))


def _score(run: Run, context: Context, when: Moment) -> dict[str, Any]:
    """Score the encoders as they were at one moment of their training."""
    path, summary_path = when.file(run, "scores.parquet"), when.file(run, "scores.json")
    if run.done(when.unit("score")):
        return read_json(summary_path)
    made, recipe = align(run, context, when), run.recipe
    with run.timed("score"):
        offsets = _offsets(run, made, when)
        n, scratch = len(made.rows), run.path / "cache"
        memorization_N = on_disk(n, np.float64, scratch)
        delta_N = on_disk(n, np.float64, scratch) if made.kind == "pair" else None
        errors = memorization.Errors()
        for part, found, _ in _estimates(run, made, offsets, when):
            errors.add(found)
            memorization_N[part.rows] = found.memorization
            if delta_N is not None:
                delta_N[part.rows] = found.delta
        ranks_N = memorization.rank(memorization_N, scratch)
        summary = separation.summarise(
            memorization_N,
            errors,
            made.group,
            delta=delta_N,
            fixed_groups=made.kind in ("pair", "halves"),
        )
        more = doubt.more_views(run) if when == END else doubt.NONE
        summary |= {
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
        with (
            replacing(path) as temporary,
            pq.ParquetWriter(temporary, SCORE_SCHEMA, compression="zstd") as out,
        ):
            # Estimated once more: to keep all columns would take 80 bytes a sample.
            for part, found, views in _estimates(run, made, offsets, when, errors.prior):
                group, ranks = made.group[part.rows], ranks_N[part.rows]
                table = ScoreTable.build(part.index, part.uids, group, found, ranks, views)
                out.write_table(table.table)
        write_json(summary_path, summary)
        run.complete(when.unit("score"), [path, summary_path])
    return summary


def interval(prior: Prior) -> dict[str, float | None]:
    """Return how ``se`` becomes an interval: ``memorization +- quantile * se`` holds 95 %."""
    known = np.isfinite(prior.total_freedom) and prior.total_freedom > 0
    return {
        "confidence": CONFIDENCE,
        "freedom": prior.total_freedom if known else None,
        "quantile": prior.quantile,
    }


def _offsets(run: Run, made: Placed, when: Moment) -> np.ndarray:
    """Return the level of each encoder, (E,), and find out whether one collapsed."""
    fitted = memorization.calibrates(made.group)
    fit = memorization.OffsetFit(len(made.encoders))
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
) -> Iterator[tuple[Part, memorization.Estimate, int]]:
    """Yield the samples of each shard, their scores, and with how many views they were measured."""
    more = doubt.more_views(run) if when == END else doubt.NONE
    for whole in by_shard(run, made):
        views = more.of(whole.uids)
        for k in np.unique(views):
            chosen = views == k
            name = doubt.further(whole.name) if k else whole.name
            found = _alignments(run, made, when, name, int(k))
            rows = slice(None) if k else chosen
            part = whole.only(chosen)
            yield (
                part,
                memorization.estimate(
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
