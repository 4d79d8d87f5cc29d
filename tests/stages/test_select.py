"""Select: a manifest of a run's scores, with what it was made from."""

import json

import numpy as np
import pytest

import curate
from curate.errors import DataError, UsageError
from curate.runs.run import Run
from curate.runtime.files import file_sha256, sealed, write_json
from curate.scores.top_probability import p_top
from curate.selection.manifest import Manifest
from tests.command import TINY
from tests.command import curate as typed


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


def test_a_selection_by_what_is_expected_takes_its_order_and_its_chances(tmp_path):
    overrides = {"plan": {"kind": "parts", "parts": 2, "repeats": 3}, "train.epochs": 1}
    run = curate.open_run(str(TINY), runs=tmp_path, overrides=overrides)
    curate.score(run, device="cpu", workers=1)
    made = Manifest.read(curate.select(run, by="expected", count=20).path)
    scores = run.scores(["expected", "expected_se"])
    expected, error = (scores[name].to_numpy() for name in ("expected", "expected_se"))
    assert made.table["uid"].equals(scores["uid"])
    assert made.table["memorization"].to_numpy().tolist() == expected.tolist()
    kept = np.flatnonzero(np.array(made.table["decision"].to_pylist()) == "keep")
    assert set(kept) == set(np.argsort(-expected)[:20])
    np.testing.assert_array_equal(made.table["p_top"].to_numpy(), p_top(expected, error, 20))
    assert made.facts["parameters"]["by"] == "expected"
    # The same from the table alone.
    path = run.path / "scores.parquet"
    alone = Manifest.read(curate.select_table(path, by="expected", count=20, out=tmp_path).path)
    assert alone.table.equals(made.table)


def test_who_cannot_be_expected_anything_of_is_told_what_to_type(run, tiny_runs):
    with pytest.raises(DataError, match=r"plan\.repeats=3"):
        curate.select(run, by="expected", count=3)
    found = typed("select", "tiny", "--by", "expectd", "--top", 3, "--runs", tiny_runs)
    assert found.code == 2 and "'expected'" in found.err


def test_a_run_that_was_scored_before_there_was_an_expectation_says_what_to_type(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    record = json.loads(run.record_path("score").read_text())
    before = run.record_path("score").read_text()
    del record["parts"]["covariates"]
    write_json(run.record_path("score"), sealed(record))
    with pytest.raises(DataError, match="type 'curate score tiny'"):
        curate.select(run, by="expected", count=3)
    run.record_path("score").write_text(before)
