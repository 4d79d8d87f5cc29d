"""Croissant's own library finds the description valid, and reads images by it."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate.data import shards
from curate.data.sample import Entry
from curate.selection.exports import export
from curate.selection.manifest import Manifest
from tests.given import Given
from tests.rendered import encoded, picture

mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")


def test_mlcroissant_reads_every_kept_image_with_what_is_known_of_it(tmp_path):
    arrays = [picture(i, 12, 9) for i in range(5)]
    entries = [
        Entry(f"deep/{i}.png", encoded(Image.fromarray(array), "PNG"), i % 2)
        for i, array in enumerate(arrays)
    ]
    shards.write([(Given(entries, classes=["a", "b"]), "train")], tmp_path / "s")
    index = pq.read_table(tmp_path / "s" / "index.parquet")
    keep = np.array([True, False, True, True, True])
    manifest = Manifest.build(
        index.append_column("memorization", [np.linspace(1, 0, 5)]),
        keep,
        strategy="top",
        parameters={},
    )
    out = tmp_path / "out"
    export(manifest, to="croissant", out=out, shards=tmp_path / "s")
    assert json.loads((out / "croissant.json").read_text())["conformsTo"].endswith("croissant/1.1")
    dataset = mlcroissant.Dataset(jsonld=str(out / "croissant.json"))
    assert not dataset.metadata.ctx.issues.errors
    records = {r["images/path"].decode(): r for r in dataset.records(record_set="images")}
    assert sorted(records) == [f"deep/{i}.png" for i in np.flatnonzero(keep)]
    for i in np.flatnonzero(keep):
        record = records[f"deep/{i}.png"]
        assert np.array_equal(np.asarray(record["images/image"]), arrays[i])
        assert record["images/label"] == i % 2
        assert record["images/memorization"] == 1 - i / 4
