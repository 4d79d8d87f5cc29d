"""Select: a manifest of a run's scores, with what it was made from."""

import json

import numpy as np
import pytest

import curate
from curate.errors import DataError, UnreliableError, UsageError
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


@pytest.fixture
def repeated(tmp_path):
    """A run whose repeats show how little it ranks."""
    recipe = curate.load_recipe(str(TINY), {"plan.repeats": 3, "train.epochs": 1, "compare": {}})
    run = curate.open_run(recipe, runs=tmp_path)
    curate.score(run, device="cpu")
    return run


def test_a_ranking_that_is_less_reliable_than_required_is_not_selected_by(repeated):
    with pytest.raises(UnreliableError, match="is required, and nothing was selected"):
        curate.select(repeated, strategy="top", count=20, require="reliability=0.9")
    with pytest.raises(UsageError, match="expected reliability=X"):
        curate.select(repeated, strategy="top", count=20, require="overlap=0.9")
    assert not (repeated.path / "manifests").exists()
    command = ["select", repeated.name, "--runs", repeated.path.parent, "--top", "20"]
    refused = typed(*command, "--require", "reliability=0.9")
    assert refused.code == 8 and "reliability=0.9'" in refused.err
    from_table = ["--scores", repeated.path / "scores.parquet", "--require", "reliability=0.9"]
    assert typed("select", *from_table, "--top", "20").code == 2


def test_how_many_places_are_luck_is_said_where_there_is_no_ranking(repeated):
    selected = curate.select(repeated, strategy="top", count=20)
    assert selected.verdict.grade in ("nothing", "group")
    assert selected.places == 20
    facts = Manifest.read(selected.path).facts
    assert selected.luck == facts["p_top"]["luck"]
    assert facts["verdict"] == selected.verdict.to_json()
    command = ["select", repeated.name, "--runs", repeated.path.parent]
    said = typed(*command, "--top", "20").err
    assert f"; {selected.luck:,.0f} of the 20 places are luck." in said
    assert selected.verdict.text in said
    random = typed(*command, "--strategy", "random", "--count", "20")
    assert random.code == 0 and "places are luck" not in random.err
    assert "next: curate export" in random.err
    exported = typed(
        "export", selected.path, "--to", "csv", "--out", repeated.path.parent / "a.csv"
    )
    assert f"warning: {selected.verdict.text}." in exported.err


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
