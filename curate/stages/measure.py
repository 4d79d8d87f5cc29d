"""The stage that computes other people's measures of a run's samples: ``measures.parquet``.

What they say by one encoder is a unit of work, done on whatever machine; it is put together here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from threadpoolctl import threadpool_limits

from curate.data.canvas import Canvas
from curate.data.chunks import one_chunk
from curate.data.sample import packed_uids
from curate.encoders import classifier
from curate.encoders.backbone import Encoder, load_encoder, pool
from curate.encoders.views.apply import resized_crop
from curate.errors import DataError, DivergedError
from curate.evaluation import agreement
from curate.evaluation.agreement import Correlation, Ranking
from curate.runs import dataset, units
from curate.runs.attempts import attempting
from curate.runs.run import Run
from curate.runtime import randomness, versions
from curate.runtime.engines import LOCAL
from curate.runtime.engines.base import Engine, Unit
from curate.runtime.files import write_json, write_table
from curate.runtime.options import option
from curate.runtime.progress import Progress, silent
from curate.runtime.results import Result, plain
from curate.runtime.threads import torch_threads
from curate.scores import measures
from curate.scores.measures import MEASURES, Look, Measure, Samples
from curate.scores.measures.heads import Head
from curate.scores.measures.relative import of_alignment
from curate.scores.plan import Plan
from curate.stages import score, shard, train
from curate.stages.context import Context

CORNER = 0.5
"""Side of a corner as a share of the image's."""
BATCH = 256


@dataclass(frozen=True)
class MeasureRow(Result):
    """What is said of a measure.

    Attributes:
        n: Samples that have it.
        se: Mean standard error of a sample's; None of a measure that states none.
        mean: Over them.
        sd: Over them; None for fewer than two.
        text: What it is.
        spearman: With memorization; None where there is no telling, and so for ``kendall``.
        kendall: Tau-b.
    """

    n: int
    mean: float | None
    sd: float | None
    text: str
    spearman: Correlation | None
    kendall: Correlation | None
    se: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields, without ``se`` where there is none."""
        content = super().to_json()
        if self.se is None:
            del content["se"]
        return content


@dataclass(frozen=True)
class Measured(Result):
    """Other people's measures of a run's samples.

    Attributes:
        measures: Those that were asked for, by name.
        left_out: Names of those that need labels where there are none.
        path: ``measures.parquet``, with a column for each measure that was ever computed.
    """

    measures: dict[str, MeasureRow]
    left_out: tuple[str, ...]
    path: Path


def measure(
    run: Run,
    kinds: Sequence[str] | None = None,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    engine: str | Engine | None = LOCAL,
    progress: Progress = silent,
) -> Measured:
    """Compute other people's measures of a run's samples into ``measures.parquet``.

    A process looks into one encoder at a time, and holds its (N, D) representations. Measures that
    are there, of these scores and by this code, are kept, and so is what they say by encoders that
    have not changed.

    Args:
        run: A run; what is missing for scores is done first.
        kinds: Names in ``measures.MEASURES``; None takes all that can be computed.
        data: Where the recipe's source lies on this machine.
        device: ``auto``, ``cpu``, ``cuda``, or cards: ``cuda:0-7``.
        engine: As in ``curate.run``.
        progress: Progress callback.

    Raises:
        UsageError: For an unknown measure, one that needs labels where there are none, or one of
            classifiers where encoders have no heads.
    """
    with run.lock():
        return measure_run(run, Context.of(run, data, device, 1, progress, engine), kinds)


def measure_run(run: Run, context: Context, kinds: Sequence[str] | None) -> Measured:
    """Compute what is missing of some measures; the lock of the run is held."""
    path, summary_path = run.path / "measures.parquet", run.path / "measures.json"
    score.score_run(run, context)
    scores = run.scores(("memorization", "n_in", "n_out", "align_in", "align_out"))
    plan = Plan.read(run.path / "plan.parquet")
    canvas = shard.canvas(run, context)
    parts = (scores[c].to_numpy() for c in ("memorization", "align_in", "align_out"))
    samples = replace(
        _samples(run, plan, canvas)[0],
        align=_mean_alignment(scores),
        relative=of_alignment(*parts),
    )
    assert (packed_uids(scores["uid"]) == plan.uids).all()
    selected, left_out = measures.choose(kinds, samples.labelled, _are_classifiers(run, plan))
    columns = _kept(run, scores["uid"])
    if missing := [kind for kind in selected if kind not in columns]:
        with run.timed("measure"):
            columns |= _compute(run, context, missing, plan, samples)
    columns = {kind: columns[kind] for kind in MEASURES if kind in columns}
    unit = _unit(run)
    if missing:
        run.record_path(unit.name).unlink(missing_ok=True)
        table = {"uid": one_chunk(scores["uid"])}
        for kind, values in columns.items():
            table |= dict(zip(measures.columns(kind), values, strict=False))
        write_table(path, pa.table(table))
        every = {kind: _row(kind, values, scores) for kind, values in columns.items()}
        write_json(summary_path, plain({"measures": every, "left_out": left_out}))
        unit.complete([path, summary_path])
    return Measured(
        {kind: _row(kind, columns[kind], scores) for kind in selected}, tuple(left_out), path
    )


def _samples(
    run: Run, plan: Plan, canvas: Canvas
) -> tuple[Samples, np.ndarray, np.ndarray, np.ndarray]:
    """Return the samples of the plan, and the rows of the canvas that have them and public ones.

    The last are the numbers that the index has for the C classes, (C,) int64, ascending.
    """
    index = dataset.index(run, ["label", "split"])
    labels = index["label"].fill_null(-1).to_numpy()
    classes = np.unique(labels[labels >= 0])
    labels = np.where(labels >= 0, np.searchsorted(classes, labels), -1)
    rows = canvas.rows(plan.uids)
    role = run.facts().get("test_role")
    of_tests = pc.equal(index["split"], role).to_numpy() if role else np.zeros(len(labels), bool)
    public = np.flatnonzero(of_tests & (labels >= 0))
    samples = Samples(
        keys=randomness.uid_keys(plan.uids),
        labels=labels[rows],
        classes=len(classes),
        public_keys=randomness.uid_keys(canvas.uids[public]) if len(public) else np.zeros(0, "u8"),
        public_labels=labels[public],
    )
    return samples, rows, public, classes


def _are_classifiers(run: Run, plan: Plan) -> bool:
    """Return whether the run's encoders were trained with heads that were kept."""
    return all(
        f"encoders/{name}/{classifier.FILE}"
        in (run.record(f"train/{name}") or {"outputs": ()})["outputs"]
        for name in plan.encoders
    )


def _mean_alignment(scores: pa.Table) -> np.ndarray:
    """Return the alignment of every sample averaged over all encoders, (N,) float64."""
    parts = [
        (scores[f"n_{side}"].to_numpy(), scores[f"align_{side}"].to_numpy())
        for side in ("in", "out")
    ]
    total = sum(n * np.where(n > 0, mean, 0.0) for n, mean in parts)
    mean: np.ndarray = total / sum(n for n, _ in parts)
    return mean


def _unit(run: Run) -> units.Unit:
    """Return the unit of all measures together: one is kept for as long as it holds for them."""
    parts = {"scores": units.scores_digest(run), "code": versions.of_stage("measure")}
    return units.Unit(run, "measure", parts)


def _kept(run: Run, uids: pa.ChunkedArray) -> dict[str, tuple[pa.Array, ...]]:
    """Return the columns of the measures that are there and still hold, by name."""
    if _unit(run).intact() is None:
        return {}
    try:
        table = pq.read_table(run.path / "measures.parquet")
    except (OSError, pa.ArrowInvalid):
        return {}
    if not table["uid"].equals(uids):
        return {}
    return {
        kind: tuple(
            table[name].combine_chunks()
            for name in measures.columns(kind)
            if name in table.column_names
        )
        for kind in MEASURES
        if measures.column(kind) in table.column_names
    }


def _compute(
    run: Run, context: Context, kinds: Sequence[str], plan: Plan, samples: Samples
) -> dict[str, tuple[pa.Array, ...]]:
    """Return the columns of measures by name, (N,) float64 each with null where undefined."""
    by_kind: dict[str, Measure] = {kind: MEASURES[kind](samples) for kind in kinds}
    device = context.device_of_units()
    measurements: dict[int, units.Unit] = {}
    for e, name in enumerate(plan.encoders):
        if wanting := [kind for kind, m in by_kind.items() if m.wants(int(plan.repeats[e]))]:
            measurements[e] = units.measure(run, name, e, wanting, device)
    jobs = list(_jobs(run, context, plan, measurements, device))
    context.do(run, jobs, len(context.cards()), what="measure", of="encoders")
    for e, unit in measurements.items():
        table = pq.read_table(_file(run.path, plan.encoders[e]))
        for kind in unit.parts["kinds"]:
            by_kind[kind].take(table[measures.column(kind)].to_numpy(), plan.inclusion[:, e])
    return {kind: _columns(measure) for kind, measure in by_kind.items()}


def _columns(measure: Measure) -> tuple[pa.Array, ...]:
    """Return the numbers of a measure, and their standard errors if it states any."""
    every = (measure.values(), measure.errors())
    return tuple(pa.array(v, pa.float64(), from_pandas=True) for v in every if v is not None)


def _jobs(
    run: Run, context: Context, plan: Plan, measurements: dict[int, units.Unit], device: str
) -> Iterator[Unit]:
    """Yield what is left to do, for an engine: encoders that are to be looked into."""
    # As many as for a training, whoever does it: last digits go by them.
    threads = run.recipe.train.threads
    for e, unit in measurements.items():
        if unit.intact():
            continue
        name = plan.encoders[e]
        train.encoder_folder(run, context, name)
        # No attempt deletes what another one wrote.
        run.record_path(unit.name).unlink(missing_ok=True)
        arguments = {
            "path": run.path,
            "number": e,
            "kinds": unit.parts["kinds"],
            "device": device,
            "threads": threads,
        }
        cpus, gpus = (threads, 0) if device == "cpu" else (1, 1)
        yield Unit(f"measure {name}", measure_one, arguments, unit.key, cpus=cpus, gpus=gpus)


def measure_one(
    path: Path,
    number: int,
    kinds: Sequence[str],
    device: str,
    threads: int,
    progress: Progress = silent,
) -> None:
    """Look into one encoder, and write what some measures say by it: a unit of work.

    Args:
        path: The run's.
        number: Place of the encoder in the plan.
        kinds: Names of the measures.
        device: ``cuda``, or ``cpu``.
        threads: To compute with on a CPU.
        progress: Progress callback.

    Raises:
        DivergedError: If its representations are not finite.
    """
    run = Run.open(path)
    plan = Plan.read(run.path / "plan.parquet", scratch=run.path / "cache")
    name = plan.encoders[number]
    unit = units.measure(run, name, number, kinds, device)
    if unit.done():
        return  # Another attempt was there first.
    columns = {}
    # Products are added up in another order by other numbers of threads, which engines differ in.
    with torch_threads(threads, device), threadpool_limits(1, "blas"):
        look = _look(run, plan, number, device, heads=any(MEASURES[k].needs_heads for k in kinds))
        for done, kind in enumerate(kinds, 1):
            columns[measures.column(kind)] = MEASURES[kind](look.samples).says(look)
            progress("measure", done, len(kinds))
    with attempting(unit) as attempt:
        write_table(_file(attempt.folder, name), pa.table(columns))
        attempt.complete(device, keep=False)


def _look(run: Run, plan: Plan, number: int, device: str, *, heads: bool) -> Look:
    """Return what an encoder of the plan makes of the samples, with its own head if asked for.

    Raises:
        DivergedError: If its representations are not finite.
    """
    canvas = shard.canvas(run, Context("cpu"))
    samples, rows, public, numbers = _samples(run, plan, canvas)
    name = plan.encoders[number]
    folder = run.path / "encoders" / name
    encoder = load_encoder(folder, device=device)
    look = Look(
        samples=samples,
        number=number,
        repeat=int(plan.repeats[number]),
        inside=plan.inclusion[:, number],
        features=_features(encoder, canvas, rows),
        public=_features(encoder, canvas, public),
        corner=_corners(encoder, canvas, rows),
        own=own_head(folder, numbers) if heads else None,
    )
    if not (np.isfinite(look.features).all() and np.isfinite(look.public).all()):
        raise DivergedError(
            f"encoder {name} of {run.path} gives representations that are not finite; lower "
            f"train.lr or set train.clip_norm, and start over with {option(fresh=True)}."
        )
    return look


def own_head(folder: Path, numbers: np.ndarray) -> Head:
    """Return the head that an encoder was trained with, its C classes first.

    Args:
        folder: The encoder's.
        numbers: (C,) int64, which of the head's classes those of the samples are. One that came
            after the training has none, and probability 0.
    """
    weights, bias = classifier.load_head(folder)
    late = max(0, int(numbers.max(initial=-1)) + 1 - len(bias))
    weights = np.pad(weights, ((0, 0), (0, late)))
    bias = np.pad(bias, (0, late), constant_values=-np.inf)
    order = np.concatenate([numbers, np.setdiff1d(np.arange(len(bias)), numbers)])
    return Head(weights[:, order], bias[order], lambda features: features)


def _file(run: Path, encoder: str) -> Path:
    """Return where it lies what measures say by one encoder, in the order of the plan."""
    return run / "measures" / f"{encoder}.parquet"


def _corners(encoder: Encoder, canvas: Canvas, rows: np.ndarray) -> Callable[[int], np.ndarray]:
    """Return what gives the representations of one corner of every image."""

    def corner(number: int) -> np.ndarray:
        return _features(encoder, canvas, rows, number)

    return corner


def _features(
    encoder: Encoder, canvas: Canvas, rows: np.ndarray, corner: int | None = None
) -> np.ndarray:
    """Return pooled representations of images or of a corner of each, (n, D) float32."""
    device = next(encoder.parameters()).device
    out = np.empty((len(rows), encoder.dim), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(rows), BATCH):
            some = np.ascontiguousarray(canvas.array[rows[start : start + BATCH]])
            pixels = torch.from_numpy(some).to(device).float() / 255
            if corner is not None:
                pixels = enlarged(pixels, corner)
            features = pool(encoder.forward_float(pixels))
            out[start : start + BATCH] = features.float().cpu().numpy()
    return out


def enlarged(pixels: torch.Tensor, corner: int) -> torch.Tensor:
    """Return a corner of images (B, C, H, W), ``CORNER`` of their side, as large as the images.

    Args:
        pixels: Float in [0, 1].
        corner: 0 top left, 1 top right, 2 bottom left, 3 bottom right.
    """
    height, width = (max(1, round(CORNER * side)) for side in pixels.shape[2:])
    below, right = divmod(corner, 2)
    boxes = (
        below * (pixels.shape[2] - height),
        right * (pixels.shape[3] - width),
        height,
        width,
    )
    like = torch.ones(len(pixels), device=pixels.device)
    top, left, h, w = (float(v) * like for v in boxes)
    return resized_crop(pixels, top, left, h, w, None)


def _row(kind: str, columns: Sequence[pa.Array], scores: pa.Table) -> MeasureRow:
    """Return what is said of a measure: its spread, and how it agrees with memorization."""
    values, *errors = columns
    defined = values.drop_null().to_numpy()
    other = pa.table({"uid": scores["uid"], "memorization": values})
    try:
        pair = agreement.agree(
            [Ranking("memorization", scores.select(["uid", "memorization"])), Ranking(kind, other)]
        ).pairs[0]
    except DataError:
        # Too few samples have both, or one of them is the same for all.
        pair = None
    return MeasureRow(
        n=len(defined),
        mean=float(defined.mean()) if len(defined) else None,
        sd=float(defined.std(ddof=1)) if len(defined) > 1 else None,
        text=MEASURES[kind].text,
        spearman=pair.spearman if pair else None,
        kendall=pair.kendall if pair else None,
        se=pc.mean(errors[0]).as_py() if errors else None,
    )
