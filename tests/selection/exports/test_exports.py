"""Exports write exactly what a manifest keeps."""

import json

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate.data import shards
from curate.data.canvas import decode
from curate.data.sample import Entry, content_uid
from curate.errors import UsageError
from curate.selection.exports import EXPORTS, export
from curate.selection.manifest import Manifest
from tests.given import Given
from tests.rendered import encoded, picture

CLASSES = [f"class {i}" for i in range(21)]
KINDS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"]


@pytest.fixture
def made(tmp_path):
    """Shards of one image a format, the last two without a label, and a manifest of them."""
    entries = [
        Entry(f"deep/{k}", encoded(Image.fromarray(picture(i, 12, 9)), k), i * 5 if i < 5 else None)
        for i, k in enumerate(KINDS)
    ]
    shards.write([(Given(entries, classes=CLASSES), "train")], tmp_path / "shards")
    index = pq.read_table(tmp_path / "shards" / "index.parquet")
    keep = np.arange(len(KINDS)) != 1
    manifest = Manifest.build(
        index.append_column("memorization", [np.linspace(1, 0, len(KINDS))]),
        keep,
        strategy="top",
        parameters={},
    )
    return manifest, entries, tmp_path / "shards"


def test_the_folder_has_the_original_bytes_by_class(made, tmp_path):
    manifest, entries, place = made
    out = tmp_path / "deep" / "kept"
    exported = export(manifest, to="folder", out=out, shards=place)
    assert exported.to_json() == {"format": "folder", "out": str(out), "written": 6}
    found = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert sorted(found.values()) == sorted(e.data for e in entries if e.path != "deep/JPEG")
    suffixes = {data: path.suffix for path, data in found.items()}
    assert [suffixes[e.data] for e in entries if e.path != "deep/JPEG"] == [
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".ppm",
    ]
    # Numbered so that a reader that sorts the names finds the same classes.
    assert {p.parent.name for p in found} == {"00", "10", "15", "20", "unlabelled"}
    assert [p.name for p in out.parent.iterdir()] == ["kept"]


def test_an_interrupted_export_is_begun_again(made, tmp_path):
    manifest, _, place = made
    out = tmp_path / "kept"
    (tmp_path / ".kept.part" / "00").mkdir(parents=True)
    (tmp_path / ".kept.part" / "00" / "left.png").write_bytes(b"half")
    export(manifest, to="folder", out=out, shards=place)
    assert not list(out.rglob("left.png"))
    assert not (tmp_path / ".kept.part").exists()


def test_paths_are_the_original_ones_in_index_order(made, tmp_path):
    manifest, entries, place = made
    export(manifest, to="paths", out=tmp_path / "kept.txt", shards=place)
    wanted = [e.path for e in entries if e.path != "deep/JPEG"]
    assert (tmp_path / "kept.txt").read_text().splitlines() == wanted


def inspected(place, uids):
    """Write what inspect would say of samples beside their shards."""
    table = pa.table(
        {
            "uid": uids,
            "triage": ["tail", *["typical"] * (len(uids) - 1)],
            "triage_reason": pa.array(["noise", *[None] * (len(uids) - 1)], pa.string()),
            "outlier_score": np.linspace(0, 1, len(uids)),
            "duplicate_group": pa.array([None, 0, 0, *[None] * (len(uids) - 3)], pa.int64()),
        }
    )
    pq.write_table(table, place.parent / "inspect.parquet")
    return {row["uid"]: row for row in table.to_pylist()}


def kept(manifest):
    return [row for row in manifest.table.to_pylist() if row["decision"] == "keep"]


def test_hugging_face_loads_images_with_what_is_known_of_them(made, tmp_path):
    manifest, entries, place = made
    known = inspected(place, manifest.table["uid"].to_pylist())
    out = tmp_path / "kept"
    export(manifest, to="hf-metadata", out=out, shards=place)
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(loaded) == 6
    rows = {row["uid"]: row for row in loaded}
    originals = {content_uid(e.data): e for e in entries}
    for wanted in kept(manifest):
        row, entry = rows[wanted["uid"]], originals[wanted["uid"]]
        assert {name: row[name] for name in wanted} == wanted
        assert row["path"] == entry.path
        assert row["class"] == (None if entry.label is None else CLASSES[entry.label])
        assert {name: row[name] for name in known[wanted["uid"]]} == known[wanted["uid"]]
        theirs = np.asarray(row["image"].convert("RGB"))
        np.testing.assert_array_equal(theirs, decode(entry.data, channels=3).transpose(1, 2, 0))


def test_a_run_that_was_not_inspected_is_exported_without(made, tmp_path):
    manifest, _, place = made
    export(manifest, to="hf-metadata", out=tmp_path / "kept", shards=place)
    names = pq.read_schema(tmp_path / "kept" / "metadata.parquet").names
    assert names == ["file_name", *manifest.table.column_names, "class", "path"]


def test_fiftyone_finds_an_image_and_a_label_for_each(made, tmp_path):
    manifest, entries, place = made
    known = inspected(place, manifest.table["uid"].to_pylist())
    out = tmp_path / "kept"
    export(manifest, to="fiftyone", out=out, shards=place)
    labels = json.loads((out / "labels.json").read_text())["labels"]
    # Its importer finds the images below data by their paths without endings.
    files = {
        str(path.relative_to(out / "data").with_suffix("")): path.read_bytes()
        for path in (out / "data").rglob("*")
        if path.is_file()
    }
    assert set(files) == set(labels)
    originals = {content_uid(e.data): e for e in entries}
    rows = {row["uid"]: row for row in kept(manifest)}
    assert len(labels) == len(rows) == 6
    for name, label in labels.items():
        entry = originals[label["attributes"]["uid"]]
        assert files[name] == entry.data
        assert label["label"] == ("unlabelled" if entry.label is None else CLASSES[entry.label])
        wanted = rows[label["attributes"]["uid"]] | known[label["attributes"]["uid"]]
        wanted = {k: v for k, v in wanted.items() if v is not None and k != "label"}
        assert label["attributes"] == {**wanted, "path": entry.path}


def test_a_label_without_a_name_is_its_number(made, tmp_path):
    manifest, _, place = made
    facts = json.loads((place / "dataset.json").read_text())
    (place / "dataset.json").write_text(json.dumps({**facts, "classes": []}))
    export(manifest, to="fiftyone", out=tmp_path / "kept", shards=place)
    labels = json.loads((tmp_path / "kept" / "labels.json").read_text())["labels"]
    found = sorted(label["label"] for label in labels.values())
    assert found == ["0", "10", "15", "20", "unlabelled", "unlabelled"]


def test_csv_has_every_row_and_needs_no_shards(made, tmp_path):
    manifest, _, _ = made
    export(manifest, to="csv", out=tmp_path / "all.csv", shards=None)
    header, *rows = (tmp_path / "all.csv").read_text().splitlines()
    assert header.replace('"', "") == ",".join(manifest.table.column_names)
    assert len(rows) == 7
    assert sum('"drop"' in row for row in rows) == 1


@pytest.mark.parametrize("to", sorted(EXPORTS))
def test_what_is_there_is_never_overwritten(made, tmp_path, to):
    manifest, _, place = made
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for name in ("file", "full"):
        with pytest.raises(UsageError, match="already there"):
            export(manifest, to=to, out=tmp_path / name, shards=place)
    assert (tmp_path / "file").read_text() == "mine"


def test_images_cannot_be_exported_without_them(made, tmp_path):
    manifest, _, _ = made
    for to in set(EXPORTS) - {"csv"}:
        with pytest.raises(UsageError, match="lies in no run"):
            export(manifest, to=to, out=tmp_path / "x", shards=None)
