"""Paths are the original ones."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate.data import shards
from curate.data.sample import Entry
from curate.errors import DataError
from curate.selection.exports import export
from curate.selection.manifest import Manifest
from tests.given import Given
from tests.rendered import encoded, picture


def test_paths_are_the_original_ones_in_index_order(made, tmp_path):
    manifest, entries, place = made
    export(manifest, to="paths", out=tmp_path / "kept.txt", shards=place)
    wanted = [e.path for e in entries if e.path != "deep/JPEG"]
    assert (tmp_path / "kept.txt").read_text().splitlines() == wanted


@pytest.mark.parametrize(
    "name",
    ["new\nline.jpg", "c\r.jpg", "lat\\xe9in.jpg", "u\u2028.jpg", "n\x85.jpg"],
)
def test_paths_that_are_no_line_are_refused_and_named(tmp_path, name):
    entries = [Entry(n, encoded(Image.fromarray(picture(i, 9, 9)), "PNG"))
               for i, n in enumerate(["a.jpg", name])]  # fmt: skip
    shards.write([(Given(entries), "train")], tmp_path / "s")
    index = pq.read_table(tmp_path / "s" / "index.parquet")
    table = index.append_column("memorization", [np.array([1.0, 0.0])])
    manifest = Manifest.build(table, np.array([True, True]), strategy="top", parameters={})
    with pytest.raises(DataError, match="1 paths cannot stand on a line"):
        export(manifest, to="paths", out=tmp_path / "o.txt", shards=tmp_path / "s")
    assert not (tmp_path / "o.txt").exists()
