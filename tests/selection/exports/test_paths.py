"""Paths are the original ones."""

from curate.selection.exports import export


def test_paths_are_the_original_ones_in_index_order(made, tmp_path):
    manifest, entries, place = made
    export(manifest, to="paths", out=tmp_path / "kept.txt", shards=place)
    wanted = [e.path for e in entries if e.path != "deep/JPEG"]
    assert (tmp_path / "kept.txt").read_text().splitlines() == wanted
