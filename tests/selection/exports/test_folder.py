"""The folder holds the original bytes, class by class."""

from pathlib import Path

from curate.selection.exports import export


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
    assert found.pop(Path("classes.txt")).startswith(b"00\t")
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
