"""One sample of an inspected run: its place in the ranking, its neighbours, and its file."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.chunks import one_chunk
from curate.data.labels import class_of
from curate.data.shards import Reader
from curate.errors import UsageError
from curate.runs.run import Run
from curate.runtime.results import Result
from curate.runtime.text import short

SAMPLES_NAMED = 3
"""Samples that are named where several can be meant."""


@dataclass(frozen=True)
class Neighbour(Result):
    """A neighbour of a sample.

    Attributes:
        uid: Its uid.
        distance: To it, in [0, 2].
        label: Its label; None without one.
        class_: The name of that; None where labels have no names.
        rank: Its place in the ranking; None without a score.
    """

    uid: str
    distance: float
    label: int | None
    class_: str | None
    rank: int | None


@dataclass(frozen=True)
class SampleCard(Result):
    """What is known of a sample: its row of ``inspect.parquet``, its score and its file.

    Attributes:
        uid: Its uid.
        outlier_score: Mean distance to its neighbours, in [0, 2]; None without neighbours, and so
            for what is said of them.
        neighbour_uid: The nearest.
        neighbour_distance: To that one.
        duplicate_group: Number of its group of near-duplicates; None where it is in none.
        local_outlier_factor: How much less dense it is there than around its neighbours.
        duplicate_split: Where a near-duplicate was held out; None where none was.
        duplicate_split_uid: That near-duplicate.
        label_vote: The label of most neighbours.
        label_agreement: Share of the neighbours with its label.
        brightness: Mean luma.
        contrast: Standard deviation of luma.
        sharpness: Variance of the Laplacian of luma.
        smoothness: Of neighbouring pixels; None where all are alike.
        file_size: Bytes of the file.
        aspect: Width over height.
        triage: Its class.
        triage_reason: What looks flawed; None where nothing does.
        rank: Its place in the ranking, 1 = most memorized; None without a score, and so for the
            next two.
        n_scored: How many have a score.
        memorization: Its score.
        se: The standard error of that.
        label: None without one.
        class_: The name of the label; None where labels have no names.
        neighbours: Nearest first.
        duplicates: The other uids of its group.
        shard: The tar that holds its file.
        offset: Where that begins there.
        size: Its bytes.
        width: In pixels.
        height: In pixels.
        key: Its key in the tar.
        path: Where it came from in the source.
    """

    uid: str
    outlier_score: float | None
    neighbour_uid: str | None
    neighbour_distance: float | None
    duplicate_group: int | None
    local_outlier_factor: float | None
    duplicate_split: str | None
    duplicate_split_uid: str | None
    label_vote: int | None
    label_agreement: float | None
    brightness: float | None
    contrast: float | None
    sharpness: float | None
    smoothness: float | None
    file_size: int
    aspect: float
    triage: str
    triage_reason: str | None
    rank: int | None
    n_scored: int
    memorization: float | None
    se: float | None
    label: int | None
    class_: str | None
    neighbours: tuple[Neighbour, ...]
    duplicates: tuple[str, ...]
    shard: str
    offset: int
    size: int
    width: int
    height: int
    key: str
    path: str


def sample(run: Run, name: str) -> SampleCard:
    """Return what is known of one sample of an inspected run.

    Args:
        run: An inspected run.
        name: As in ``find``.

    Raises:
        UsageError: If no sample, or more than one, or one that was held out, is called so.
    """
    reader = Reader(run.path / "shards")
    full, place = find(run, reader, name)
    row = reader.index().slice(place, 1).to_pylist()[0]
    inspected = run.held("inspect", "inspect.parquet")
    table = pq.read_table(inspected, filters=[("uid", "=", full)])
    if not table.num_rows:
        raise UsageError(
            f"sample {full} is held out ({row['split']}): only the dataset's own are inspected."
        )
    about = table.to_pylist()[0]
    classes = reader.classes
    names = pq.read_table(inspected, columns=["uid", "duplicate_group"])
    near = neighbours(run, full)
    labels_and_ranks = _labels_and_ranks(run, reader, [full, *(other for other, _ in near)])
    group = about["duplicate_group"]
    alike = [] if group is None else names.filter(pc.equal(names["duplicate_group"], group))["uid"]
    return SampleCard(
        **about,
        **_score_of(run, full),
        label=row["label"],
        class_=class_of(classes, row["label"]),
        neighbours=tuple(
            Neighbour(other, distance, label, class_of(classes, label), rank)
            for other, distance in near
            for label, rank in [labels_and_ranks[other]]
        ),
        duplicates=tuple(str(other) for other in alike if str(other) != full),
        **{k: row[k] for k in ("shard", "offset", "size", "width", "height", "key", "path")},
    )


def neighbours(run: Run, uid: str) -> list[tuple[str, float]]:
    """Return the uids of an inspected sample's neighbours and their distances, nearest first.

    A sample that was not inspected has none.
    """
    path = run.held("inspect", "inspect_neighbours.parquet")
    table = pq.read_table(path, filters=[("uid", "=", uid)])
    if not table.num_rows:
        return []
    near = table.to_pylist()[0]
    names = pq.read_table(run.held("inspect", "inspect.parquet"), columns=["uid"])["uid"]
    others = names.take(pa.array(near["neighbours"], pa.int64())).to_pylist()
    return list(zip(others, near["distances"], strict=True))


def find(run: Run, reader: Reader, name: str) -> tuple[str, int]:
    """Return the uid of the sample that is meant, and its place in the index.

    Args:
        run: The run.
        reader: Its shards.
        name: A uid or the beginning of just one, a key, or a path: as the source named it, only
            its end, or a longer one that ends with it.

    Raises:
        UsageError: If no sample, or more than one, is called so.
    """
    by_kind: dict[str, list[tuple[str, int]]] = {
        kind: [] for kind in ("uid", "key", "path", "part")
    }
    start = 0
    for rows in reader.parts(["uid", "key", "path"]):
        fits = {kind: pc.equal(rows[kind], name) for kind in ("uid", "key", "path")}
        fits["part"] = _partly(rows, name)
        for kind, those in fits.items():
            places = np.flatnonzero(those.fill_null(False).to_numpy())
            uids = rows["uid"].take(pa.array(places)).to_pylist()
            by_kind[kind] += zip(uids, (start + places).tolist(), strict=True)
        start += rows.num_rows
    candidates = next((those for those in by_kind.values() if those), [])
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise UsageError(
            f"run {run.path} has no sample {short(name)}; uids, keys and paths stand in "
            f"{run.path / 'scores.parquet'}."
        )
    uids = sorted(uid for uid, _ in candidates)
    shown = ", ".join(uids[:SAMPLES_NAMED])
    more = f" and {len(uids) - SAMPLES_NAMED:,} more" if len(uids) > SAMPLES_NAMED else ""
    raise UsageError(
        f"{len(uids):,} samples can be meant by {short(name)}: {shown}{more}; give more of it."
    )


def _partly(rows: pa.Table, name: str) -> pa.ChunkedArray:
    """Return which uids begin with a name, and which paths end with it or are the end of it."""
    if not name:
        return pa.chunked_array([pa.array(np.zeros(rows.num_rows, bool))])
    inside = name.removeprefix("./").strip("/")
    ends = [inside[at + 1 :] for at, letter in enumerate(inside) if letter == "/"]
    return functools.reduce(
        pc.or_kleene,
        (
            pc.starts_with(rows["uid"], name),
            pc.ends_with(rows["path"], f"/{inside}"),
            pc.is_in(rows["path"], value_set=pa.array([inside, *ends], pa.string())),
        ),
    )


def _labels_and_ranks(
    run: Run, reader: Reader, uids: Sequence[str]
) -> dict[str, tuple[int | None, int | None]]:
    index = reader.index(["uid", "label"])
    uid_array = pa.array(uids, pa.string())
    labels = index["label"].take(pc.index_in(uid_array, value_set=one_chunk(index["uid"])))
    ranks: list[int | None] = [None] * len(uids)
    if run.done("score"):
        table = run.scores(("rank",))
        rows = pc.index_in(uid_array, value_set=one_chunk(table["uid"]))
        ranks = table["rank"].take(rows).to_pylist()
    return dict(zip(uids, zip(labels.to_pylist(), ranks, strict=True), strict=True))


def _score_of(run: Run, uid: str) -> dict[str, Any]:
    nothing: dict[str, Any] = {"rank": None, "n_scored": 0, "memorization": None, "se": None}
    if run.done("score") is None:
        return nothing
    table = run.scores(("rank", "memorization", "se"))
    row = table.filter(pc.equal(table["uid"], uid)).select(["rank", "memorization", "se"])
    scored = table.num_rows - table["memorization"].null_count
    return {**nothing, **(row.to_pylist() or [{}])[0], "n_scored": scored}
