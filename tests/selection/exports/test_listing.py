"""A list is read by torchvision's and timm's readers of folders."""

import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from timm.data.readers.reader_image_folder import ReaderImageFolder
from torchvision.datasets import ImageFolder

from curate.data import shards, sources
from curate.data.sample import Entry
from curate.errors import DataError
from curate.selection.exports import export
from curate.selection.manifest import Manifest
from tests.given import Given
from tests.rendered import encoded, picture


def of(source, place, keep):
    shards.write([(source, "train")], place)
    index = pq.read_table(place / "index.parquet")
    scored = index.append_column("memorization", [np.arange(float(len(index)))])
    return Manifest.build(scored, np.asarray(keep, bool), strategy="top", parameters={})


def test_torchvision_and_timm_go_through_what_is_kept(tmp_path):
    for i in range(6):
        path = tmp_path / "photos" / ["cat", "my dog"][i % 2] / f"image {i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(Image.fromarray(picture(i, 8, 8)), "PNG"))
    root, out = tmp_path / "photos", tmp_path / "kept.txt"
    manifest = of(sources.open_source(str(root)), tmp_path / "s", [1, 0, 1, 1, 0, 1])
    assert export(manifest, to="list", out=out, shards=tmp_path / "s").written == 4
    pairs = [
        (path, int(label))
        for path, _, label in (line.rpartition(" ") for line in out.read_text().splitlines())
    ]
    assert {path for path, _ in pairs} == set(
        pq.read_table(tmp_path / "s" / "index.parquet")["path"].take([0, 2, 3, 5]).to_pylist()
    )
    kept = dict(pairs)
    by_torchvision = ImageFolder(root, is_valid_file=lambda p: os.path.relpath(p, root) in kept)
    assert {os.path.relpath(p, root): n for p, n in by_torchvision.samples} == kept
    reader = ReaderImageFolder(str(root))
    assert set(reader.samples) >= {(str(root / path), label) for path, label in pairs}
    reader.samples = [(str(root / path), label) for path, label in pairs]
    assert [(stream.read(), label) for stream, label in reader] == [
        ((root / path).read_bytes(), label) for path, label in pairs
    ]


def test_no_label_is_a_number_and_a_line_break_is_refused(tmp_path):
    data = [encoded(Image.fromarray(picture(i, 8, 8)), "PNG") for i in range(2)]
    manifest = of(Given([Entry("a.png", data[0])]), tmp_path / "s", [1])
    export(manifest, to="list", out=tmp_path / "l", shards=tmp_path / "s")
    assert (tmp_path / "l").read_text() == "a.png -1\n"
    manifest = of(Given([Entry("a\nb.png", data[1])]), tmp_path / "s2", [1])
    with pytest.raises(DataError, match="hold a line break; use to='paths' with null=True"):
        export(manifest, to="list", out=tmp_path / "l2", shards=tmp_path / "s2")
