"""ScoreTable: what is built can be read back, and what is broken is named."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.data.sample import INDEX_SCHEMA, content_uid
from curate.errors import DataError
from curate.runtime.files import write_table
from curate.scores.table import SCORE_SCHEMA, ScoreTable


def an_index(n):
    uids = [content_uid(bytes([i])) for i in range(n)]
    columns = {name: [None] * n for name in INDEX_SCHEMA.names}
    columns |= {
        "uid": uids,
        "key": [f"{i:08d}" for i in range(n)],
        "shard": [f"{i // 2:05d}.tar" for i in range(n)],
        "label": [None if i == 1 else i % 3 for i in range(n)],
        "path": [f"deep/{i}.png" for i in range(n)],
    }
    return pa.table(columns, schema=INDEX_SCHEMA)


@pytest.fixture
def built():
    index = an_index(5)
    uids = np.array(index["uid"].to_pylist(), dtype=object)[[4, 2, 0, 1]]
    nan = np.nan
    names = ("se", "se_views", "se_encoders", "raw", "delta", "align_in", "align_out")
    measured = SimpleNamespace(
        memorization=np.array([0.4, nan, 0.1, 0.2]),
        n_in=np.array([3.0, 4.0, 3.0, 3.0]),
        n_out=np.array([1.0, 0.0, 1.0, 1.0]),
        **{name: np.array([0.1, nan, 0.2, 0.3]) for name in names},
    )
    ranks = np.array([1, 0, 3, 2])
    group = np.array(["0", "1", "0", "1"], dtype=object)
    # Labels of 2 have no name.
    return index, ScoreTable.build(index, uids, group, measured, ranks, 10, classes=("a", "b"))


def test_rows_are_matched_by_uid_and_sorted(built):
    index, scores = built
    assert scores.table.schema.equals(SCORE_SCHEMA)
    rows = {row["uid"]: row for row in scores.table.to_pylist()}
    uids = index["uid"].to_pylist()
    assert list(rows) == sorted(uids[i] for i in (4, 2, 0, 1))
    wanted = {4: (0.4, 1, 1, "0"), 2: (None, None, 2, "1"), 0: (0.1, 3, 0, "0")}
    wanted[1] = (0.2, 2, None, "1")
    for i, values in wanted.items():
        row = rows[uids[i]]
        assert (row["memorization"], row["rank"], row["label"], row["group"]) == values
        assert row["key"] == f"{i:08d}"
        assert row["shard"] == f"{i // 2:05d}.tar"
        assert row["path"] == f"deep/{i}.png"
        assert row["class"] == {0: "a", 1: "b"}.get(row["label"])
    assert rows[uids[2]]["se_views"] is None
    assert rows[uids[2]]["n_in"] == 4
    assert rows[uids[2]]["n_views"] == 10


def test_scored_leaves_out_what_has_no_score(built):
    _, scores = built
    assert scores.n_scored == 3
    assert scores.scored()["memorization"].null_count == 0
    assert scores.scored().num_rows == 3


def test_reading_gives_back_what_was_written(built, tmp_path):
    _, scores = built
    write_table(tmp_path / "scores.parquet", scores.table)
    assert ScoreTable.read(tmp_path / "scores.parquet").table.equals(scores.table)


def test_some_columns_come_with_their_uids(built, tmp_path):
    _, scores = built
    write_table(tmp_path / "scores.parquet", scores.table)
    found = ScoreTable.read(tmp_path / "scores.parquet", ["se"]).table
    assert found.column_names == ["uid", "se"]
    assert found.equals(scores.table.select(["uid", "se"]))


def test_a_uid_outside_the_index_is_named(built):
    index, _ = built
    with pytest.raises(DataError, match="feed"):
        ScoreTable.build(index, np.array(["feed"]), np.array(["0"]), None, np.array([1]), 1)


def test_broken_tables_are_named(built, tmp_path):
    _, scores = built
    path = tmp_path / "scores.parquet"
    with pytest.raises(DataError, match="cannot read"):
        ScoreTable.read(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(DataError, match="cannot read"):
        ScoreTable.read(path)
    pq.write_table(scores.table.drop_columns(["se"]), path)
    with pytest.raises(DataError, match="lacks se"):
        ScoreTable.read(path)
    pq.write_table(pa.concat_tables([scores.table, scores.table]), path)
    with pytest.raises(DataError, match="repeats a uid"):
        ScoreTable.read(path)
