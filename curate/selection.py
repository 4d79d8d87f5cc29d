"""Selections: scores to a manifest, from a run or from any table with a uid and a number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from curate import selectors
from curate.errors import DataError, UsageError, unknown
from curate.recipe import SelectConfig
from curate.records.manifest import Manifest
from curate.records.ordering import one_chunk, repeats, sorted_by_uid
from curate.rundir import Run
from curate.runtime.files import file_sha256, read_json

TAKEN = ("se", "key", "shard", "label")
"""Columns of a table of scores that a manifest has besides the number that is selected by."""


def select(
    run: Run,
    *,
    strategy: str,
    count: int | None,
    fraction: float | None,
    unscored: str | None,
    seed: int,
    name: str | None = None,
) -> dict[str, Any]:
    """Select from a run's scores; see ``curate.select``."""
    facts, table = run.facts(), run.scores(("uid", "memorization", *TAKEN))
    summary = read_json(run.path / "scores.json")
    # A held-out extra set is measured, but is never part of a manifest.
    others = held_out_uids(run)
    if len(others):
        table = table.filter(pc.invert(pc.is_in(table["uid"], value_set=others)))
    made = _select(
        table,
        run.path / "manifests",
        strategy=strategy,
        count=count,
        fraction=fraction,
        unscored=unscored,
        seed=seed,
        name=name,
        parameters={},
        provenance={
            "dataset_fingerprint": facts["dataset_fingerprint"],
            "recipe": run.recipe.name,
            "recipe_fingerprint": facts["recipe_fingerprint"],
            "separation": summary["separation"],
            "reliability": summary["reliability"],
            "seeds": {
                "plan": run.recipe.plan.seed,
                "train": run.recipe.train.seed,
                "score": run.recipe.score.seed,
            },
            "versions": facts["versions"],
            "scores_sha256": file_sha256(run.path / "scores.parquet"),
        },
    )
    return {**made, "separation": summary["separation"]}


def select_table(
    scores: Path,
    *,
    by: str,
    out: Path,
    strategy: str,
    count: int | None,
    fraction: float | None,
    unscored: str | None,
    seed: int,
    name: str | None,
) -> dict[str, Any]:
    """Select from any table of scores; see ``curate.select_table``."""
    return _select(
        read_scores(scores, by),
        out,
        strategy=strategy,
        count=count,
        fraction=fraction,
        unscored=unscored,
        seed=seed,
        name=name,
        parameters={"by": by},
        provenance={"scores": scores.name, "scores_sha256": file_sha256(scores)},
    )


def _select(
    table: pa.Table,
    folder: Path,
    *,
    strategy: str,
    count: int | None,
    fraction: float | None,
    unscored: str | None,
    seed: int,
    name: str | None,
    parameters: Mapping[str, Any],
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Decide on every row of a table, write the manifest, and say what was decided."""
    if strategy not in selectors.SELECTORS:
        raise unknown("strategy", strategy, selectors.SELECTORS)
    m = table["memorization"].to_numpy().astype(np.float64)
    there = ~np.isnan(m)
    scored, left = int(there.sum()), int((~there).sum())
    kept = kept_count(count, fraction, scored=scored, strategy=strategy)
    check_unscored(left, len(m), unscored)
    path = folder / f"{file_name(name or _default_name(strategy, count, fraction, seed))}.parquet"
    keep = np.full(len(m), unscored == "keep")
    uids = one_chunk(table["uid"] if not left else table["uid"].filter(pa.array(there)))
    keep[there] = selectors.select(strategy, m[there], uids, kept, seed)
    settings = {
        "count": count,
        "fraction": fraction,
        "seed": seed if strategy == "random" else None,
        "unscored": unscored if left else None,
        **parameters,
    }
    manifest = Manifest.build(
        table, keep, strategy=strategy, parameters=settings, provenance=provenance
    )
    manifest.write(path)
    return {
        "path": str(path),
        "kept": int(keep.sum()),
        "dropped": int((~keep).sum()),
        "scored": scored,
        "unscored": left,
        "description": describe(strategy, kept, scored),
    }


def wanted(config: SelectConfig) -> dict[str, Any]:
    """Return a recipe's selection as arguments of ``select``."""
    return config.model_dump(include={"strategy", "count", "fraction", "unscored", "seed"})


def kept_count(count: int | None, fraction: float | None, *, scored: int, strategy: str) -> int:
    """Return how many scored samples a selection keeps.

    Args:
        count: How many to keep; for ``drop-top``, how many to drop.
        fraction: The same as a share of the scored samples.
        scored: How many samples are scored.
        strategy: As in ``select``.

    Raises:
        UsageError: If there are not that many, or none would be kept or dropped.
        DataError: If no sample is scored.
    """
    if (count is None) == (fraction is None):
        raise UsageError("say how many: a number of samples or --fraction, not both.")
    if not scored:
        raise DataError("no sample is scored, so that there is nothing to select by.")
    if fraction is not None and not 0 < fraction <= 1:
        raise UsageError(f"--fraction {fraction:g}: must be above 0 and at most 1.")
    drops = strategy == "drop-top"
    size = count if count is not None else round((fraction or 0) * scored)
    most = scored - 1 if drops else scored
    if not 1 <= size <= most:
        raise UsageError(
            f"cannot {'drop' if drops else 'keep'} {size:,} samples: {scored:,} are scored; "
            f"choose 1 to {most:,}."
        )
    return scored - size if drops else size


def check_unscored(left: int, total: int, unscored: str | None) -> None:
    """Check that it was said what becomes of unscored samples, where there are any.

    Raises:
        UsageError: If it was not.
    """
    if unscored not in (None, "keep", "drop"):
        raise unknown("--unscored", unscored, ("keep", "drop"))
    if left and unscored is None:
        raise UsageError(
            f"{left:,} of {total:,} samples are unscored; say what to do with them: --unscored "
            "keep or --unscored drop (in a recipe: select.unscored)."
        )


def describe(strategy: str, kept: int, scored: int) -> str:
    """Return a selection in plain words."""
    words = {
        "top": f"the {kept:,} most memorized of {scored:,} scored",
        "bottom": f"the {kept:,} least memorized of {scored:,} scored",
        "drop-top": f"all but the {scored - kept:,} most memorized of {scored:,} scored",
        "random": f"{kept:,} of {scored:,} scored, at random",
    }
    return words.get(strategy, f"{kept:,} of {scored:,} scored, by {strategy}")


def _default_name(strategy: str, count: int | None, fraction: float | None, seed: int) -> str:
    """Return the name of a manifest that was given none, e.g. ``top-22000``."""
    size = f"{count}" if count is not None else f"{fraction:g}"
    return f"{strategy}-{size}" + (f"-s{seed}" if strategy == "random" else "")


def file_name(name: str) -> str:
    """Return the name of a manifest, if a file can be called so.

    Raises:
        UsageError: If not.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"--name {name!r}: use letters, digits, dots, dashes and underscores.")
    return name


# What a manifest belongs to


def own_uids(run: Run) -> pa.Array:
    """Return the uids of a run's dataset, without held-out splits."""
    return _uids(run, held_out=False)


def read_for(run: Run, path: Path) -> Manifest:
    """Read a manifest that is to be used on the dataset of a run.

    Raises:
        DataError: If the manifest is missing or damaged.
        MismatchError: If it was made from another dataset.
    """
    manifest = Manifest.read(path)
    manifest.check_dataset(run.facts()["dataset_fingerprint"], own_uids(run))
    return manifest


def held_out_uids(run: Run) -> pa.Array:
    """Return the uids of the held-out splits of a run, which are no part of its dataset."""
    return _uids(run, held_out=True)


def _uids(run: Run, *, held_out: bool) -> pa.Array:
    which = pc.not_equal if held_out else pc.equal
    with pq.ParquetFile(run.path / "shards" / "index.parquet") as index:  # never all of it at once
        found = [
            rows.filter(which(rows["split"], "train"))["uid"]
            for rows in index.iter_batches(columns=["uid", "split"])
        ]
    return pa.chunked_array(found, pa.string()).combine_chunks()


# Tables of others


def read_scores(path: Path, by: str) -> pa.Table:
    """Read any parquet or csv that has ``uid`` and the number ``by``.

    Returns:
        A table with ``uid`` and ``memorization`` (the number, null where it is not finite), and
        those of ``TAKEN`` that there are, sorted by uid; of a parquet file nothing else is read.

    Raises:
        DataError: If the file cannot be read, lacks a column, or repeats a uid.
    """
    try:
        if path.suffix == ".csv":
            options = pyarrow.csv.ConvertOptions(column_types={"uid": pa.string()})
            table = pyarrow.csv.read_csv(path, convert_options=options)
            names = table.column_names
        else:
            stored = pq.ParquetDataset(path)
            names = stored.schema.names
            table = stored.read([name for name in names if name in ("uid", by, *TAKEN)])
    except (pa.ArrowInvalid, OSError) as error:
        line = str(error).splitlines()[0]
        raise DataError(f"cannot read {path} as parquet or csv: {line}.") from error
    for name in ("uid", by):
        if name not in names:
            have = ", ".join(names)
            raise DataError(f"{path} has no column {name!r}; it has: {have}. See --by.")
    columns = {"uid": table["uid"].cast(pa.string()), "memorization": _number(path, table, by)}
    if "se" in names:
        columns["se"] = _number(path, table, "se")
    columns |= {name: table[name] for name in TAKEN if name in names and name != "se"}
    del table
    refused = f"{path} repeats or lacks a uid; every sample stands there once."
    if columns["uid"].null_count:
        raise DataError(refused)
    found = sorted_by_uid(columns)
    if repeats(found["uid"]):
        raise DataError(refused)
    pa.default_memory_pool().release_unused()
    return found


def _number(path: Path, table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column as float64, null where it is not finite."""
    try:
        number = table[name].cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"column {name!r} of {path} is not a number.") from error
    return pc.if_else(pc.is_finite(number), number, pa.scalar(None, pa.float64()))
