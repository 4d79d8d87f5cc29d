"""Verification finds every fault there is, and names each once."""

import re

import pyarrow.parquet as pq
import pytest

from curate.errors import DataError
from curate.verification import verify


def faults(path, *, full=False):
    with pytest.raises(DataError) as found:
        verify(path, full=full)
    return str(found.value)


def test_an_undisturbed_run_has_no_faults(tiny_made):
    run = tiny_made[1] / "tiny"
    quick, full = verify(run), verify(run, full=True)
    assert quick == {**full, "full": False}
    records = len(list((run / "records").rglob("*.json")))
    assert full["checked"] > records + 80


def test_every_file_of_every_record_is_checked(tiny_runs):
    run = tiny_runs / "tiny"
    for name in ("plan.parquet", "encoders/fold1/log.jsonl", "scores.json", "inspect.parquet"):
        file = run / name
        data = file.read_bytes()
        file.write_bytes(data[:-1])
        assert f"{name} has {len(data) - 1:,} bytes, not {len(data):,}" in faults(run)
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert faults(run, full=True) == f"{run}: {name} changed since it was made."
        file.unlink()
        assert faults(run) == f"{run}: {name} is missing."
        file.write_bytes(data)
    verify(run, full=True)


def test_many_faults_are_counted_and_the_first_named(tiny_runs):
    run = tiny_runs / "tiny"
    for e in ("fold0", "fold1"):
        for name in ("weights.safetensors", "config.json", "log.jsonl"):
            (run / "encoders" / e / name).unlink()
    text = faults(run)
    assert text.endswith("(and 3 more).")
    assert text.count("is missing") == 3


def test_changed_manifests_are_found(tiny_runs):
    run = tiny_runs / "tiny"
    path = run / "manifests" / "top-0.5.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 79), path)
    assert "does not match the sha256" in faults(run)
    assert "does not match the sha256" in faults(path)


def test_every_changed_sample_is_found(tiny_runs):
    shards = tiny_runs / "tiny" / "shards"
    rows = pq.read_table(shards / "index.parquet").to_pylist()
    tar = bytearray((shards / "00000.tar").read_bytes())
    for row in (rows[0], rows[40], rows[79]):
        tar[row["offset"] + row["size"] - 1] ^= 1
    (shards / "00000.tar").write_bytes(tar)
    text = faults(shards, full=True)
    assert re.findall(r"sample (\S+)\)", text) == [rows[i]["key"] for i in (0, 40, 79)]
    (shards / "index.parquet").write_bytes(b"nonsense")
    assert "index.parquet" in faults(shards)
    (shards / "index.parquet").unlink()
    assert "index.parquet" in faults(shards)


def test_changes_outside_of_the_images_are_found_in_full(tiny_runs):
    shards = tiny_runs / "tiny" / "shards"
    tar = shards / "00000.tar"
    data = tar.read_bytes()
    for place in (0, 150, data.index(b".cls"), len(data) - 1):
        tar.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        verify(shards)
        assert "shard 00000.tar changed outside of its images" in faults(shards, full=True)
    tar.write_bytes(data)
    verify(shards, full=True)
