"""The dataset of a run: its index, its own samples, and the manifests that belong to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data import shards
from curate.runs.run import Run
from curate.runtime.files import file_sha256, read_json
from curate.selection.manifest import Manifest


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
    return manifest
