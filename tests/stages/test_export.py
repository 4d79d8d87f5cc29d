"""Export: the shards of the run that a manifest lies in give the images."""

import shutil

import pytest

import curate
from curate.errors import MismatchError, UsageError
from curate.runs.run import Run
from curate.runtime.files import read_json, sealed, write_json

NAME = "top-0.5"


def test_a_manifest_in_a_run_is_exported_with_the_images_of_the_run(tiny_made, tmp_path):
    run = Run.open(tiny_made[1] / "tiny")
    curate.export(run.path / "manifests" / f"{NAME}.parquet", to="folder", out=tmp_path / "kept")
    assert len(list((tmp_path / "kept").rglob("*.png"))) == 40


def test_outside_a_run_there_are_no_images_but_a_table(tiny_made, tmp_path):
    for path in (tiny_made[1] / "tiny" / "manifests").glob(f"{NAME}.*"):
        shutil.copy(path, tmp_path / path.name)
    manifest = tmp_path / f"{NAME}.parquet"
    with pytest.raises(UsageError, match="lies in no run"):
        curate.export(manifest, to="folder", out=tmp_path / "kept")
    curate.export(manifest, to="csv", out=tmp_path / "all.csv")
    assert len((tmp_path / "all.csv").read_text().splitlines()) == 81


def test_a_manifest_of_another_dataset_is_refused(tiny_runs, tmp_path):
    path = tiny_runs / "tiny" / "run.json"
    write_json(path, sealed({**read_json(path), "dataset_fingerprint": "0" * 64}))
    with pytest.raises(MismatchError):
        curate.export(
            tiny_runs / "tiny" / "manifests" / f"{NAME}.parquet", to="paths", out=tmp_path / "x"
        )
    assert not (tmp_path / "x").exists()
