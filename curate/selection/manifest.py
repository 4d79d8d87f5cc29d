"""Manifest: every sample of a dataset with keep or drop, why, and how to make the choice again."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.ordering import repeats, sorted_by_uid
from curate.errors import DataError, MismatchError
from curate.runtime.files import file_sha256, read_json, replacing, sealed, write_json
from curate.scores.estimator import rank
from curate.scores.top_probability import luck, p_selected, p_top
from curate.selection.strategies import STRATEGIES

SCHEMA_VERSION = 2

MANIFEST_SCHEMA = pa.schema(
    [
        ("uid", pa.string()),
        ("key", pa.string()),
        ("shard", pa.string()),
        ("label", pa.int64()),
        ("class", pa.string()),
        ("path", pa.string()),
        ("memorization", pa.float64()),
        ("se", pa.float64()),
        ("rank", pa.int64()),
        ("p_top", pa.float64()),
        ("decision", pa.string()),
        ("reason", pa.string()),
    ]
)
"""Columns of ``manifests/SELECTION.parquet``; rows are sorted by uid."""

AT_A_TIME = 1 << 20
"""Rows whose texts are made at a time."""

_FROM_BELOW = frozenset({"bottom", "drop-top"})
"""Strategies whose cut stands under the dropped samples, not under the kept ones."""


@dataclass(frozen=True)
class Manifest:
    """A selection from a dataset.

    Attributes:
        table: (N rows) columns as in ``MANIFEST_SCHEMA``, sorted by uid. ``rank`` is 1 for the
            highest score; ``p_top`` is the probability, given the standard errors, that the sample
            truly belongs to the ``facts["p_top"]["n"]`` highest (``p_selected``); both are
            null where there is no score.
        facts: What the JSON beside the table holds, but for the table's digest.
    """

    table: pa.Table
    facts: dict[str, Any]

    @classmethod
    def build(
        cls,
        table: pa.Table,
        keep: np.ndarray,
        *,
        strategy: str,
        parameters: Mapping[str, Any],
        provenance: Mapping[str, Any] | None = None,
        because: pa.Array | None = None,
    ) -> Manifest:
        """Return the manifest of a choice.

        Args:
            table: Every sample of the dataset, any order: ``uid`` and ``memorization`` (null where
                there is no score); ``key``, ``shard``, ``label``, ``class``, ``path`` and ``se``
                are taken where they are there, and are null where not. A label that is not an
                integer is left out.
            keep: (N,) bool, in the order of ``table``.
            strategy: Name of the strategy, as in ``select``.
            parameters: What the strategy was given. ``by`` names the number that stands in
                ``memorization`` if it is another.
            provenance: What the scores were made from (dataset_fingerprint, recipe,
                recipe_fingerprint, separation, verdict, seeds, versions...); nothing that differs
                between equal selections.
            because: (N,) strings, in the order of ``table``: why a sample that the strategy had no
                say in is kept or dropped; null for the others.

        Raises:
            DataError: If a uid is missing or repeated.
        """
        assert len(keep) == table.num_rows
        uids = table["uid"].cast(pa.string())
        if uids.null_count:
            raise DataError(f"{uids.null_count:,} rows of the scores have no uid.")
        kept = pa.array(np.asarray(keep, dtype=bool))
        given = {name: table[name] for name in table.column_names if name in MANIFEST_SCHEMA.names}
        why = pa.nulls(len(kept), pa.string()) if because is None else because
        table = sorted_by_uid(pa.table({**given, "uid": uids, "keep": kept, "because": why}))
        if repeats(table["uid"]):
            raise DataError("the scores repeat a uid; every sample may stand there once.")
        keep = table["keep"].to_numpy()
        columns = {field.name: _column(table, field) for field in MANIFEST_SCHEMA}
        m = _floats(columns["memorization"])
        scored = ~np.isnan(m)
        counts = {
            "total": len(m),
            "scored": int(scored.sum()),
            "unscored": int((~scored).sum()),
            "kept": int(keep.sum()),
            "dropped": int((~keep).sum()),
            "kept_scored": int((keep & scored).sum()),
            "dropped_scored": int((~keep & scored).sum()),
        }
        cut = counts["dropped_scored" if strategy in _FROM_BELOW else "kept_scored"]
        ranks = rank(m)
        by = parameters.get("by") or "memorization"
        se, reliability = _floats(columns["se"]), _reliability(provenance)
        chance, by_luck = _chance(m, se, cut, reliability, posterior=by == "expected")
        columns |= {
            "rank": pa.array(ranks, mask=ranks == 0),
            "p_top": chance,
            "decision": _of(["drop", "keep"], keep.astype(np.int8)),
            "reason": _reasons(strategy, keep, scored, table["because"], parameters),
        }
        facts = {
            "schema_version": SCHEMA_VERSION,
            "score_direction": (
                "higher = more memorized" if by == "memorization" else f"rank 1 is the highest {by}"
            ),
            "dataset_fingerprint": None,
            "recipe": None,
            "recipe_fingerprint": None,
            "separation": "untested",
            "verdict": None,
            "seeds": {},
            "versions": {},
            **(provenance or {}),
            "strategy": strategy,
            "parameters": dict(parameters),
            "counts": counts,
            "p_top": {
                "n": cut,
                "meaning": f"probability to be truly among the {cut:,} {ends(by)[0]}, given se",
                "luck": by_luck,
            },
        }
        return cls(pa.table([columns[n] for n in MANIFEST_SCHEMA.names], MANIFEST_SCHEMA), facts)

    def write(self, path: Path) -> None:
        """Write ``path`` (``.parquet``) and the JSON beside it, which holds the parquet's sha256.

        Equal selections give equal bytes in both files. One that is there is the old one or the new
        at every moment: until the table is replaced, the JSON speaks of both.
        """
        path = _parquet(path)
        beside = path.with_suffix(".json")
        before = None
        with contextlib.suppress(DataError):
            before = {**stored(path)[0], "sha256": file_sha256(path)}
        with replacing(path) as temporary:
            pq.write_table(self.table, temporary, compression="zstd")
            facts = {**self.facts, "sha256": file_sha256(temporary)}
            if before is not None:
                write_json(beside, sealed({**facts, "before": before}))
        write_json(beside, sealed(facts))

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest and check it against its JSON.

        Args:
            path: The parquet file, or its path without ``.parquet``.

        Raises:
            DataError: If a file is missing, the table changed since it was written, or it is of
                another version.
        """
        path = _parquet(path)
        facts, _ = stored(path)
        try:
            return cls(pq.read_table(path), facts)
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"cannot read manifest {path}: {error}.") from error

    def kept(self) -> np.ndarray:
        """Return the uids that are kept, (n,) object, sorted."""
        chosen = self.table.filter(pc.equal(self.table["decision"], "keep"))
        return np.asarray(chosen["uid"].to_numpy(zero_copy_only=False), dtype=object)

    def check_dataset(
        self, dataset_fingerprint: str, uids: np.ndarray | pa.Array | None = None
    ) -> None:
        """Check that the manifest belongs to a dataset.

        Args:
            dataset_fingerprint: The dataset's.
            uids: The dataset's uids. A manifest that was made from a bare table of scores has no
                fingerprint and is recognised by them alone.

        Raises:
            MismatchError: If it belongs to another, or its rows are not those of ``uids``.
        """
        mine = self.facts.get("dataset_fingerprint")
        if mine is None and uids is None:
            raise MismatchError(
                "the manifest was made from a table that names no dataset; select from the run's "
                "own scores instead: 'curate select --top N RUN'."
            )
        if mine is not None and mine != dataset_fingerprint:
            raise MismatchError(
                f"the manifest was made from another dataset (fingerprint {mine[:16]}, here "
                f"{dataset_fingerprint[:16]}); select again on this one with 'curate select'."
            )
        if uids is None:
            return
        here = uids if isinstance(uids, pa.Array) else pa.array(uids, pa.string())
        ordered = sorted_by_uid(pa.table({"uid": here}))["uid"]
        if ordered.equals(self.table["uid"]):
            return
        strangers = self.table["uid"].filter(pc.invert(pc.is_in(self.table["uid"], value_set=here)))
        if len(strangers) or len(here) != self.table.num_rows:
            example = f", e.g. {strangers[0].as_py()}" if len(strangers) else ""
            raise MismatchError(
                f"the manifest has {self.table.num_rows:,} samples, {len(strangers):,} of them not "
                f"among the {len(here):,} of this dataset{example}; select again on this one."
            )


def stored(path: Path) -> tuple[dict[str, Any], int]:
    """Check a manifest's parquet file against its JSON; returns its facts and number of rows.

    Raises:
        DataError: As ``Manifest.read``.
    """
    if not path.is_file():
        raise DataError(f"no manifest at {path}; make one with 'curate select'.")
    facts = read_json(path.with_suffix(".json"))
    digest, before = file_sha256(path), facts.pop("before", None)
    if before is not None and before.get("sha256") == digest:
        # Making it again was cut short before the table was replaced.
        facts = before
    if facts.get("schema_version") != SCHEMA_VERSION:
        raise DataError(
            f"{path.with_suffix('.json')} is no manifest of version {SCHEMA_VERSION}; "
            "make it again with 'curate select'."
        )
    if digest != facts.pop("sha256", None):
        raise DataError(
            f"manifest {path} does not match the sha256 in {path.with_suffix('.json').name}: "
            "one of them changed; make it again with 'curate select'."
        )
    try:
        with pq.ParquetFile(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"cannot read manifest {path}: {error}.") from error
    if not schema.equals(MANIFEST_SCHEMA):
        raise DataError(f"{path} does not have the columns of a manifest.")
    return facts, rows


def _parquet(path: Path) -> Path:
    return path if path.suffix == ".parquet" else path.with_name(f"{path.name}.parquet")


def _column(table: pa.Table, field: pa.Field) -> pa.ChunkedArray:
    """Return a column of ``table`` in the manifest's type, nulls where it is not there."""
    if field.name in table.column_names:
        have = table[field.name]
        fits = pa.types.is_integer(have.type) or pa.types.is_null(have.type)
        if field.name != "label" or fits:
            return have.cast(field.type)
    # The same nulls again and again, which take no memory.
    nulls = pa.nulls(min(table.num_rows, AT_A_TIME), field.type)
    whole, rest = divmod(table.num_rows, AT_A_TIME)
    return pa.chunked_array([nulls] * whole + [nulls[:rest]], field.type)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column as float64, NaN for null."""
    values: np.ndarray = column.to_numpy()
    return values.astype(np.float64, copy=False)


def _reliability(provenance: Mapping[str, Any] | None) -> float | None:
    """Return what is known of a run's reliability, of encoders and views or of views alone."""
    known = (provenance or {}).get("reliability") or {}
    return next((known[k] for k in ("encoders", "views") if known.get(k) is not None), None)


def _chance(
    m: np.ndarray, se: np.ndarray, n: int, reliability: float | None, *, posterior: bool
) -> tuple[pa.Array, float]:
    """Return ``p_top`` of each score, null where there is none, and how much of it is luck.

    What is a ``posterior`` has been moved to what is foretold, and is taken as it is.
    """

    def of(m: np.ndarray, se: np.ndarray) -> np.ndarray:
        return p_top(m, se, n) if posterior else p_selected(m, se, n, reliability)

    scored = ~np.isnan(m)
    if scored.all():
        chance = of(m, se)
        return pa.array(chance), luck(chance)
    chance = np.full(len(m), np.nan)
    chance[scored] = of(m[scored], se[scored])
    return pa.array(chance, from_pandas=True), luck(chance[scored])


def ends(by: str) -> tuple[str, str]:
    """Return what the highest and the lowest by a number are called."""
    if by == "memorization":
        return "most memorized", "least memorized"
    return f"highest by {by}", f"lowest by {by}"


def _reasons(
    strategy: str,
    keep: np.ndarray,
    scored: np.ndarray,
    because: pa.ChunkedArray,
    parameters: Mapping[str, Any],
) -> pa.ChunkedArray:
    """Return why each sample is kept or dropped, one of a few sentences."""
    by = parameters.get("by") or "memorization"
    high, low = ends(by)
    chosen = because.is_null().to_numpy() & scored
    kept, dropped = (f"{int((chosen & side).sum()):,}" for side in (keep, ~keep))
    number, noun, inside = {
        "top": (kept, high, keep),
        "drop-top": (dropped, high, ~keep),
        "bottom": (kept, low, keep),
    }.get(strategy, (kept, "", keep))
    if strategy in STRATEGIES:
        noun = noun or STRATEGIES[strategy].chosen
        end = ", class by class" if parameters.get("per_class") else ""
        why = (f"not among the {number} {noun}{end}", f"among the {number} {noun}{end}")
    else:
        why = (f"dropped by {strategy}", f"kept by {strategy}")
    sentences = [*why, "not scored; dropped as asked", "not scored; kept as asked"]
    which = np.where(scored, inside if strategy in STRATEGIES else keep, 2 + keep)
    return pc.coalesce(because, _of(sentences, which.astype(np.int8)))


def _of(texts: Sequence[str], which: np.ndarray) -> pa.ChunkedArray:
    """Return one of a few texts a row, by its number (N,) int8."""
    few = pa.array(texts)
    # Of all at once, Arrow would ask for twice the memory.
    parts = [
        few.take(pa.array(which[start : start + AT_A_TIME]))
        for start in range(0, len(which), AT_A_TIME)
    ]
    return pa.chunked_array(parts, pa.string())
