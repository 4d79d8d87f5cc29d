"""Columns that Arrow's 32 bits do not hold: here with fewer bits, so that tests are small."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from curate.data import chunks
from curate.data.chunks import as_strings, lists, one_chunk
from curate.data.ordering import order_of_texts, places, repeats, sorted_by_uid, words
from curate.data.sample import content_uid
from curate.errors import DataError
from tests.command import curate

UIDS = [content_uid(b"%d" % i) + ("-1" if i % 7 == 0 else "") for i in range(300)]


@pytest.fixture
def few(monkeypatch):
    """Texts of 1,000 bytes, or lists of 1,000 values, are the most of one array."""
    monkeypatch.setattr(chunks, "MOST", 1000)


def in_parts(texts, size=50):
    parts = [texts[i : i + size] for i in range(0, len(texts), size)]
    return pa.chunked_array([pa.array(part, pa.string()) for part in parts])


def test_more_text_than_one_array_takes_is_one_array_with_larger_offsets(few):
    assert one_chunk(in_parts(UIDS)).type == pa.large_string()
    assert one_chunk(in_parts(UIDS[:20], 5)).type == pa.string()
    assert one_chunk(in_parts(UIDS)).to_pylist() == UIDS
    assert one_chunk(pa.chunked_array([], pa.string())).to_pylist() == []


def test_what_is_written_has_the_type_of_what_is_small(few):
    large = one_chunk(in_parts(UIDS)).slice(3, 200)
    strings = as_strings(large)
    assert strings.type == pa.string() and strings.to_pylist() == UIDS[3:203]
    sizes = [pc.sum(pc.binary_length(part)).as_py() for part in strings.chunks]
    assert max(sizes) <= 1000 and min(sizes[:-1]) > 900
    gaps = pa.array(["a" * 700, None, "", "b" * 700, None], pa.large_string())
    assert as_strings(gaps).to_pylist() == gaps.to_pylist()
    assert as_strings(gaps.slice(1, 2)).to_pylist() == [None, ""]
    assert as_strings(pa.array([None, None], pa.large_string())).to_pylist() == [None, None]
    with pytest.raises(DataError, match="a text of 2,000 bytes"):
        as_strings(pa.array(["y", "x" * 2000], pa.large_string()))


def test_rows_are_ordered_whatever_their_number(few):
    random = np.random.default_rng(0)
    shuffled = random.permutation(len(UIDS))
    table = pa.table({
        "uid": in_parts([UIDS[i] for i in shuffled]),
        "path": in_parts([f"x/{i}" for i in shuffled]),
        "n": shuffled,
    })  # fmt: skip
    found = sorted_by_uid(table)
    assert found.schema == table.schema
    assert found["uid"].num_chunks > 1
    expected = np.argsort(np.array(UIDS))
    assert found["n"].to_pylist() == expected.tolist()
    assert found["path"].to_pylist() == [f"x/{i}" for i in expected]
    assert found["uid"].to_pylist() == sorted(UIDS)
    assert not repeats(found["uid"]) and repeats(in_parts(sorted(UIDS[:150] + UIDS[:1])))
    # In order already.
    assert sorted_by_uid(found)["uid"].to_pylist() == sorted(UIDS)


def test_large_texts_are_ordered_and_found_as_small_ones_are():
    small = pa.array(UIDS)
    large = small.cast(pa.large_string())
    for array in (small, large, large.slice(5, 100)):
        like = array.cast(pa.string())
        assert (words(array, 1) == words(like, 1)).all()
        assert order_of_texts(array).tolist() == order_of_texts(like).tolist()
        assert places(array, large).to_pylist() == places(like, small).to_pylist()
        assert places(small.slice(9, 9), array) == places(small.slice(9, 9), like)


def test_more_lists_than_one_array_takes_are_several(few):
    values = np.arange(900 * 3, dtype=np.int32).reshape(900, 3)
    column = lists(values, pa.int32())
    assert column.type == pa.list_(pa.int32()) and column.num_chunks == 3
    assert column.to_pylist() == values.tolist()
    assert lists(values[:0], pa.int32()).to_pylist() == []


def test_a_run_of_more_text_than_one_array_takes_has_the_same_results(tiny_runs, few):
    path = tiny_runs / "tiny"
    names = ("scores.parquet", "inspect.parquet", "inspect_neighbours.parquet")
    before = {name: pq.read_table(path / name) for name in names}
    for name in ("score", "inspect"):
        (path / "records" / f"{name}.json").unlink()
    for name in names:
        (path / name).unlink()
    for command in ("score", "inspect"):
        result = curate(command, "tiny", "--runs", tiny_runs, "--device", "cpu")
        assert result.code == 0, result.err
    assert one_chunk(pa.chunked_array([before["scores.parquet"]["uid"].chunk(0)] * 2)).type == (
        pa.large_string()
    )
    for name, table in before.items():
        assert pq.read_table(path / name).equals(table), name
