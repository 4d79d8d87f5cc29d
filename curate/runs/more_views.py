"""Doubt: samples whose place in a selection is not settled, and the further views they get."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.data.sample import packed_uids
from curate.runs import units
from curate.runs.run import Run
from curate.runtime.files import write_table

UNIT = "views"
"""Unit of work that says how many views the samples in doubt get; it writes ``views.parquet``."""


@dataclass(frozen=True)
class MoreViews:
    """The samples that are measured with more views than the recipe says.

    Attributes:
        uids: (M,) bytes, sorted.
        views: (M,) int32, views of each.
    """

    uids: np.ndarray
    views: np.ndarray

    def of(self, uids: np.ndarray) -> np.ndarray:
        """Return the views of samples by their uids, (n,) int32; 0 for those that get no more."""
        if not len(self.uids):
            return np.zeros(len(uids), dtype=np.int32)
        at = np.searchsorted(self.uids, uids.astype(self.uids.dtype))
        at = np.minimum(at, len(self.uids) - 1)
        return np.where(self.uids[at] == uids, self.views[at], 0).astype(np.int32)

    def facts(self) -> dict[str, int] | None:
        """Return how many samples get more views, and how many the most; None for no sample."""
        if not len(self.uids):
            return None
        return {"samples": len(self.uids), "most": int(self.views.max())}


NONE = MoreViews(np.empty(0, dtype="S1"), np.empty(0, dtype=np.int32))


def more_views(run: Run) -> MoreViews:
    """Return the samples of a run that get more views than the others; none where none do."""
    if units.views_digest(run) is None:
        return NONE
    table = pq.read_table(run.path / "views.parquet")
    return MoreViews(packed_uids(table["uid"]), table["n_views"].to_numpy())


def give(run: Run, uids: pa.Array, views: np.ndarray) -> None:
    """Give samples more views; those that had more already keep them, unless they get more still.

    Args:
        run: A scored run; its scores are to be made again.
        uids: (n,) strings.
        views: (n,) how many views each is to be measured with.
    """
    before = more_views(run)
    there = pa.table({"uid": pa.array(before.uids).cast(pa.string()), "n_views": before.views})
    requested = pa.table({"uid": uids, "n_views": np.asarray(views, dtype=np.int32)})
    both = pa.concat_tables([there, requested]).group_by("uid").aggregate([("n_views", "max")])
    table = pa.table({"uid": both["uid"], "n_views": both["n_views_max"]}).sort_by("uid")
    with run.lock():
        path, unit = run.path / "views.parquet", units.Unit(run, UNIT, {"table": "given"})
        with unit.making():
            write_table(path, table)
            unit.complete([path], views=run.recipe.score.views)


def further(unit: str) -> str:
    """Return the unit (or the stem of the file) of further views beside that of all samples."""
    return f"{unit}.more"
