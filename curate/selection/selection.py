"""Selections: scores to a manifest, from a run or from any table with a uid and a number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.chunks import one_chunk
from curate.data.csv import read_csv
from curate.data.ordering import repeats, sorted_by_uid
from curate.errors import DataError, UsageError
from curate.runtime.files import file_sha256
from curate.runtime.results import Result
from curate.runtime.text import short
from curate.scores.summary import Verdict
from curate.selection.columns import file_of, listed
from curate.selection.config import SelectConfig
from curate.selection.manifest import MANIFEST_SCHEMA, Manifest, ends
from curate.selection.modifiers import Given, decided
from curate.selection.strategies import STRATEGIES

BY_HAND = "hand"
"""Strategy of a manifest that was marked sample by sample."""
TAKEN = ("key", "shard", "label", "class", "path")
"""Columns of a table of scores that a manifest has besides a number and its error."""
ERRORS = {"memorization": "se", "expected": "expected_se"}
"""Which column has the standard errors of a number; of others ``se`` has."""


RANKED = ("top", "bottom", "drop-top")
"""Strategies that cut a ranking, so that errors of the scores move samples over the cut."""
NOTHING = Given()


@dataclass(frozen=True)
class Selected(Result):
    """A selection that was made.

    Attributes:
        path: Its manifest.
        kept: Samples that it keeps.
        dropped: Samples that it drops.
        scored: Samples that have a score.
        unscored: Samples that have none.
        description: What is kept, in plain words.
        separation: ``clear`` where the run's scores tell members from non-members, ``none`` where
            they do not, ``untested``; None for a table of which nothing is known, and left out of
            the JSON then, as the verdict is.
        verdict: What the run's scores show.
        places: How many of the highest, or of the lowest, it takes out of all that are scored.
        luck: How many of these places are decided by chance; None where nothing says how much the
            scores err, or a selection does not go by them.
    """

    path: Path
    kept: int
    dropped: int
    scored: int
    unscored: int
    description: str
    separation: str | None = None
    verdict: Verdict | None = None
    places: int = 0
    luck: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        fields = super().to_json()
        return fields if self.verdict else {k: v for k, v in fields.items() if v is not None}


def select_table(
    scores: str | Path,
    *,
    by: str = "memorization",
    out: str | Path = ".",
    strategy: str = "top",
    count: int | None = None,
    fraction: float | None = None,
    unscored: str | None = None,
    seed: int = 0,
    space: str | None = None,
    match: str | Path | None = None,
    per_class: bool = False,
    always: str | Path | None = None,
    never: str | Path | None = None,
    name: str | None = None,
) -> Selected:
    """Select from any parquet or csv that has ``uid`` and a number, with no run at all.

    Args:
        scores: The table; a number that is null or not finite counts as unscored.
        by: Column to select by; ``top`` keeps its highest.
        out: Folder for the manifest.
        strategy: As in ``select``, and so are the others.
        count: As in ``select``.
        fraction: As in ``select``.
        unscored: As in ``select``.
        seed: As in ``select``.
        space: Embeddings, for strategies that look at how samples lie: a ``.parquet`` of ``uid``
            and one column of lists of numbers.
        match: A manifest (``.parquet``) that ``random-matched`` is like.
        per_class: As in ``select``.
        always: As in ``select``; paths are those of a column ``path`` of the table.
        never: The same.
        name: As in ``select``.

    Raises:
        UsageError: If a strategy lacks what it chooses by.
        DataError: If a file cannot be read, or lacks a sample.
    """
    config = SelectConfig.of(
        strategy=strategy,
        count=count,
        fraction=fraction,
        unscored=unscored,
        seed=seed,
        space=space,
        match=None if match is None else str(match),
        per_class=per_class,
        always=None if always is None else str(always),
        never=None if never is None else str(never),
    )
    path = Path(scores)
    table = read_scores(path, by)
    return decide(
        table,
        Path(out),
        config,
        name=name,
        parameters={"by": by},
        provenance={"scores": path.name, "scores_sha256": file_sha256(path)},
        given=_given(table, config),
    )


def _given(table: pa.Table, config: SelectConfig) -> Given:
    """Return what a table that belongs to no run is selected from with beside its numbers."""
    needs, uids = STRATEGIES[config.strategy].needs, one_chunk(table["uid"])
    has_paths = "path" in table.column_names
    paths = one_chunk(table["path"]) if has_paths else pa.nulls(len(uids), pa.string())
    embeddings = like = None
    if "points" in needs:
        if config.space is None or not config.space.endswith(".parquet"):
            raise UsageError(
                f"{config.strategy} chooses by how samples lie, which a table does not say: give "
                "their embeddings by space (a .parquet of uid and lists of numbers)."
            )
        from curate.inspection.spaces import read_embeddings

        embeddings = read_embeddings(Path(config.space), "uid", table["uid"], {"uid": uids})
    if "like" in needs and config.match is not None:
        kept = pa.array(Manifest.read(Path(config.match)).kept(), pa.string())
        like = pc.is_in(uids, value_set=kept).to_numpy(zero_copy_only=False)
    always, never = (
        None if file is None else listed(Path(file), uids, paths)
        for file in (config.always, config.never)
    )
    return Given(embeddings, like, always, never)


def decide(
    table: pa.Table,
    folder: Path,
    config: SelectConfig,
    *,
    name: str | None,
    parameters: Mapping[str, Any],
    provenance: Mapping[str, Any],
    given: Given = NOTHING,
) -> Selected:
    """Decide on every row of a table, write the manifest, and say what was decided.

    Args:
        table: ``uid``, ``memorization``, null where there is no score, and ``se`` where it is
            known; sorted by uid. Where ``parameters`` name another number ``by``, both are of it.
        folder: Where the manifest goes.
        config: Strategy and size.
        name: Name of the manifest; None makes one from the strategy and size.
        parameters: What else the manifest says of how it was made.
        provenance: What it says of what it was made from.
        given: What is known of the samples beside the table, in its order.
    """
    m = table["memorization"].to_numpy().astype(np.float64)
    has_score = ~np.isnan(m)
    scored, left = int(has_score.sum()), int((~has_score).sum())
    kept = kept_count(config, scored)
    check_unscored(left, len(m), config.unscored)
    path = folder / f"{file_name(name or _default_name(config))}.parquet"
    if path.is_file() and _strategy(path) == BY_HAND:
        raise UsageError(f"{path} was made by hand and is not replaced; give another name.")
    why, reasons = given.fixed(len(m))
    keep = np.where(why < 0, config.unscored == "keep", why == 0)
    rows = np.flatnonzero(has_score)
    keep[has_score], *_ = decided(
        config.strategy,
        m[has_score],
        one_chunk(table["uid"] if not left else table["uid"].filter(pa.array(has_score))),
        kept,
        config.seed,
        given.take(rows) if left else given,
        labels=labels_of(table)[has_score],
        per_class=config.per_class,
    )
    settings = {
        "count": config.count,
        "fraction": config.fraction,
        "seed": config.seed if STRATEGIES[config.strategy].draws else None,
        "unscored": config.unscored if left else None,
        **{
            name: value
            for name in ("space", "match", "drop", "copies", "per_class", "always", "never")
            if (value := getattr(config, name)) not in (None, (), False)
        },
        **parameters,
    }
    manifest = Manifest.build(
        table,
        keep,
        strategy=config.strategy,
        parameters=settings,
        provenance=provenance,
        because=pa.array(reasons).take(pa.array(why, mask=why < 0)),
    )
    manifest.write(path)
    verdict = Verdict.from_json(provenance["verdict"]) if provenance.get("verdict") else None
    # One encoder on each side shows a part of the errors alone, a table perhaps none.
    known = (provenance.get("reliability") or {}).get("encoders") is not None
    errs = known and config.strategy in RANKED and parameters.get("by", "memorization") in ERRORS
    return Selected(
        path=path,
        kept=int(keep.sum()),
        dropped=int((~keep).sum()),
        scored=scored,
        unscored=left,
        description=describe(
            config.strategy, kept, scored, by=parameters.get("by") or "memorization"
        ),
        separation=provenance.get("separation"),
        verdict=verdict,
        places=manifest.facts["p_top"]["n"],
        luck=manifest.facts["p_top"]["luck"] if errs else None,
    )


def _strategy(path: Path) -> str | None:
    """Return how a manifest that is there was made; None for one that is not whole."""
    try:
        return str(Manifest.read(path).facts["strategy"])
    except DataError:
        return None


def described(facts: Mapping[str, Any]) -> str:
    """Return in plain words what the facts of a manifest say that it keeps of scored samples."""
    counts, by = facts["counts"], facts["parameters"].get("by") or "memorization"
    return describe(facts["strategy"], counts["kept_scored"], counts["scored"], by=by)


def kept_count(config: SelectConfig, scored: int) -> int:
    """Return how many of so many scored samples a selection keeps.

    Raises:
        UsageError: If there are not that many, or none would be kept or dropped.
        DataError: If no sample is scored.
    """
    if not scored:
        raise DataError("no sample is scored, so that there is nothing to select by.")
    drops = config.strategy == "drop-top"
    share = 0.0 if config.fraction is None else config.fraction
    size = round(share * scored) if config.count is None else config.count
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
    if left and unscored is None:
        raise UsageError(
            f"{left:,} of {total:,} samples are unscored; say what to do with them: unscored keep "
            "or drop (in a recipe: select.unscored)."
        )


def labels_of(table: pa.Table) -> np.ndarray:
    """Return the labels of a table of scores, (N,) int64, -1 where there is none.

    Classes that are no numbers get the number of their name.
    """
    if "label" not in table.column_names:
        return np.full(table.num_rows, -1)
    column = one_chunk(table["label"])
    if not (pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
        column = column.dictionary_encode().indices
    return np.asarray(column.cast(pa.int64()).fill_null(-1).to_numpy(zero_copy_only=False))


def describe(
    strategy: str, kept: int, scored: int, *, by: str = "memorization", action: bool = False
) -> str:
    """Return a selection in plain words.

    Args:
        strategy: As in ``select``.
        kept: How many of the scored samples it keeps.
        scored: How many there are.
        by: The number that was selected by.
        action: Whether to say what is done, ``keep the 3 most memorized``, not what is left,
            ``the 3 most memorized of 10 scored``.
    """
    if strategy in RANKED:
        drops = strategy == "drop-top"
        end = ends(by)[strategy == "bottom"]
        samples = f"the {scored - kept if drops else kept:,} {end}"
        if action:
            return f"{'drop' if drops else 'keep'} {samples}"
        return f"{'all but ' if drops else ''}{samples} of {scored:,} scored"
    how = "at random" if strategy == "random" else f"by {strategy}"
    return f"{kept:,} {how}" if action else f"{kept:,} of {scored:,} scored, {how}"


def _default_name(config: SelectConfig) -> str:
    """Return the name of a manifest that was given none, e.g. ``top-22000``."""
    size = f"{config.count}" if config.count is not None else f"{config.fraction:g}"
    parts = [config.strategy, size]
    if config.by != "memorization":
        column = file_of(config.by)
        parts.append(f"by-{re.sub(r'[^A-Za-z0-9._-]', '_', column[1] if column else config.by)}")
    parts += [f"no-{kind}" for kind in config.drop]
    parts += ["per-class"] if config.per_class else []
    parts += [f"s{config.seed}"] if STRATEGIES[config.strategy].draws else []
    return "-".join(parts)


def file_name(name: str) -> str:
    """Return the name of a manifest, if a file can be called so.

    Raises:
        UsageError: If not.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"name {name!r}: use letters, digits, dots, dashes and underscores.")
    return name


def read_scores(path: Path, by: str) -> pa.Table:
    """Read any parquet or csv that has ``uid`` and the number ``by``.

    Returns:
        A table with ``uid``, ``memorization`` (the number, null where it is not finite), ``se``
        (its standard error, where there is one), and those of ``TAKEN`` that there are, sorted by
        uid; of a parquet file nothing else is read.

    Raises:
        DataError: If the file cannot be read, lacks a column, or repeats a uid.
    """
    error = ERRORS.get(by, "se")
    try:
        if path.suffix == ".csv":
            table = read_csv(path, texts=("uid", "class", "path"))
            names = table.column_names
        else:
            stored = pq.ParquetDataset(path)
            names = stored.schema.names
            twice = next((n for n in ("uid", by, error, *TAKEN) if names.count(n) > 1), None)
            if twice is not None:
                raise DataError(f"{path} has two columns called {short(twice)}; rename one.")
            table = stored.read([name for name in names if name in ("uid", by, error, *TAKEN)])
    except (pa.ArrowException, OSError, ValueError, KeyError) as why:
        line = (str(why) or type(why).__name__).splitlines()[0]
        raise DataError(f"cannot read {path} as parquet or csv: {line[:300]}.") from why
    for name in ("uid", by):
        if name not in names:
            have = ", ".join(names)
            raise DataError(f"{path} has no column {name!r}; it has: {have}; see by.")
    columns = {
        "uid": _cast(path, table, "uid", pa.string()),
        "memorization": _number(path, table, by),
    }
    if error in names:
        columns["se"] = _number(path, table, error)
    columns |= {
        name: _cast(path, table, name, MANIFEST_SCHEMA.field(name).type)
        for name in TAKEN
        if name in names and name != "se"
    }
    del table
    refused = f"{path} repeats or lacks a uid; every sample stands there once."
    if columns["uid"].null_count:
        raise DataError(refused)
    ordered = sorted_by_uid(columns)
    if repeats(ordered["uid"]):
        raise DataError(refused)
    pa.default_memory_pool().release_unused()
    return ordered


def _cast(path: Path, table: pa.Table, name: str, kind: pa.DataType) -> pa.ChunkedArray:
    column = table[name]
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        return column.cast(kind)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(
            f"column {name!r} of {path} is of type {column.type}, not {kind}; convert or leave it "
            "out."
        ) from error


def _number(path: Path, table: pa.Table, name: str) -> pa.ChunkedArray:
    """Return a column as float64, null where it is not finite."""
    try:
        number = table[name].cast(pa.float64())
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"column {name!r} of {path} is not a number.") from error
    return pc.if_else(pc.is_finite(number), number, pa.scalar(None, pa.float64()))
