"""Material: everything in a run directory that a report shows, read once and checked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.data.chunks import one_chunk
from curate.errors import DataError
from curate.evaluation.agreement import Agreement
from curate.inspection.neighbours import INSPECT_SCHEMA
from curate.reports import words
from curate.runs import ledger as costs
from curate.runs import units
from curate.runs.dataset import manifest_names
from curate.runs.run import Run
from curate.runtime.files import read_json
from curate.runtime.options import option
from curate.scores.table import ScoreTable
from curate.selection.manifest import Manifest

NUMBERS = ("memorization", "se", "delta", "align_in", "align_out", "rank")
"""Columns of ``scores.parquet`` that figures and galleries are made of."""
TEXTS = ("shard", "label", "path", "group")
"""Columns of ``scores.parquet`` that say which image a row is of."""
SUMMARY = ("groups", "tests", "verdict", "reliability", "n_scored", "n_unscored", "encoders")
"""What ``scores.json`` has to say for a report to be made."""


@dataclass(frozen=True)
class Selection:
    """One manifest: its facts and what its rows add up to.

    Attributes:
        name: Of its file, without ending.
        facts: Content of its JSON.
        kept: How many samples it keeps.
        dropped: How many it drops.
        expected_share: Expected share of those it picks out by score that would be picked again,
            were scores drawn anew with their standard errors, in [0, 1]; None where unknown.
    """

    name: str
    facts: dict[str, Any]
    kept: int
    dropped: int
    expected_share: float | None


@dataclass(frozen=True)
class Material:
    """What a report is made of.

    Attributes:
        path: The run directory.
        run: Content of ``run.json``.
        summary: Content of ``scores.json``.
        scores: Rows of ``scores.parquet``, N of them: ``TEXTS`` and ``NUMBERS``.
        numbers: ``NUMBERS`` of them, each (N,) float64, NaN where null.
        group: (N,) object, as in the plan.
        dataset: Content of ``shards/dataset.json``.
        ledger: What ``ledger.ledger`` says.
        inspected: Rows of ``inspect.parquet``, or None.
        inspect_facts: Content of ``inspect.json``, or None.
        along: One mapping an epoch that was scored along the training, of ``snapshots.json``.
        agreement: What ``agreement.agree`` gave of this run and others, or None.
        selections: Manifests in order of their names.
        comparisons: (folder name, ``comparison.json``).
        probes: (file name, content) of ``probes/*.json``.
        learned: Content of ``learned.json``, or None.
        members: How many samples each encoder was trained on.
        records: Completion record of each encoder's training.
    """

    path: Path
    run: dict[str, Any]
    summary: dict[str, Any]
    scores: pa.Table
    numbers: dict[str, np.ndarray]
    group: np.ndarray
    dataset: dict[str, Any]
    ledger: costs.Ledger
    inspected: pa.Table | None = None
    inspect_facts: dict[str, Any] | None = None
    along: tuple[dict[str, Any], ...] = ()
    agreement: Agreement | None = None
    selections: tuple[Selection, ...] = ()
    comparisons: tuple[tuple[str, dict[str, Any]], ...] = ()
    probes: tuple[tuple[str, dict[str, Any]], ...] = ()
    learned: dict[str, Any] | None = None
    members: dict[str, int] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def recipe(self) -> dict[str, Any]:
        """The run's recipe, every default filled in."""
        return dict(self.run["recipe"])

    @property
    def plan(self) -> str:
        """Kind of the plan: ``pair``, ``halves``, ``folds`` or ``subsets``, never ``adopted``."""
        plan = self.recipe["plan"]
        if plan["kind"] == "adopted":
            return "pair" if len(plan["encoders"]) == 2 else "subsets"
        return str(plan["kind"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; empty where labels have none."""
        return tuple(str(c) for c in self.dataset.get("classes") or ())

    @property
    def score(self) -> np.ndarray:
        """The score that groups are compared by, (N,) float64: delta for a pair plan."""
        return self.numbers["delta" if self.plan == "pair" else "memorization"]

    @property
    def unit(self) -> str:
        """What scores and alignments are measured in, in short."""
        kind = str(self.summary.get("distance", "l2"))
        return words.SHORT_UNITS.get(kind, words.shown(kind))

    @property
    def long_unit(self) -> str:
        """What scores and alignments are measured in, with the range."""
        kind = str(self.summary.get("distance", "l2"))
        return words.UNITS.get(kind, words.shown(kind))

    @property
    def decimals(self) -> int:
        """How many decimals of a score its standard errors leave meaning in."""
        known = [v[~np.isnan(v)] for v in (self.numbers["se"], self.numbers["memorization"])]
        scale = float(np.median(known[0])) if len(known[0]) else 0.0
        if not scale > 0 and len(known[1]):
            scale = float(known[1].std())
        return 4 if not scale > 0 else int(np.clip(np.ceil(-np.log10(scale / 3)), 2, 8))

    def groups(self) -> list[tuple[str, dict[str, Any]]]:
        """Return name and moments of each group, candidates first and the whole last."""
        order = (
            {name: k for k, name in enumerate(("C", "S", "E", "I"))} if self.plan == "pair" else {}
        )
        return sorted(
            self.summary["groups"].items(),
            key=lambda g: (g[0] == "all", order.get(g[0], 9), int(g[0]) if g[0].isdigit() else 0),
        )

    def group_name(self, name: str, *, short: bool = False) -> str:
        """Return a group of the plan in words."""
        if self.plan == "pair" and name in words.GROUPS:
            return words.GROUPS[name].split(",")[0] if short else words.GROUPS[name]
        if name == "all":
            return "all scored images"
        if self.plan == "halves" and name in ("f", "g"):
            return f"seen by {name} only"
        kind = "part" if self.plan == "parts" else "fold"
        return f"{kind} {name}" if name.isdigit() else words.shown(name)

    def ranked(self) -> np.ndarray:
        """Return the rows that are scored, most memorized first."""
        rank = self.numbers["rank"]
        rows = np.flatnonzero(~np.isnan(rank))
        return rows[np.argsort(rank[rows], kind="stable")]

    def uids(self, rows: np.ndarray) -> list[str]:
        """Return the uids of rows of ``scores``."""
        return list(self.scores["uid"].take(pa.array(rows)).to_pylist())

    def rows(self, uids: Iterable[str]) -> dict[str, int]:
        """Return the row of ``scores`` of each uid that has one."""
        names = pa.array(list(uids), pa.string())
        at = pc.index_in(names, value_set=one_chunk(self.scores["uid"]))
        pairs = zip(names.to_pylist(), at.to_pylist(), strict=True)
        return {uid: row for uid, row in pairs if row is not None}

    def label_name(self, label: int | None) -> str:
        """Return a label as its class is called, ``none`` where there is no label."""
        if label is None:
            return "none"
        classes = self.classes
        return words.shown(classes[label], limit=60) if 0 <= label < len(classes) else str(label)

    def triage_of(self, uids: pa.ChunkedArray) -> list[str] | None:
        """Return the class of triage of samples, ``–`` where one has none; None without triage."""
        table = self.inspected
        if table is None or "triage" not in table.column_names:
            return None
        rows = pc.index_in(uids, value_set=one_chunk(table["uid"]))
        return list(table["triage"].take(rows).fill_null("–").to_pylist())


def gather(path: Path, *, agreement: Agreement | None = None) -> Material:
    """Read a run directory.

    Args:
        path: Of the run.
        agreement: What ``agreement.agree`` gave of this run and others, to be shown with it.

    Raises:
        DataError: If the run has no scores, or a file of it is broken.
    """
    if not (path / "scores.parquet").is_file() or not (path / "scores.json").is_file():
        raise DataError(f"run {path} has no scores yet; type 'curate score {path.name}'.")
    run = _object(path / "run.json", ("name", "recipe"))
    if "kind" not in run["recipe"].get("plan", {}):
        raise DataError(
            f"{path / 'run.json'} names no plan; start the run over with {option(fresh=True)}."
        )
    opened = Run.open(path)
    scores = ScoreTable.read(opened.held("score", "scores.parquet"), (*TEXTS, *NUMBERS)).table
    inspect_file = opened.held("inspect", "inspect.parquet")
    inspect_facts = opened.held("inspect", "inspect.json")
    along = opened.held("snapshots", "snapshots.json")
    learned = opened.held("learned", "learned.json")
    members = _members(opened.held("plan", "plan.parquet"))
    return Material(
        path=path,
        run=run,
        summary=_object(opened.held("score", "scores.json"), SUMMARY),
        scores=scores,
        numbers={name: _number(scores[name]) for name in NUMBERS},
        group=np.asarray(scores["group"].to_numpy(zero_copy_only=False), dtype=object),
        dataset=_object(path / "shards" / "dataset.json", ("classes", "splits")),
        inspected=_table(inspect_file, INSPECT_SCHEMA.names) if inspect_file.is_file() else None,
        inspect_facts=_object(inspect_facts, ()) if inspect_facts.is_file() else None,
        along=tuple(_object(along, ("epochs",))["epochs"]) if along.is_file() else (),
        agreement=agreement,
        selections=tuple(_selection(path / "manifests", name) for name in manifest_names(path)),
        comparisons=tuple(
            _comparison(opened, p.parent.name)
            for p in sorted((path / "comparisons").glob("*/comparison.json"))
        ),
        probes=tuple(
            (p.name, _object(p, ("encoder", "results")))
            for p in sorted((path / "probes").glob("*.json"))
        ),
        learned=_object(learned, ("verdict",)) if learned.is_file() else None,
        members=members,
        records={name: _training(opened, name) for name in members},
        ledger=costs.ledger(opened),
    )


def _object(path: Path, needed: Iterable[str]) -> dict[str, Any]:
    """Read a JSON object and check that it has what a report needs."""
    content = read_json(path)
    lacking = [name for name in needed if name not in content]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)}; run the stage that makes it again.")
    return content


def _table(path: Path, needed: Iterable[str]) -> pa.Table:
    """Read a parquet file and check that it has what a report needs."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        line = str(error).splitlines()[0]
        raise DataError(
            f"cannot read {path}: {line}; run the stage that makes it again."
        ) from error
    lacking = [name for name in needed if name not in table.column_names]
    if lacking:
        raise DataError(f"{path} lacks {', '.join(lacking)}; run the stage that makes it again.")
    return table


def _number(column: pa.ChunkedArray) -> np.ndarray:
    return np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False))


def _training(run: Run, encoder: str) -> dict[str, Any]:
    """Return the record of an encoder of the plan."""
    record = _object(run.record_path(f"train/{encoder}"), ("loss", "seconds", "n", "epochs"))
    if "key" in record and not units.members(run):
        raise DataError(
            f"{run.record_path('plan')} is missing or damaged; type 'curate score {run.name}', "
            "which makes it again."
        )
    if "key" in record and record["key"] != units.train(run, encoder).key:
        raise DataError(
            f"{run.record_path(f'train/{encoder}')} is of an encoder with other settings or images "
            f"than {run.path} has; type 'curate score {run.name}', which makes it again."
        )
    return record


def _comparison(run: Run, name: str) -> tuple[str, dict[str, Any]]:
    """Read one comparison."""
    path = run.held(f"compare/{name}", f"comparisons/{name}/comparison.json")
    return name, _object(path, ("differences", "arms", "verdict"))


def _selection(folder: Path, name: str) -> Selection:
    """Read one manifest; its rows are counted, so that the report does not repeat a claim."""
    manifest = Manifest.read(folder / f"{name}.parquet")
    keep = pc.equal(manifest.table["decision"], "keep")
    kept = int(pc.sum(keep).as_py() or 0)
    return Selection(
        name=name,
        facts=manifest.facts,
        kept=kept,
        dropped=manifest.table.num_rows - kept,
        expected_share=_expected_share(
            manifest.facts.get("strategy"), keep, manifest.table["p_top"]
        ),
    )


def _expected_share(
    strategy: object, keep: pa.ChunkedArray, p_top: pa.ChunkedArray
) -> float | None:
    """Return the mean probability that a sample is on the side of the cut where it was put."""
    if strategy not in ("top", "drop-top", "bottom"):
        return None
    # ``p_top`` is the chance to be above the cut; top keeps those above it, drop-top drops them.
    side = pc.invert(keep) if strategy == "drop-top" else keep
    mean = pc.mean(p_top.filter(side)).as_py()
    return None if mean is None else (1.0 - mean if strategy == "bottom" else float(mean))


def _members(path: Path) -> dict[str, int]:
    """Return how many samples each encoder of a plan is trained on."""
    plan = _table(path, ("uid", "group"))
    names = [name for name in plan.column_names if name not in ("uid", "group")]
    return {name: int(pc.sum(plan[name]).as_py() or 0) for name in names}
