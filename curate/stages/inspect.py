"""The inspect stage: neighbours, near-duplicates, triage, and what memorization goes with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.data.canvas import Canvas
from curate.data.chunks import lists, one_chunk
from curate.data.sample import packed_uids
from curate.data.shards import Reader
from curate.inspection import decoys, duplicates, neighbours, relations, spaces, thumbnails, triage
from curate.inspection.config import InspectConfig
from curate.inspection.spaces import Space, embeddings
from curate.inspection.summary import Inspection
from curate.runs import sample_lookup, units
from curate.runs.run import Run
from curate.runs.sample_lookup import SampleCard
from curate.runtime.files import write_json, write_table
from curate.runtime.progress import Progress, silent
from curate.runtime.results import plain
from curate.scores.plan import Plan
from curate.stages.context import Context
from curate.stages.shard import canvas
from curate.stages.train import encoder_folder, plan

INSPECT_SCHEMA = pa.schema(
    [
        *neighbours.INSPECT_SCHEMA,
        ("local_outlier_factor", pa.float64()),
        ("duplicate_split", pa.string()),
        ("duplicate_split_uid", pa.string()),
        ("label_vote", pa.int64()),
        ("label_agreement", pa.float64()),
        ("brightness", pa.float64()),
        ("contrast", pa.float64()),
        ("sharpness", pa.float64()),
        ("smoothness", pa.float64()),
        ("file_size", pa.int64()),
        ("aspect", pa.float64()),
        ("triage", pa.string()),
        ("triage_reason", pa.string()),
    ]
)
"""Columns of ``inspect.parquet``; rows are the dataset's own samples, sorted by uid."""

NEIGHBOUR_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("neighbours", pa.list_(pa.int32())),
        ("distances", pa.list_(pa.float32())),
    ]
)
"""Columns of ``inspect_neighbours.parquet``: row numbers of ``inspect.parquet``, nearest first."""

FILES = ("inspect.parquet", "inspect_neighbours.parquet", "inspect.json")
LEAKS_LISTED = 100
"""Leaks that ``inspect.json`` lists, the most alike first; the column has them all."""


@dataclass(frozen=True)
class Found:
    """What an inspection says of n samples.

    Attributes:
        table: ``INSPECT_SCHEMA``.
        neighbours: ``NEIGHBOUR_SCHEMA``.
        summary: What ``inspect.json`` holds.
    """

    table: pa.Table
    neighbours: pa.Table
    summary: dict[str, Any]

    def write(self, folder: Path) -> list[Path]:
        """Write it as ``FILES`` into a folder; returns their paths."""
        paths = [folder / name for name in FILES]
        write_table(paths[0], self.table)
        write_table(paths[1], self.neighbours)
        write_json(paths[2], plain(self.summary))
        return paths


INDEXED = ("uid", "split", "label", "size", "width", "height")
"""Columns of an index that an inspection reads."""


def own_rows(index: pa.Table) -> np.ndarray:
    """Return the rows of the samples that are inspected, (n,), sorted by uid."""
    order = np.argsort(packed_uids(index["uid"]), kind="stable")
    rows: np.ndarray = order[index["split"].to_numpy(zero_copy_only=False)[order] == "train"]
    return rows


def write_inspection(
    run: Run,
    unit: units.Unit,
    space: Space,
    images: Canvas,
    *,
    device: str,
    progress: Progress = silent,
) -> None:
    """Write ``inspect.parquet``, ``inspect_neighbours.parquet`` and ``inspect.json`` of a run.

    Args:
        run: With shards, and encoders where the space is of one of them; scores where there are.
        unit: What is made.
        space: From ``space_of``.
        images: The run's canvas.
        device: ``cpu`` or ``cuda``.
        progress: Progress callback.

    Raises:
        DataError: If embeddings that are given do not fit the dataset.
        DivergedError: If an embedding is not finite.
        ResourceError: If FAISS is not installed, or pretrained weights cannot be had.
    """
    index = Reader(run.path / "shards").index([*INDEXED])
    own = own_rows(index)
    points = embeddings(space, run.path / "encoders", images, index["uid"], own, device, progress)
    scores = _scores(run, pa.array(images.uids[own]).cast(pa.string()))
    inspection = inspected(
        index, images, points, run.recipe.inspect, space,
        scores=scores, separation=_separation(run), device=device, progress=progress,
        home=run.path / "cache",
    )  # fmt: skip
    unit.complete(inspection.write(run.path), encoder=space.name)


def inspected(
    index: pa.Table,
    images: Canvas,
    points: np.ndarray,
    config: InspectConfig,
    space: Space,
    *,
    scores: tuple[np.ndarray, np.ndarray] | None = None,
    separation: str | None = None,
    device: str = "cpu",
    progress: Progress = silent,
    home: Path | None = None,
) -> Found:
    """Return what is found in a space and in pixels.

    Args:
        index: ``INDEXED`` of all samples, held-out ones included.
        images: Their canvas.
        points: (n, D) float32, the embeddings of ``own_rows``.
        config: How many neighbours, and how much alike near-duplicates are.
        space: Where the embeddings are from.
        scores: Memorization and rank of the own samples, (n,) each; None without scores.
        separation: What the scores say of themselves; None without scores.
        device: Where near-duplicates are looked for: ``cpu`` or ``cuda``.
        progress: Progress callback.
        home: Folder in which an unfinished search for near-duplicates is kept.

    Raises:
        DivergedError: If an embedding is not finite.
        ResourceError: If FAISS is not installed.
    """
    split = index["split"].to_numpy(zero_copy_only=False)
    uids = packed_uids(index["uid"])
    order = np.argsort(uids, kind="stable")
    own, held_out = own_rows(index), order[split[order] != "train"]
    n = len(own)

    nearest_others = neighbours.nearest(points, config.neighbours)
    thumbs = thumbnails.of_canvas(images.array, progress=progress, device=device)
    thumbs = thumbs.take(np.concatenate([own, held_out]))
    pairs = duplicates.find(
        thumbs, config.duplicate_threshold, device=device, progress=progress, home=home
    )
    group = pairs.groups(n, uids[own].astype(np.str_))
    leaks = _leaks(pairs, n, uids[own], uids[held_out], split[held_out])
    flaws = triage.quality(images.array, progress, device=device)
    measured = {name: values[own] for name, values in flaws.items()}

    labels = index["label"].fill_null(-1).to_numpy()[own]
    size, width, height = (index[name].to_numpy()[own] for name in ("size", "width", "height"))
    votes = triage.vote(labels, nearest_others.near)
    reason, thresholds = triage.flaws(measured, labels, votes)
    names = pa.array(uids[own].astype(np.str_))
    unscored = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
    memorization, rank = unscored if scores is None else scores
    outlier, lof = nearest_others.outlier_score(), nearest_others.local_outlier_factor()
    stands = triage.representatives(group, width.astype(np.int64) * height, size)
    copies = (group >= 0) & ~stands
    triaged = triage.triage(rank, outlier, reason, copies, thresholds, separation)

    alone = nearest_others.near.shape[1] == 0
    nearest = pa.nulls(n, pa.int64()) if alone else pa.array(nearest_others.near[:, 0])
    columns = {
        "uid": names,
        "outlier_score": _known(outlier),
        "neighbour_uid": names.take(nearest),
        "neighbour_distance": _known(outlier if alone else nearest_others.distance[:, 0]),
        "duplicate_group": pa.array(group, mask=group < 0),
        "local_outlier_factor": _known(lof),
        "duplicate_split": leaks["split"],
        "duplicate_split_uid": leaks["other"],
        "label_vote": pa.array(votes[0].astype(np.int64), mask=votes[0] < 0),
        "label_agreement": _known(votes[2]),
        **{name: _known(values) for name, values in measured.items()},
        "file_size": pa.array(size, pa.int64()),
        "aspect": pa.array(width / height),
        "triage": pa.array(triaged.classes, pa.string()),
        "triage_reason": pa.array(reason, pa.string()),
    }
    per_label, share = relations.by_label(memorization, labels)
    summary = {
        "samples": n,
        "neighbours": nearest_others.near.shape[1],
        "space": {"kind": space.kind, "name": space.name, "dim": points.shape[1]},
        "index": nearest_others.search,
        "mean_outlier_score": None if alone else float(outlier.mean()),
        "duplicates": {
            "threshold": config.duplicate_threshold,
            "groups": int(group.max(initial=-1)) + 1,
            "samples": int((group >= 0).sum()),
            "rule": decoys.RULE,
            "search": pairs.search,
        },
        "leaks": leaks["summary"],
        "relations": relations.correlations(
            memorization,
            {
                "outlier_score": outlier,
                "local_outlier_factor": lof,
                "label_frequency": relations.frequency(labels),
                "label_agreement": votes[2],
                "size": width.astype(float) * height,
                **{k: measured[k] for k in ("brightness", "contrast", "sharpness")},
                "file_size": size,
                "aspect": width / height,
            },
        ),
        "labels": per_label,
        "label_share": share,
        "triage": triaged.summary,
    }
    return Found(
        table=pa.table([columns[f.name] for f in INSPECT_SCHEMA], INSPECT_SCHEMA),
        neighbours=_neighbour_table(names, nearest_others),
        summary=summary,
    )


def _leaks(
    pairs: duplicates.Pairs,
    n: int,
    own: np.ndarray,
    held_out: np.ndarray,
    split: np.ndarray,
) -> dict[str, Any]:
    """Return near-duplicates of own samples among held-out ones.

    Args:
        pairs: Positions below n are own samples, others held-out ones.
        n: Number of own samples.
        own: (n,) bytes, their uids.
        held_out: (m,) bytes, the others' uids.
        split: (m,) their splits.

    Returns:
        ``split`` and ``other`` (n,) columns, null where there is none, and a ``summary``.
    """
    across = (pairs.a < n) & (pairs.b >= n)
    places, other, similar = pairs.a[across], pairs.b[across] - n, pairs.similarity[across]
    # Copies of a file are found by their name, which begins with its digest, also blank ones.
    _, i, j = np.intersect1d(own.astype("S32"), held_out.astype("S32"), return_indices=True)
    places, other = np.append(places, i), np.append(other, j)
    similar = np.append(similar, np.ones(len(i), dtype=similar.dtype))
    order = np.lexsort((other, -similar, places))
    places, first = np.unique(places[order], return_index=True)
    other, similar = other[order][first], similar[order][first]
    names = np.full((2, n), None, dtype=object)
    names[0, places] = split[other]
    names[1, places] = held_out[other].astype(np.str_)
    listed = np.lexsort((places, -similar))[:LEAKS_LISTED]
    return {
        "split": pa.array(names[0], pa.string()),
        "other": pa.array(names[1], pa.string()),
        "summary": {
            "splits": sorted(set(split.tolist())),
            "samples": len(places),
            "pairs": [
                {
                    "uid": own[places[k]].decode(),
                    "split": str(split[other[k]]),
                    "other": held_out[other[k]].decode(),
                    "similarity": round(float(similar[k]), 6),
                }
                for k in listed
            ],
        },
    }


def _neighbour_table(names: pa.Array, nearest: neighbours.Nearest) -> pa.Table:
    near, distance = lists(nearest.near, pa.int32()), lists(nearest.distance, pa.float32())
    return pa.table([names, near, distance], schema=NEIGHBOUR_SCHEMA)


def _scores(run: Run, names: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Return memorization (NaN without) and rank (0 without) of some samples, (n,) each."""
    if units.scores_digest(run) is None:
        return np.full(len(names), np.nan), np.zeros(len(names), dtype=np.int64)
    table = run.scores(("memorization", "rank"))
    rows = pc.index_in(names, value_set=one_chunk(table["uid"]))
    m = table["memorization"].take(rows).to_numpy().astype(np.float64)
    return m, table["rank"].take(rows).fill_null(0).to_numpy()


def _separation(run: Run) -> str | None:
    """Return what the scores say of themselves, None without scores."""
    if units.scores_digest(run) is None:
        return None
    return run.summary().separation


def _known(values: np.ndarray) -> pa.Array:
    """Return float64 values with null for NaN."""
    return pa.array(np.asarray(values, dtype=np.float64), from_pandas=True)


def inspect_run(run: Run, context: Context) -> Inspection:
    """Find neighbours, outliers and near-duplicates, and say what kind of sample each is."""
    space = encoder_to_inspect(run, plan(run, context))
    digest = space.digest()
    if space.kind == "plan":
        encoder_folder(run, context, space.name)
        digest = units.train(run, space.name).key
    unit = units.inspect(run, digest)
    if not unit.intact():
        images = canvas(run, context)
        with unit.making("inspect"):
            write_inspection(
                run,
                unit,
                space,
                images,
                device=context.resolved_device(),
                progress=context.progress,
            )
    return Inspection.load(run.path / "inspect.json", path=run.path / "inspect.parquet")


def encoder_to_inspect(run: Run, made: Plan) -> spaces.Space:
    """Return the space in which neighbours are found.

    Raises:
        UsageError: If the recipe names an encoder that is not there.
    """
    return spaces.space_of(run.recipe.inspect, made.encoders)


@overload
def inspect(
    run: Run,
    *,
    sample: None = None,
    data: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Inspection: ...
@overload
def inspect(
    run: Run,
    *,
    sample: str,
    data: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> SampleCard: ...


def inspect(
    run: Run,
    *,
    sample: str | None = None,
    data: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Inspection | SampleCard:
    """Find neighbours, outliers and near-duplicates of a run's samples, and their kind.

    Args:
        run: A run; what is missing is done first. Where it is scored, memorized samples are told
            apart, and what memorization goes with is said.
        sample: A uid or the beginning of one, a key, or a path: return what is known of that
            sample alone.
        data: Where the recipe's source lies on this machine.
        device: ``auto``, ``cpu``, ``cuda``, or cards: ``cuda:0-7``.
        progress: Progress callback.

    Raises:
        UsageError: If no sample, or more than one, is called ``sample``, or ``inspect.encoder``
            is nothing that is there.
        ResourceError: If FAISS is not installed, or pretrained weights cannot be had.
    """
    if sample is not None and run.done("inspect") and run.in_use():
        # Another command works on the run: what it has is told, and nothing is made.
        return sample_lookup.sample(run, sample)
    with run.lock():
        inspection = inspect_run(run, Context.of(run, data, device, 1, progress))
        return inspection if sample is None else sample_lookup.sample(run, sample)
