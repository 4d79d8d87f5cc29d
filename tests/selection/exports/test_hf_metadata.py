"""Hugging Face reads the images with what is known of them."""

import datasets
import numpy as np
import pyarrow.parquet as pq

from curate.data.canvas import decode
from curate.data.sample import content_uid
from curate.selection.exports import export
from tests.selection.exports.made import CLASSES, inspected, kept


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
        known_before = {name: value for name, value in wanted.items() if name != "class"}
        assert {name: row[name] for name in known_before} == known_before
        assert row["path"] == entry.path
        assert row["class"] == (None if entry.label is None else CLASSES[entry.label])
        assert {name: row[name] for name in known[wanted["uid"]]} == known[wanted["uid"]]
        theirs = np.asarray(row["image"].convert("RGB"))
        np.testing.assert_array_equal(theirs, decode(entry.data, channels=3).transpose(1, 2, 0))


def test_a_run_that_was_not_inspected_is_exported_without(made, tmp_path):
    manifest, _, place = made
    export(manifest, to="hf-metadata", out=tmp_path / "kept", shards=place)
    names = pq.read_schema(tmp_path / "kept" / "metadata.parquet").names
    assert names == ["file_name", *manifest.table.column_names]
