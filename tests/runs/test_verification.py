"""Verification finds every fault there is, says where it is, and names each once."""

import json
import shutil
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from curate.cli.results.runs import faults_in_short, verify_lines
from curate.data.shards import writer
from curate.runs.verification import verify


def faults(path, *, full=False):
    """Return (file, offset, key, problem) of each fault, of which there are some."""
    verified = verify(path, full=full)
    assert verified.ok is (verified.faults == ()) is False
    assert json.loads(json.dumps(verified.to_json(), allow_nan=False)) == verified.to_json()
    return [(fault.file, fault.offset, fault.key, fault.problem) for fault in verified.faults]


def well(path, **options):
    verified = verify(path, **options)
    assert verified.ok and verified.faults == (), verified.faults
    return verified


def test_an_undisturbed_run_has_no_faults(tiny_made):
    run = tiny_made[1] / "tiny"
    quick, full = well(run), well(run, full=True)
    assert quick == replace(full, full=False)
    records = len(list((run / "records").rglob("*.json")))
    assert full.checked > records + 80
    assert verify_lines(full) == [f"{run}: {full.checked:,} checked, nothing missing or changed"]


def test_every_file_of_every_record_is_checked(tiny_runs):
    run = tiny_runs / "tiny"
    for name in ("plan.parquet", "encoders/fold1/log.jsonl", "scores.json", "inspect.parquet"):
        file = run / name
        data = file.read_bytes()
        file.write_bytes(data[:-1])
        problem = f"has {len(data) - 1:,} bytes, not {len(data):,}"
        assert faults(run) == [(name, None, None, problem)]
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        well(run)
        assert faults(run, full=True) == [(name, None, None, "changed since it was made")]
        file.unlink()
        assert faults(run) == [(name, None, None, "is missing")]
        file.write_bytes(data)
    well(run, full=True)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"outputs": {"plan.parquet": 3}}'])
def test_a_damaged_record_is_a_fault(tiny_runs, content):
    run = tiny_runs / "tiny"
    (run / "records" / "plan.json").write_bytes(content)
    first, second = faults(run)
    assert first[:3] == ("records/plan.json", None, None) and first[3]
    assert second[0] == "plan.parquet" and "has no record" in second[3]


def test_files_without_records_are_unknown_and_never_well(tiny_runs):
    run = tiny_runs / "tiny"
    shutil.rmtree(run / "records")
    named = {file for file, *_ in faults(run, full=True)}
    assert {"plan.parquet", "scores.parquet", "shards/00000.tar", "inspect.json"} <= named
    assert "encoders/fold0/weights.safetensors" in named
    assert "manifests/top-0.5.parquet" not in named  # which has a digest of its own


@pytest.mark.parametrize("name", ["run.json", "manifests/top-0.5.json"])
def test_a_flipped_bit_in_json_is_found(tiny_runs, name):
    path = tiny_runs / "tiny" / name
    whole = path.read_bytes()
    for place in range(7, len(whole) - 7, len(whole) // 40):
        data = bytearray(whole)
        data[place] ^= 1
        path.write_bytes(data)
        try:
            same = json.loads(data) == json.loads(whole)
        except ValueError:
            same = False
        if not same and b'"checksum"' in data:
            assert [file for file, *_ in faults(tiny_runs / "tiny")], place
    path.write_bytes(whole)
    well(tiny_runs / "tiny")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_a_damaged_run_json_is_a_fault(tiny_runs, content):
    run = tiny_runs / "tiny"
    (run / "run.json").write_bytes(content)
    assert [file for file, *_ in faults(run)] == ["run.json"]


def test_many_faults_are_counted_and_the_first_named(tiny_runs):
    run = tiny_runs / "tiny"
    for e in ("fold0", "fold1"):
        for name in ("weights.safetensors", "config.json", "log.jsonl"):
            (run / "encoders" / e / name).unlink()
    verified = verify(run)
    assert len(verify_lines(verified)) == len(verified.faults) == 6
    text = faults_in_short(verified)
    first, mend = text.splitlines()
    assert first.endswith("(and 3 more).") and first.count("is missing") == 3
    assert mend.startswith(f"'curate run {run}' makes again what is missing or changed")
    assert text.startswith(f"{run}: encoders/fold0/config.json is missing; ")


def test_changed_manifests_are_found(tiny_runs):
    run = tiny_runs / "tiny"
    path = run / "manifests" / "top-0.5.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 79), path)
    for place, name in ((run, "manifests/top-0.5.parquet"), (path, "top-0.5.parquet")):
        ((file, _, _, problem),) = faults(place)
        assert file == name and "does not match the sha256" in problem
    path.with_suffix(".json").unlink()
    assert "top-0.5.json" in faults(path)[0][3]


def test_a_damaged_shard_of_a_run_is_never_only_changed(tiny_runs):
    run = tiny_runs / "tiny"
    row = pq.read_table(run / "shards" / "index.parquet").to_pylist()[40]
    tar = run / "shards" / row["shard"]
    data = bytearray(tar.read_bytes())
    data[row["offset"] + row["size"] - 1] ^= 1
    tar.write_bytes(data)
    well(run)
    name = f"shards/{row['shard']}"
    assert faults(run, full=True) == [(name, row["offset"], row["key"], "the image changed")]
    size = row["offset"] + 7
    tar.write_bytes(data[:size])
    problem = f"is cut short at offset {size:,} of {len(data):,} bytes"
    for full in (False, True):
        assert faults(run, full=full) == [(name, size, row["key"], problem)]
    line = f"{name} {problem} (sample {row['key']})"
    assert verify_lines(verify(run)) == [line]
    tar.unlink()
    assert faults(run, full=True) == [(name, None, None, "is missing")]


def test_shards_whose_index_or_facts_are_damaged_are_told_by_their_digests(tiny_runs):
    run = tiny_runs / "tiny"
    tar = run / "shards" / "00000.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    index = (run / "shards" / "index.parquet").read_bytes()
    (run / "shards" / "index.parquet").write_bytes(b"nonsense")
    for place, before in ((run, "shards/"), (run / "shards", "")):
        found = faults(place, full=True)
        assert found[0][0] == f"{before}index.parquet" and "changed since" in found[0][3]
        assert found[1][0] == f"{before}00000.tar" and "changed since" in found[1][3]
        assert len(found) == 2
    (run / "shards" / "index.parquet").unlink()
    problem = "is missing; make the shards again"
    assert faults(run / "shards") == [("index.parquet", None, None, problem)]
    (run / "shards" / "index.parquet").write_bytes(index)
    for content in ("", "{}", '{"shards": []}', '{"shards": {"00000.tar": {}}}'):
        (run / "shards" / "dataset.json").write_text(content)
        assert [file for file, *_ in faults(run / "shards")] == ["dataset.json"]
        assert {file for file, *_ in faults(run, full=True)} == {
            "shards/dataset.json", "shards/00000.tar",
        }  # fmt: skip


def test_shards_that_were_not_finished_are_no_shards(tiny_runs):
    folder = tiny_runs / "tiny" / "shards"
    (folder / writer.UNFINISHED).touch()
    assert "never finished" in faults(folder)[0][3]
