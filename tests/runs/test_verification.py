"""Verification finds every fault there is, says where it is, and names each once."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.cli.results.runs import faults_in_short, verify_lines
from curate.data import shards as made_shards
from curate.data.sample import Entry
from curate.data.shards import writer
from curate.runs.verification import verify
from tests.given import Given
from tests.rendered import mixed


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


# One bit, one cut


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three shards of four labelled images with metadata; read only, but for a test's own tar."""
    patched = pytest.MonkeyPatch()
    patched.setattr(writer, "SHARD_SAMPLES", 4)
    place = tmp_path_factory.mktemp("flips") / "s"
    entries = [
        Entry(name, data, i % 2, {"note": "x" * 700 * (i % 2)})
        for i, (name, data) in enumerate(mixed(12))
    ]
    made_shards.write([(Given(entries, classes="ab"), "train")], place)
    patched.undo()
    return place


def test_any_bit_flipped_in_a_shard_is_found_at_its_sample(folder):
    tar = folder / "00001.tar"
    data = tar.read_bytes()
    rows = [r for r in made_shards.Reader(folder).index().to_pylist() if r["shard"] == tar.name]
    end = json.loads((folder / "dataset.json").read_text())["shards"][tar.name]["end"]
    places = {*range(0, len(data), 97), *range(0, 512, 7), end - 1, end, len(data) - 1}
    try:
        for place in sorted(places):
            flipped = bytearray(data)
            flipped[place] ^= 1 << place % 8
            tar.write_bytes(flipped)
            well(folder)
            ((file, offset, key, problem),) = faults(folder, full=True)
            assert file == tar.name
            if place >= end:
                assert (offset, key, problem) == (place, None, "the end mark changed")
                continue
            row = max((r for r in rows if r["offset"] - 512 <= place), key=lambda r: r["offset"])
            assert key == row["key"]
            if row["offset"] <= place < row["offset"] + row["size"]:
                assert (offset, problem) == (row["offset"], "the image changed")
            else:
                assert offset == row["offset"] - 512 and "the image did not" in problem
    finally:
        tar.write_bytes(data)
    well(folder, full=True)


def test_a_cut_anywhere_is_found_with_its_offset_and_sample(folder):
    tar = folder / "00002.tar"
    data = tar.read_bytes()
    rows = [r for r in made_shards.Reader(folder).index().to_pylist() if r["shard"] == tar.name]
    end = json.loads((folder / "dataset.json").read_text())["shards"][tar.name]["end"]
    cuts = {
        *range(0, len(data), 512),
        *np.random.default_rng(0).integers(0, len(data), 60).tolist(),
    }
    try:
        for cut in sorted(cuts):
            tar.write_bytes(data[:cut])
            inside = [r["key"] for r in rows if r["offset"] - 512 <= cut]
            wanted = inside[-1] if cut < end else None
            problem = f"is cut short at offset {cut:,} of {len(data):,} bytes"
            for full in (False, True):
                assert faults(folder, full=full) == [(tar.name, cut, wanted, problem)]
        tar.write_bytes(data + b"more")
        problem = "goes on behind its end, for 4 bytes"
        assert faults(folder) == [(tar.name, len(data), None, problem)]
    finally:
        tar.write_bytes(data)
    well(folder, full=True)


def test_every_changed_sample_is_found_and_what_lies_behind_it(folder):
    rows = made_shards.Reader(folder).index().to_pylist()
    before = {tar: tar.read_bytes() for tar in folder.glob("*.tar")}
    changed = [rows[i] for i in (0, 3, 6, 11)]
    try:
        for row in changed:
            data = bytearray((folder / row["shard"]).read_bytes())
            data[row["offset"] + row["size"] - 1] ^= 1
            (folder / row["shard"]).write_bytes(data)
        tar = folder / "00002.tar"
        tar.write_bytes(tar.read_bytes()[:-512])
        found = faults(folder, full=True)
        size = len(before[tar]) - 512
    finally:
        for tar, data in before.items():
            tar.write_bytes(data)
    assert [(f, o, k) for f, o, k, _ in found] == [
        *((row["shard"], row["offset"], row["key"]) for row in changed),
        ("00002.tar", size, None),
    ]


def test_a_digest_that_does_not_fit_is_told_where_the_samples_do(folder):
    path = folder / "dataset.json"
    text = path.read_text()
    facts = json.loads(text)
    facts["shards"]["00000.tar"]["sha256"] = "0" * 64
    try:
        path.write_text(json.dumps(facts))
        ((file, _, _, problem),) = faults(folder, full=True)
    finally:
        path.write_text(text)
    assert file == "dataset.json" and "another sha256 for 00000.tar" in problem
