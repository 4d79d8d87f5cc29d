"""DataComp's resharder finds the kept samples in the tars, each once."""

import json

import numpy as np
import pyarrow.parquet as pq
import webdataset
from PIL import Image

from curate.data import shards
from curate.data.sample import Entry
from curate.selection.exports import export
from curate.selection.manifest import Manifest
from tests.given import Given
from tests.rendered import encoded, picture


def resharded(tar, subset):
    """Return the uids of the samples that a sorted array of 128 bits takes, as often as it does."""
    taken = []
    for sample in webdataset.WebDataset(str(tar), shardshuffle=False):
        uid = json.loads(sample["json"])["uid"]
        pair = np.array((int(uid[:16], 16), int(uid[16:32], 16)), subset.dtype)
        first, last = (np.searchsorted(subset, pair, side) for side in ("left", "right"))
        taken += [uid] * int(last - first)
    return taken


def test_the_resharder_takes_what_is_kept(made, tmp_path):
    manifest, _, place = made
    exported = export(manifest, to="datacomp", out=tmp_path / "kept.npy", shards=None)
    subset = np.load(tmp_path / "kept.npy", allow_pickle=False)
    assert subset.dtype == np.dtype("u8,u8") and len(subset) == exported.written == 6
    kept = [r["uid"] for r in manifest.table.to_pylist() if r["decision"] == "keep"]
    assert sorted(resharded(place / "00000.tar", subset)) == sorted(kept)


def test_exact_repeats_are_one_image_that_is_taken_once_each(tmp_path):
    images = [encoded(Image.fromarray(picture(i, 8, 8)), "PNG") for i in (0, 1, 0, 2)]
    entries = [Entry(f"{i}.png", data) for i, data in enumerate(images)]
    shards.write([(Given(entries), "train")], tmp_path / "s")
    index = pq.read_table(tmp_path / "s" / "index.parquet")
    manifest = Manifest.build(
        index.append_column("memorization", [np.arange(4.0)]),
        np.array([True, False, True, False]),
        strategy="top",
        parameters={},
    )
    export(manifest, to="datacomp", out=tmp_path / "kept.npy", shards=None)
    subset = np.load(tmp_path / "kept.npy", allow_pickle=False)
    assert len(subset) == 1
    first = index["uid"][0].as_py()
    assert resharded(tmp_path / "s" / "00000.tar", subset) == [first, f"{first}-1"]
