"""NeMo Curator removes what is not kept: it numbers the .jpg members of a tar."""

import tarfile
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate.data import shards
from curate.data.sample import Entry
from curate.data.shards import writer
from curate.errors import DataError
from curate.selection.exports import export
from curate.selection.manifest import Manifest
from tests.given import Given
from tests.rendered import encoded, picture


def test_what_is_left_after_the_removal_is_what_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 4)
    data = [encoded(Image.fromarray(picture(i, 12, 9)), "PNG" if i == 3 else "JPEG")
            for i in range(10)]  # fmt: skip
    own = Given([Entry(f"{i}.jpg", data[i], i % 2) for i in range(8)], classes="ab")
    test = Given([Entry(f"t{i}.jpg", data[i], i % 2) for i in (8, 9)], classes="ab")
    shards.write([(own, "train"), (test, "test")], tmp_path / "s")
    index = pq.read_table(tmp_path / "s" / "index.parquet").slice(0, 8)
    keep = np.array([1, 0, 1, 1, 0, 1, 1, 1], dtype=bool)
    manifest = Manifest.build(
        index.append_column("memorization", [np.arange(8.0)]), keep, strategy="top", parameters={}
    )
    export(manifest, to="nemo", out=tmp_path / "out", shards=tmp_path / "s")
    removed = pq.read_table(tmp_path / "out", schema=pa.schema([("id", pa.string())]))
    removed = set(removed["id"].to_pylist())
    left = []
    for tar in sorted((tmp_path / "s").glob("*.tar")):
        with tarfile.open(tar) as members:
            images = [m.name for m in members if PurePosixPath(m.name).suffix == ".jpg"]
        left += [name for k, name in enumerate(images) if f"{tar.stem}_{k:06d}" not in removed]
    wanted = [
        f"{key}.jpg" for key, kept in zip(index["key"].to_pylist(), keep, strict=True) if kept
    ]
    assert left == wanted


def test_images_by_another_name_are_refused(made, tmp_path):
    manifest, _, place = made
    with pytest.raises(DataError, match=r"reads images called \.jpg alone"):
        export(manifest, to="nemo", out=tmp_path / "out", shards=place)
    assert not (tmp_path / "out").exists()
