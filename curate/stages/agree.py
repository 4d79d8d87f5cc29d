"""Agree: compare the rankings of runs and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from curate.errors import unknown
from curate.evaluation import agreement
from curate.evaluation.agreement import Agreement, Ranking
from curate.runs import run, units
from curate.runs.run import Run
from curate.selection.selection import read_scores


def read_ranking(item: Run | str | Path, *, runs: Path, by: str) -> Ranking:
    """Return the ranking of a run, of a run by name, or of a table's column ``by``.

    Raises:
        UsageError: If nothing has that name.
        DataError: If the run has no scores yet, or the table lacks a column.
    """
    if isinstance(item, str | Path):
        path = Path(item)
        if path.suffix in (".parquet", ".csv"):
            table = read_scores(path, by).select(["uid", "memorization"])
            return Ranking(str(item), table)
        places = [path, runs / path]
        folder = next((p for p in places if (p / "run.json").is_file()), None)
        if folder is None:
            raise unknown(f"run under {runs}/", str(item), run.names(runs))
        item = Run.open(folder)
    table = item.scores(("uid", "memorization"))
    groups = frozenset(units.members(item).values()) or None
    return Ranking(item.name, table, item.summary().reliability.encoders, groups)


def agree(
    rankings: Sequence[Run | str | Path],
    *,
    tops: Sequence[int] = (),
    by: str = "memorization",
    runs: str | Path = "runs",
) -> Agreement:
    """Compare the rankings of two or more runs, or of column ``by`` of parquet or csv files."""
    return agreement.agree(
        [read_ranking(item, runs=Path(runs), by=by) for item in rankings], tuple(tops)
    )
