"""Retrain: an encoder of what a manifest keeps, once for each selection and seed."""

import shutil

import pytest

import curate
from curate.errors import UsageError
from curate.runs.run import Run
from curate.runtime.files import file_sha256, read_json


def test_an_encoder_is_trained_on_what_the_manifest_keeps_and_is_left_alone(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    manifest = run.path / "manifests" / "top-0.5.parquet"
    curate.retrain(manifest, device="cpu")
    folder = run.path / "retrained" / "top-0.5-s0"
    assert read_json(folder / "config.json")["samples"] == 40
    weights = folder / "weights.safetensors"
    stamp, digest = weights.stat().st_mtime_ns, file_sha256(weights)
    curate.retrain(manifest, run=run, device="cpu")
    assert weights.stat().st_mtime_ns == stamp
    curate.retrain(manifest, run="tiny", runs=tiny_runs, seed=1, device="cpu")
    other = run.path / "retrained" / "top-0.5-s1" / "weights.safetensors"
    assert file_sha256(other) != digest == file_sha256(weights)


def test_a_manifest_outside_a_run_needs_one(tiny_runs, tmp_path):
    for path in (tiny_runs / "tiny" / "manifests").glob("top-0.5.*"):
        shutil.copy(path, tmp_path / path.name)
    with pytest.raises(UsageError, match="lies in no run"):
        curate.retrain(tmp_path / "top-0.5.parquet", device="cpu")
    curate.retrain(tmp_path / "top-0.5.parquet", run="tiny", runs=tiny_runs, device="cpu")
    assert (tiny_runs / "tiny" / "retrained" / "top-0.5-s0" / "config.json").is_file()
