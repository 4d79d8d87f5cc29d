"""The index of shards: read a shard at a time, and only as it was written."""

import pyarrow.parquet as pq
import pytest

from curate.data import shards
from curate.data.index import open_index
from curate.data.sample import INDEX_SCHEMA
from curate.data.shards import writer
from curate.errors import DataError
from tests.given import Given
from tests.rendered import mixed


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Three shards: of four images, four, and two."""
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 4)
    shards.write([(Given(mixed(10)), "train")], tmp_path / "s")
    return tmp_path / "s"


def test_parts_are_the_table_shard_by_shard(folder):
    index = open_index(folder)
    assert (len(index), index.starts.tolist()) == (10, [0, 4, 8, 10])
    table = index.table()
    assert table.schema == INDEX_SCHEMA
    parts = list(index.parts())
    assert [part.num_rows for part in parts] == [4, 4, 2]
    for k, part in enumerate(parts):
        assert part.equals(table.slice(4 * k, part.num_rows))
        assert set(part["shard"].to_pylist()) == {f"{k:05d}.tar"}


def test_columns_and_shards_may_be_chosen(folder):
    index = open_index(folder)
    (last, first) = index.parts(["key", "uid"], shards=[2, 0])
    assert last.column_names == first.column_names == ["key", "uid"]
    assert first["uid"].to_pylist() == index.table(["uid"])["uid"].to_pylist()[:4]
    assert last.num_rows == 2


def test_an_index_that_is_not_the_one_that_was_written_is_refused(folder):
    path = folder / "index.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(1), path)
    with pytest.raises(DataError, match="changed since it was written"):
        open_index(folder)
    path.unlink()
    with pytest.raises(DataError, match="is missing"):
        open_index(folder)


def test_an_index_that_goes_bad_while_it_is_open_is_named(folder):
    index = open_index(folder)
    index.path.write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"index\.parquet cannot be read"):
        index.table()
