"""The dataset of a run: its index, its own samples, and the manifests that belong to it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data import shards
from curate.runs import units
from curate.runs.run import Run
from curate.runtime.files import file_sha256, read_json
from curate.selection.manifest import Manifest

log = logging.getLogger("curate")


def index(run: Run, columns: Sequence[str] | None = None) -> pa.Table:
    """Return ``shards/index.parquet`` of a run, or some of its columns."""
    return shards.Reader(run.path / "shards").index(columns)


def own_uids(run: Run) -> pa.Array:
    """Return the uids of a run's dataset, without held-out splits."""
    return uids_of(run, "train")


def held_out_uids(run: Run) -> pa.Array:
    """Return the uids of the held-out splits of a run, which are no part of its dataset."""
    return pa.concat_arrays([uids_of(run, role) for role in ("extra", "test")])


def uids_of(run: Run, role: str) -> pa.Array:
    """Return the uids of the samples whose ``split`` is ``train``, ``extra`` or ``test``."""
    with pq.ParquetFile(run.path / "shards" / "index.parquet") as stored:  # never all of it at once
        found = [
            rows.filter(pc.equal(rows["split"], role))["uid"]
            for rows in stored.iter_batches(columns=["uid", "split"])
        ]
    return pa.chunked_array(found, pa.string()).combine_chunks()


def provenance(run: Run) -> dict[str, Any]:
    """Return what the manifests of a scored run say that they were made from."""
    facts, recipe = run.facts(), run.recipe
    summary = read_json(run.path / "scores.json")
    seeds = {name: getattr(recipe, name).seed for name in ("plan", "train", "score")}
    return {
        "dataset_fingerprint": facts["dataset_fingerprint"],
        "recipe": recipe.name,
        "recipe_fingerprint": facts["recipe_fingerprint"],
        "separation": summary["separation"],
        "reliability": summary["reliability"],
        "seeds": seeds,
        "versions": facts["versions"],
        "scores_sha256": file_sha256(run.path / "scores.parquet"),
    }


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


def say_outdated(run: Run) -> None:
    """Warn of what lies in a run and was made from other scores than it has now."""
    for name, what in outdated(run):
        log.warning("%s of run %s was made from older scores; %s.", name, run.path, what)


def outdated(run: Run) -> list[tuple[str, str]]:
    """Return what was made from other scores than a run has now, and what to type for each."""
    now, typed = units.scores_digest(run), run.name
    if run.record("score") is None:
        return []
    found = []
    for path in sorted((run.path / "manifests").glob("*.json")):
        facts = read_json(path)
        if facts.get("scores_sha256") not in (None, now):
            found.append((f"manifests/{path.stem}", "select again"))
    for record in ("inspect", "measure"):
        made = run.record(record)
        if made is not None and made["parts"].get("scores") not in (None, now):
            found.append((record, f"type 'curate {record} {typed}'"))
    for path in sorted((run.path / "comparisons").glob("*/comparison.json")):
        made = run.record(f"compare/{path.parent.name}")
        if made is not None and made["parts"].get("scores") != now:
            found.append((f"comparisons/{path.parent.name}", "compare again"))
    return found
