"""Where the samples of a plan lie in the shards of a run."""

import dataclasses

import numpy as np
import pytest

from curate.errors import DataError
from curate.runs import dataset
from curate.scores.plan import Plan
from curate.stages import placement


def test_parts_say_where_their_samples_lie(in_parts):
    made = Plan.read(in_parts.path / "plan.parquet")
    index = dataset.index(in_parts)
    rows, places = [], []
    for part in placement.by_shard(in_parts, placement.placed(in_parts, made)):
        uids = [uid.decode() for uid in part.uids.tolist()]
        assert part.uids.tolist() == made.uids[part.rows].tolist()
        assert uids == sorted(uids)
        assert index["uid"].take(part.places).to_pylist() == uids
        assert {name[:5] for name in index["shard"].take(part.places).to_pylist()} == {part.name}
        rows += part.rows.tolist()
        places += part.places.tolist()
    assert sorted(rows) == sorted(places) == list(range(80))


def test_a_sample_of_the_plan_that_is_in_no_shard_is_told(in_parts):
    made = Plan.read(in_parts.path / "plan.parquet")
    longer = np.array([*made.uids[:-1].tolist(), made.uids[-1] + b"-7"], dtype=np.bytes_)
    shorter = np.array([*made.uids[:-1].tolist(), b"f" * 31], dtype=np.bytes_)
    for uids in (longer, shorter):
        with pytest.raises(DataError, match=r"1 of 80 samples of .*plan.parquet are not in"):
            placement.placed(in_parts, dataclasses.replace(made, uids=uids))
