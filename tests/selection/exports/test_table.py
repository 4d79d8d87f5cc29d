"""The table has every row."""

from curate.selection.exports import export


def test_csv_has_every_row_and_needs_no_shards(made, tmp_path):
    manifest, _, _ = made
    export(manifest, to="csv", out=tmp_path / "all.csv", shards=None)
    header, *rows = (tmp_path / "all.csv").read_text().splitlines()
    assert header.replace('"', "") == ",".join(manifest.table.column_names)
    assert len(rows) == 7
    assert sum('"drop"' in row for row in rows) == 1
