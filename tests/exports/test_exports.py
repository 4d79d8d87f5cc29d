"""Exports write exactly what a manifest keeps."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from given import Given
from PIL import Image
from rendered import encoded, picture

from curate import shards
from curate.errors import UsageError
from curate.exports import EXPORTS, export
from curate.records.manifest import Manifest
from curate.records.sample import Entry

KINDS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"]


@pytest.fixture
def made(tmp_path):
    """Shards of one image a format, the last two without a label, and a manifest of them."""
    entries = [
        Entry(f"deep/{k}", encoded(Image.fromarray(picture(i, 12, 9)), k), i * 5 if i < 5 else None)
        for i, k in enumerate(KINDS)
    ]
    shards.write([(Given(entries), "train")], tmp_path / "shards")
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
    facts = export(manifest, to="folder", out=out, shards=place)
    assert facts == {"format": "folder", "out": str(out), "written": 6}
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
    for to in ("paths", "folder"):
        with pytest.raises(UsageError, match="lies in no run"):
            export(manifest, to=to, out=tmp_path / "x", shards=None)
