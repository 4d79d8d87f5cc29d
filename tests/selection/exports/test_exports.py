"""Exports write exactly what a manifest keeps."""

import pytest

from curate.errors import UsageError
from curate.selection.exports import EXPORTS, export


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
    for to in set(EXPORTS) - {"csv", "datacomp"}:
        with pytest.raises(UsageError, match="lies in no run"):
            export(manifest, to=to, out=tmp_path / "x", shards=None)
