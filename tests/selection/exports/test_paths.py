"""Paths are the original ones, and each can be told from the next."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate.data import shards
from curate.data.sample import Entry
from curate.errors import DataError, UsageError
from curate.selection.exports import export
from curate.selection.manifest import Manifest
from tests.given import Given
from tests.rendered import encoded, picture


def test_paths_are_the_original_ones_in_index_order(made, tmp_path):
    manifest, entries, place = made
    export(manifest, to="paths", out=tmp_path / "kept.txt", shards=place)
    wanted = [e.path for e in entries if e.path != "deep/JPEG"]
    assert (tmp_path / "kept.txt").read_text().splitlines() == wanted
    export(manifest, to="paths", out=tmp_path / "kept.0", shards=place, null=True)
    assert (tmp_path / "kept.0").read_bytes() == b"".join(f"{p}\0".encode() for p in wanted)


def test_a_line_break_in_a_path_needs_null_bytes(tmp_path):
    names = ["a.png", "b\nc.png"]
    entries = [Entry(p, encoded(Image.fromarray(picture(i, 8, 8)), "PNG"))
               for i, p in enumerate(names)]  # fmt: skip
    shards.write([(Given(entries), "train")], tmp_path / "s")
    index = pq.read_table(tmp_path / "s" / "index.parquet")
    table = index.append_column("memorization", [np.arange(2.0)])
    manifest = Manifest.build(table, np.ones(2, dtype=bool), strategy="top", parameters={})
    with pytest.raises(DataError, match=r"1 kept paths, such as .* hold a line break.*null=True"):
        export(manifest, to="paths", out=tmp_path / "kept.txt", shards=tmp_path / "s")
    assert not (tmp_path / "kept.txt").exists()
    export(manifest, to="paths", out=tmp_path / "kept.0", shards=tmp_path / "s", null=True)
    assert (tmp_path / "kept.0").read_text().split("\0") == [*names, ""]


def test_null_bytes_end_paths_alone(made, tmp_path):
    manifest, _, place = made
    with pytest.raises(UsageError, match="paths alone"):
        export(manifest, to="csv", out=tmp_path / "x", shards=place, null=True)


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
    with pytest.raises(DataError, match=r"1 kept paths, such as .* hold (a line break|bytes that)"):
        export(manifest, to="paths", out=tmp_path / "o.txt", shards=tmp_path / "s")
    assert not (tmp_path / "o.txt").exists()
