"""What a manifest keeps is written whole or not at all."""

from curate.selection.exports import export


def test_an_interrupted_export_is_begun_again(made, tmp_path):
    manifest, _, place = made
    out = tmp_path / "kept"
    (tmp_path / ".kept.part" / "00").mkdir(parents=True)
    (tmp_path / ".kept.part" / "00" / "left.png").write_bytes(b"half")
    export(manifest, to="folder", out=out, shards=place)
    assert not list(out.rglob("left.png"))
    assert not (tmp_path / ".kept.part").exists()
