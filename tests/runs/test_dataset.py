"""The dataset of a run: its own samples without those held out, and manifests that belong to it."""

import pytest

from curate.errors import MismatchError
from curate.runs import dataset
from curate.runs.run import Run
from curate.runtime.files import write_json
from curate.selection.manifest import Manifest


@pytest.fixture
def run(tiny_runs):
    return Run.open(tiny_runs / "tiny")


def test_own_and_held_out_samples_are_all_there_are(run):
    index = dataset.index(run, ["uid", "split"])
    assert index.column_names == ["uid", "split"]
    own, held_out = dataset.own_uids(run).to_pylist(), dataset.held_out_uids(run).to_pylist()
    assert len(own) == len(held_out) == 80
    assert [*own, *held_out] == index["uid"].to_pylist()
    assert dataset.uids_of(run, "test").to_pylist() == held_out
    assert dataset.uids_of(run, "extra").to_pylist() == []


def test_a_manifest_is_read_for_the_dataset_it_was_made_from_alone(run):
    path = run.path / "manifests" / "top-0.5.parquet"
    manifest = dataset.read_for(run, path)
    assert manifest.table.equals(Manifest.read(path).table)
    assert manifest.table["uid"].to_pylist() == sorted(dataset.own_uids(run).to_pylist())
    write_json(run.path / "run.json", {**run.facts(), "dataset_fingerprint": "0" * 64})
    with pytest.raises(MismatchError):
        dataset.read_for(Run.open(run.path), path)
