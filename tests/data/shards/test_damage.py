"""Damage to shards: every flipped bit and every cut is found, with its place and sample."""

import json

import numpy as np
import pytest

from curate.data import shards as made_shards
from curate.data.sample import Entry
from curate.data.shards import writer
from curate.runs.verification import verify
from curate.runtime.files import sealed, write_json
from tests.given import Given
from tests.rendered import mixed


def faults(path, *, full=False):
    """Return (file, offset, key, problem) of each fault, of which there are some."""
    verified = verify(path, full=full)
    assert verified.ok is (verified.faults == ()) is False
    content = verified.to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    return [(fault.file, fault.offset, fault.key, fault.problem) for fault in verified.faults]


def well(path, **options):
    verified = verify(path, **options)
    assert verified.ok and verified.faults == (), verified.faults
    return verified


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
        write_json(path, sealed(facts))
        ((file, _, _, problem),) = faults(folder, full=True)
    finally:
        path.write_text(text)
    assert file == "dataset.json" and "another sha256 for 00000.tar" in problem
