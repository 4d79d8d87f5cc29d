"""Where the samples of a plan lie: shard by shard, as alignment and scores read them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.data.sample import packed_uids
from curate.data.shards import Reader
from curate.errors import DataError
from curate.runs.run import Run
from curate.runtime.files import on_disk
from curate.runtime.options import option
from curate.scores.plan import ADDED, Plan


@dataclass(frozen=True)
class Placed:
    """A plan whose N samples are known by their places in the shards: uids take five times as much.

    Attributes:
        kind: As in the plan, and so are ``group``, ``encoders``, ``inclusion`` and ``repeats``.
        rows: (N,) int32, rows of the plan, shard by shard, in each sorted by uid.
        places: (N,) int32, the places of those samples in the index.
        starts: (S + 1,) int64; shard s has the samples from ``starts[s]`` to ``starts[s + 1]``.
    """

    kind: str
    group: np.ndarray
    encoders: tuple[str, ...]
    inclusion: np.ndarray
    repeats: np.ndarray
    rows: np.ndarray
    places: np.ndarray
    starts: np.ndarray

    def of_repeats(self, repeats: Collection[int]) -> Placed:
        """Return the same samples with the encoders of some repeats of the plan alone."""
        mask = np.isin(self.repeats, list(repeats))
        return replace(
            self,
            encoders=tuple(np.array(self.encoders)[mask].tolist()),
            inclusion=self.inclusion[:, mask],
            repeats=self.repeats[mask],
        )

    def of_shards(self, count: int) -> Placed:
        """Return the samples that lie in the first ``count`` shards."""
        mask = np.zeros(len(self.group), dtype=bool)
        mask[self.rows[: self.starts[count]]] = True
        return self._some(mask)

    def known(self) -> tuple[Placed, Placed]:
        """Return the samples that encoders could be trained on, and those that came too late.

        Rows are numbered anew in each, so that what is computed of the first is computed as if the
        others were not there.
        """
        late = self.group == ADDED
        return self._some(~late), self._some(late)

    def _some(self, mask: np.ndarray) -> Placed:
        """Return some samples, by (N,) bool over rows of the plan."""
        if mask.all():
            return self
        here = mask[self.rows]
        numbers = np.cumsum(mask) - 1
        return replace(
            self,
            group=self.group[mask],
            inclusion=self.inclusion[mask],
            rows=numbers[self.rows[here]].astype(np.int32),
            places=self.places[here],
            starts=np.concatenate([[0], np.cumsum(here)])[self.starts],
        )


@dataclass(frozen=True)
class Part:
    """The samples of a plan that lie in one shard, n of them, sorted by uid.

    Attributes:
        name: The shard's stem.
        uids: (n,) bytes.
        rows: (n,) int32, their rows of the plan.
        places: (n,) int32, their places in the index.
        index: uid, key, shard, label and path of all samples of the shard.
    """

    name: str
    uids: np.ndarray
    rows: np.ndarray
    places: np.ndarray
    index: pa.Table

    def only(self, chosen: np.ndarray) -> Part:
        """Return some of the samples, by (n,) bool."""
        return replace(
            self, uids=self.uids[chosen], rows=self.rows[chosen], places=self.places[chosen]
        )


def placed(run: Run, plan: Plan) -> Placed:
    """Find the samples of a plan in the shards of its run.

    Raises:
        DataError: If one is in none.
    """
    n, start, bounds = len(plan.uids), 0, [0]
    rows, places = (on_disk(n, np.int32, run.path / "cache") for _ in range(2))
    for index in Reader(run.path / "shards").parts(["uid"]):
        uids = packed_uids(index["uid"])
        # A uid that is longer than any of the plan's is cut here, and differs below.
        at = np.searchsorted(plan.uids, uids.astype(plan.uids.dtype))
        at = np.minimum(at, n - 1)
        in_plan = np.flatnonzero(plan.uids[at] == uids)
        in_plan = in_plan[np.argsort(at[in_plan], kind="stable")]
        new = slice(bounds[-1], bounds[-1] + len(in_plan))
        rows[new], places[new] = at[in_plan], start + in_plan
        bounds.append(new.stop)
        start += len(uids)
    if bounds[-1] != n:
        raise DataError(
            f"{n - bounds[-1]} of {n} samples of {run.path / 'plan.parquet'} are not in the "
            f"shards' index; start over with {option(fresh=True)}."
        )
    return Placed(
        plan.kind,
        plan.group,
        plan.encoders,
        plan.inclusion,
        plan.repeats,
        rows,
        places,
        np.array(bounds),
    )


def by_shard(run: Run, placement: Placed) -> Iterator[Part]:
    """Yield the plan's samples shard by shard."""
    start = 0
    columns = ["uid", "key", "shard", "label", "path"]
    for s, index in enumerate(Reader(run.path / "shards").parts(columns)):
        here = slice(placement.starts[s], placement.starts[s + 1])
        if here.start < here.stop:
            name, places = Path(index["shard"][0].as_py()).stem, placement.places[here]
            uids = packed_uids(index["uid"])[places - start]
            yield Part(name, uids, placement.rows[here], places, index)
        start += index.num_rows
