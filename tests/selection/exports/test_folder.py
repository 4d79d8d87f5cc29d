"""The folder holds the original bytes, class by class."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from torchvision.datasets import ImageFolder

from curate.data import shards, sources
from curate.data.sample import Entry
from curate.selection.exports import export
from curate.selection.manifest import Manifest
from tests.given import Given
from tests.rendered import encoded, picture


def test_the_folder_has_the_original_bytes_by_class(made, tmp_path):
    manifest, entries, place = made
    out = tmp_path / "deep" / "kept"
    exported = export(manifest, to="folder", out=out, shards=place)
    assert exported.to_json() == {
        "format": "folder",
        "out": str(out),
        "written": 6,
        "verdict": None,
    }
    found = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    classes = found.pop(Path("classes.txt")).decode().splitlines()
    # Their names are not in the order of the labels, so that numbers go first.
    assert classes == [f"{i:02d}-class {i}\tclass {i}" for i in range(21)]
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
    folders = {"00-class 0", "10-class 10", "15-class 15", "20-class 20", "unlabelled"}
    assert {p.parent.name for p in found} == folders
    assert {p.stem for p in found} == {"PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"}
    assert [p.name for p in out.parent.iterdir()] == ["kept"]


def of_all(place, entries, classes):
    """Write entries to shards, and return a manifest that keeps all of them."""
    shards.write([(Given(entries, classes=classes), "train")], place)
    index = pq.read_table(place / "index.parquet")
    scored = index.append_column("memorization", [np.arange(float(len(index)))])
    return Manifest.build(scored, np.ones(len(index), bool), strategy="top", parameters={})


def test_names_are_those_of_the_source_and_each_is_there_once(tmp_path):
    places = [
        ("cats/b.JPEG", "JPEG", 0), ("more/cats/B.jpg", "JPEG", 0), ("cats/b.png", "PNG", 0),
        ("dogs/b.JPEG", "JPEG", 1), ("dogs/../../etc/up", "PNG", 1), ("dogs/.hidden.png", "PNG", 1),
        ("dogs/wrong.png", "JPEG", 1), ("dogs/con.png", "PNG", 1), ("dogs/ä*[1]?.png", "PNG", 1),
        ("dogs/?.png", "PNG", None), ("", "PNG", None),
    ]  # fmt: skip
    entries = [
        Entry(path, encoded(Image.fromarray(picture(i, 8, 8)), kind), label)
        for i, (path, kind, label) in enumerate(places)
    ]
    manifest = of_all(tmp_path / "s", entries, ["../cats", "dogs"])
    out = tmp_path / "out"
    export(manifest, to="folder", out=out, shards=tmp_path / "s")
    wanted = [
        "_._cats/b.JPEG", "_._cats/B-1.jpg", "_._cats/b-2.png",
        "dogs/b.JPEG", "dogs/up.png", "dogs/_hidden.png", "dogs/wrong.jpg", "dogs/con_.png",
        "dogs/ä__1__.png", "unlabelled/image.png", "unlabelled/image-1.png",
    ]  # fmt: skip
    assert {
        str(p.relative_to(out)): p.read_bytes()
        for p in out.rglob("*")
        if p.parent != out and p.is_file()
    } == {name: entry.data for name, entry in zip(wanted, entries, strict=True)}
    assert (out / "classes.txt").read_text() == "_._cats\t../cats\ndogs\tdogs\n"


def test_torchvision_and_curate_find_the_classes_again(tmp_path):
    classes = ["shirt", "coat", "bag"]  # not in the order of their names
    data = [encoded(Image.fromarray(picture(i, 8, 8)), "PNG") for i in range(6)]
    entries = [Entry(f"{i}.png", data[i], i % 3) for i in range(6)]
    manifest = of_all(tmp_path / "s", entries, classes)
    export(manifest, to="folder", out=tmp_path / "out", shards=tmp_path / "s")
    read = ImageFolder(tmp_path / "out")
    assert read.classes == ["0-shirt", "1-coat", "2-bag"]
    assert sorted((Path(p).name, label) for p, label in read.samples) == [
        (f"{i}.png", i % 3) for i in range(6)
    ]
    again = sources.open_source(str(tmp_path / "out"))
    assert again.classes == tuple(read.classes)
    assert {(e.path, e.label, e.data) for e in again.entries()} == {
        (f"{read.classes[i % 3]}/{i}.png", i % 3, data[i]) for i in range(6)
    }
