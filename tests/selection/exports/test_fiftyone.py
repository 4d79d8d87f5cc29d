"""FiftyOne finds each image with its label."""

import json

from curate.data.sample import content_uid
from curate.runtime.files import sealed, write_json
from curate.selection.exports import export
from tests.selection.exports.made import CLASSES, inspected, kept


def test_fiftyone_finds_an_image_and_a_label_for_each(made, tmp_path):
    manifest, entries, place = made
    known = inspected(place, manifest.table["uid"].to_pylist())
    out = tmp_path / "kept"
    export(manifest, to="fiftyone", out=out, shards=place)
    labels = json.loads((out / "labels.json").read_text())["labels"]
    # Its importer finds the images below data by their paths without endings.
    files = {
        str(path.relative_to(out / "data").with_suffix("")): path.read_bytes()
        for path in (out / "data").rglob("*")
        if path.is_file()
    }
    assert set(files) == set(labels)
    originals = {content_uid(e.data): e for e in entries}
    rows = {row["uid"]: row for row in kept(manifest)}
    assert len(labels) == len(rows) == 6
    for name, label in labels.items():
        entry = originals[label["attributes"]["uid"]]
        assert files[name] == entry.data
        assert label["label"] == ("unlabelled" if entry.label is None else CLASSES[entry.label])
        wanted = rows[label["attributes"]["uid"]] | known[label["attributes"]["uid"]]
        wanted = {k: v for k, v in wanted.items() if v is not None and k != "label"}
        assert label["attributes"] == {**wanted, "path": entry.path}


def test_a_label_without_a_name_is_its_number(made, tmp_path):
    manifest, _, place = made
    facts = json.loads((place / "dataset.json").read_text())
    write_json(place / "dataset.json", sealed({**facts, "classes": []}))
    export(manifest, to="fiftyone", out=tmp_path / "kept", shards=place)
    labels = json.loads((tmp_path / "kept" / "labels.json").read_text())["labels"]
    found = sorted(label["label"] for label in labels.values())
    assert found == ["0", "10", "15", "20", "unlabelled", "unlabelled"]
