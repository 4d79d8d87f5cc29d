"""Select: a manifest of a run's scores, with what it was made from."""

import pytest

import curate
from curate.errors import DataError, UsageError
from curate.runs.run import Run
from curate.runtime.files import file_sha256
from curate.selection.manifest import Manifest


@pytest.fixture
def run(tiny_runs):
    return Run.open(tiny_runs / "tiny")


def test_a_manifest_says_which_run_scores_and_seeds_it_was_made_from(run):
    curate.select(run, strategy="drop-top", count=30, name="mine")
    made = Manifest.read(run.path / "manifests" / "mine.parquet")
    made.check_dataset(run.facts()["dataset_fingerprint"])
    ranks = {row["rank"]: row["decision"] for row in made.table.to_pylist()}
    assert ranks == {rank: "drop" if rank <= 30 else "keep" for rank in range(1, 81)}
    assert made.facts["recipe"] == "tiny"
    assert made.facts["scores_sha256"] == file_sha256(run.path / "scores.parquet")
    assert set(made.facts["seeds"]) == {"plan", "train", "score"}


def test_a_choice_that_cannot_be_made_leaves_no_manifest(run):
    before = sorted((run.path / "manifests").iterdir())
    with pytest.raises(UsageError):
        curate.select(run, strategy="top", count=81, name="mine")
    with pytest.raises(UsageError):
        curate.select(run, strategy="top", count=3, fraction=0.5, name="mine")
    (run.path / "scores.parquet").unlink()
    with pytest.raises(DataError, match=r"scores\.parquet is missing"):
        curate.select(run, strategy="top", count=3, name="mine")
    assert sorted((run.path / "manifests").iterdir()) == before
