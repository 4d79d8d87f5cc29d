"""Shards that are written behind others are as if all had been written at once."""

import json

import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate.data import shards
from curate.data.sample import Entry
from curate.data.shards import writer
from curate.data.shards.before import THERE, Before
from curate.errors import DataError
from tests.given import Given
from tests.rendered import encoded, picture

CLASSES = ["a", "b"]


def entries(numbers):
    return [
        Entry(f"{i}.png", encoded(Image.fromarray(picture(i, 8, 8)), "PNG"), i % 2, {"i": i})
        for i in numbers
    ]


def put(folder, numbers, **how):
    source = Given(entries(numbers), classes=CLASSES)
    return shards.write([(source, "train")], folder, **how)


def test_tars_index_and_fingerprint_are_those_of_one_writing(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 4)
    put(tmp_path / "old", range(8))
    # Two that are there, and one twice.
    more = put(tmp_path / "new", [3, 8, 9, 0, 10], onto=tmp_path / "old")
    whole = put(tmp_path / "whole", range(11))
    assert sorted(p.name for p in (tmp_path / "new").glob("*.tar")) == ["00002.tar"]
    for name in ("00002.tar", "index.parquet"):
        assert (tmp_path / "new" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    for name in ("fingerprint", "shards", "index", "classes", "splits"):
        assert more[name] == whole[name]
    assert more["account"]["train"]["written"] == 8
    assert more["account"]["train +1"]["left_out_for"] == {THERE: 2}
    listed = [json.loads(line) for line in (tmp_path / "new" / "rejected.jsonl").open()]
    assert [row["path"] for row in listed] == ["3.png", "0.png"]


def test_what_is_there_is_known_by_its_content(tmp_path):
    put(tmp_path / "old", [0, 1, 0])
    before = Before.of(tmp_path / "old", tmp_path)
    rows = pq.read_table(tmp_path / "old" / "index.parquet")["sha256"].to_pylist()
    assert before.holds(rows[0]) and before.holds(rows[1]) and not before.holds("ab" * 32)
    assert (before.extension, before.labelled, before.written) == ("png", True, {"train": 3})
    with pytest.raises(DataError, match="all of its 2 images are already in the run"):
        put(tmp_path / "none", [0, 1], onto=tmp_path / "old")


def test_repeats_among_the_new_are_numbered(tmp_path):
    put(tmp_path / "old", [0])
    put(tmp_path / "new", [5, 5], onto=tmp_path / "old")
    uids = pq.read_table(tmp_path / "new" / "index.parquet")["uid"].to_pylist()
    assert uids[2] == f"{uids[1]}-1" and len(set(uids)) == 3
