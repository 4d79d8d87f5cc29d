"""The dataset of a run: its index, its own samples, and the manifests that belong to it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.data import shards
from curate.data.chunks import one_chunk
from curate.data.sample import packed_uids
from curate.runs import added, units
from curate.runs.marks import Marks
from curate.runs.recipe import digest
from curate.runs.run import Run
from curate.runtime.files import file_sha256, read_json
from curate.runtime.results import plain
from curate.scores.plan import Later
from curate.selection.manifest import Manifest

log = logging.getLogger("curate")


def index(run: Run, columns: Sequence[str] | None = None) -> pa.Table:
    """Return ``shards/index.parquet`` of a run, or some of its columns."""
    return shards.Reader(run.path / "shards").index(columns)


def shard_digests(run: Run) -> dict[str, str]:
    """Return the sha256 of each shard by its stem."""
    record = run.done("shard")
    assert record is not None, "shards come first"
    return {
        Path(name).stem: output["sha256"]
        for name, output in record["outputs"].items()
        if name.endswith(".tar")
    }


def own_uids(run: Run) -> pa.Array:
    """Return the uids of a run's dataset, without held-out splits."""
    return uids_of(run, "train")


def held_out_uids(run: Run) -> pa.Array:
    """Return the uids of the held-out splits of a run, which are no part of its dataset."""
    return uids_of(run, "extra", "test")


def uids_of(run: Run, *roles: str) -> pa.Array:
    """Return the uids of the samples whose ``split`` is among ``train``, ``extra`` and ``test``."""
    splits, chunks = pa.array(roles, pa.string()), []
    for rows in shards.Reader(run.path / "shards").parts(["uid", "split"]):  # never all at once
        chunks += rows.filter(pc.is_in(rows["split"], value_set=splits))["uid"].chunks
    return one_chunk(pa.chunked_array(chunks, pa.string()))


def later(run: Run) -> list[Later]:
    """Return what was added to a run's own samples, in its order."""
    generations: list[list[pa.Array]] = [[] for _ in range(len(run.added) + 1)]
    for rows in shards.Reader(run.path / "shards").parts(["uid", "split", "shard"]):
        which = added.generation(run, Path(rows["shard"][0].as_py()).stem) if len(rows) else 0
        generations[which] += rows.filter(pc.equal(rows["split"], "train"))["uid"].chunks
    return [
        Later(packed_uids(pa.chunked_array(uids, pa.string())), addition.first_repeat)
        for uids, addition in zip(generations[1:], added.additions(run), strict=True)
    ]


def provenance(run: Run) -> dict[str, Any]:
    """Return what the manifests of a scored run say that they were made from."""
    facts, recipe = run.facts(), run.recipe
    summary = run.summary()
    seeds = {name: getattr(recipe, name).seed for name in ("plan", "train", "score")}
    return {
        "dataset_fingerprint": facts["dataset_fingerprint"],
        "recipe": recipe.name,
        "recipe_fingerprint": facts["recipe_fingerprint"],
        "separation": summary.separation,
        "verdict": plain(summary.verdict),
        "reliability": plain(summary.reliability),
        "seeds": seeds,
        "versions": facts["versions"],
        "scores_sha256": file_sha256(run.path / "scores.parquet"),
    }


def manifest_names(path: Path) -> list[str]:
    """Return the names of a run's manifests, also of those that one of both files is missing of."""
    files = (path / "manifests").glob("*")
    return sorted({p.stem for p in files if p.suffix in (".json", ".parquet")} - {""})


def read_for(run: Run, path: Path) -> Manifest:
    """Read a manifest that is to be used on the dataset of a run.

    Raises:
        DataError: If the manifest is missing or damaged.
        MismatchError: If it was made from another dataset.
    """
    manifest = Manifest.read(path)
    manifest.check_dataset(run.facts()["dataset_fingerprint"], own_uids(run))
    made_from, now = manifest.facts.get("scores_sha256"), units.scores_digest(run)
    if made_from is not None and now is not None and made_from != now:
        log.warning("%s was made from older scores of %s; select again.", path, run.path)
    return manifest


def say_outdated(run: Run, *, only: str | None = None) -> None:
    """Warn of what lies in a run, or of one thing in it, that was made from other scores."""
    for name, what in outdated(run):
        if only in (None, name):
            log.warning("%s of run %s %s.", name, run.path, what)


def outdated(run: Run) -> list[tuple[str, str]]:
    """Return what was made from other scores than a run has now, how, and what to type for it."""
    now, typed = units.scores_digest(run), run.name
    if run.record("score") is None:
        return []
    if now is None:
        old = "are older than its settings, its plan or its encoders"
        return [("scores", f"{old}; type 'curate score {typed}'")]
    older, stale = "was made from older scores", []
    for path in sorted((run.path / "manifests").glob("*.json")):
        facts = read_json(path)
        if facts.get("scores_sha256") not in (None, now):
            stale.append((f"manifests/{path.stem}", f"{older}; select again"))
        made_of = facts.get("parameters", {}).get("marks")
        if made_of not in (None, digest(Marks(run.path / "marks.jsonl").parse()[0], digits=32)):
            other = "was made of other marks than marks.jsonl has now"
            stale.append((f"manifests/{path.stem}", f"{other}; save it again in the view"))
    for record in ("inspect", "measure"):
        unit_record = run.record(record)
        if unit_record is not None and unit_record["parts"].get("scores") not in (None, now):
            stale.append((record, f"{older}; type 'curate {record} {typed}'"))
    for path in sorted((run.path / "comparisons").glob("*/comparison.json")):
        unit_record = run.record(f"compare/{path.parent.name}")
        if unit_record is not None and unit_record["parts"].get("scores") != now:
            stale.append((f"comparisons/{path.parent.name}", f"{older}; compare again"))
    return stale
