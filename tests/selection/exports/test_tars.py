"""Tars that are exported have what the manifest keeps, as it was, for curate and for others."""

import json

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from curate.data import shards, sources
from curate.data.sample import Entry
from curate.data.shards import writer
from curate.errors import DataError
from curate.runs.verification import verify
from curate.selection.exports import export
from curate.selection.manifest import Manifest
from tests.given import Given
from tests.rendered import encoded, picture

PATHS = ["a/0.png", "b/1.png", "a/2.png", "b/3.png", "a/4.png", "b/5.png", "a/6.png"]
CLASSES = ["a", "b", "none of it"]
KEPT = [1, 2, 4, 5, 6]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Shards whose images 0, 2 and 4 are one, and a manifest that drops the first of these."""
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 3)
    data = [encoded(Image.fromarray(picture(0 if i in (0, 2, 4) else i, 9, 7)), "PNG")
            for i in range(7)]  # fmt: skip
    entries = [
        Entry(path, data[i], None if i == 5 else i % 2, {"note": f"ü{i}", "deep": {"n": [i]}})
        for i, path in enumerate(PATHS)
    ]
    test = Given([Entry("t.png", data[1], 1)], classes=CLASSES)
    shards.write([(Given(entries, classes=CLASSES), "train"), (test, "test")], tmp_path / "s")
    index = pq.read_table(tmp_path / "s" / "index.parquet").slice(0, 7)
    manifest = Manifest.build(
        index.append_column("memorization", [np.arange(7.0)]),
        np.isin(np.arange(7), KEPT),
        strategy="bottom",
        parameters={"by": "el2n"},
    )
    return manifest, entries, index.to_pylist(), tmp_path


def test_images_uids_labels_and_metadata_are_what_they_were(kept):
    manifest, entries, rows, home = kept
    exported = export(manifest, to="tars", out=home / "out", shards=home / "s")
    assert exported.written == 5
    found = list(shards.Reader(home / "out").samples(range(5)))
    for k, (sample, data, metadata) in zip(KEPT, found, strict=True):
        assert (data, metadata) == (entries[k].data, entries[k].metadata)
        for name in ("uid", "path", "label", "sha256", "width", "height", "split"):
            assert getattr(sample, name) == rows[k][name], name
    assert [sample.uid[32:] for sample, *_ in found] == ["", "-1", "-2", "", ""]
    facts = json.loads((home / "out" / "dataset.json").read_text())
    assert facts["classes"] == CLASSES
    assert facts["account"]["train"]["chosen"] == {"selected": "the 5 lowest by el2n of 7 scored"}
    checked = verify(home / "out", full=True)
    assert (checked.ok, checked.checked) == (True, 5)
    assert [p.name for p in home.glob("*out*")] == ["out"]


def test_curate_takes_them_with_their_uids_and_writes_the_same_again(kept):
    manifest, _, rows, home = kept
    export(manifest, to="tars", out=home / "out", shards=home / "s")
    source = sources.open_source(f"wds:{home / 'out'}")
    assert source.classes == tuple(CLASSES)
    facts = shards.write([(source, "train")], home / "again")
    for name in ("00000.tar", "00001.tar", "index.parquet"):
        assert (home / "again" / name).read_bytes() == (home / "out" / name).read_bytes()
    assert (
        facts["fingerprint"]
        == json.loads((home / "out" / "dataset.json").read_text())["fingerprint"]
    )
    # A part of a folder of shards keeps its uids, and what else comes to it gets free ones.
    test = sources.open_source(f"wds:{home / 's'}", split="test")
    copy = Given([Entry("x.png", next(iter(test.entries())).data)])
    shards.write([(test, "train"), (copy, "extra")], home / "more")
    uids = pq.read_table(home / "more" / "index.parquet")["uid"].to_pylist()
    assert uids == [f"{rows[1]['uid']}-1", rows[1]["uid"]]


def test_webdataset_and_datasets_read_them(kept):
    manifest, entries, rows, home = kept
    export(manifest, to="tars", out=home / "out", shards=home / "s")
    tars = sorted(str(path) for path in (home / "out").glob("*.tar"))
    assert len(tars) == 2
    read = list(webdataset.WebDataset(tars, shardshuffle=False))
    loaded = datasets.load_dataset(
        "webdataset", data_files=tars, split="train", cache_dir=str(home / "cache")
    )
    assert len(read) == len(loaded) == 5
    for k, sample, row in zip(KEPT, read, loaded, strict=True):
        assert sample["png"] == entries[k].data
        assert json.loads(sample["json"])["uid"] == rows[k]["uid"] == row["json"]["uid"]
        assert int(sample["cls"]) == row["cls"] == (-1 if entries[k].label is None else k % 2)
        assert np.array_equal(
            np.asarray(row["png"].convert("RGB")), picture(0 if k in (2, 4) else k, 9, 7)
        )


def test_what_changed_since_is_not_exported(kept):
    manifest, _, rows, home = kept
    tar = home / "s" / rows[1]["shard"]
    tar.chmod(0o644)
    data = tar.read_bytes()
    at = data.index("ü1".encode() if "ü1".encode() in data else b"u00fc1")
    tar.write_bytes(data[:at] + b"X" + data[at + 1 :])
    with pytest.raises(DataError, match="another header, label or metadata"):
        export(manifest, to="tars", out=home / "out", shards=home / "s")
    assert not (home / "out").exists()
