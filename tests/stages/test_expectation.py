"""What is expected of a run's samples is made of what its settings name."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import curate
from curate.data.shards import writer
from curate.runs import units
from curate.runs.run import Run
from curate.scores.summary import ScoreSummary
from curate.stages import expectation
from tests.command import TINY

pytestmark = pytest.mark.numeric

SMALL = {"plan": {"kind": "parts", "parts": 2, "repeats": 3}, "data.limit": 120, "train.epochs": 1}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = curate.open_run(str(TINY), runs=tmp_path_factory.mktemp("runs"), overrides=SMALL)
    curate.score(run, device="cpu", workers=1)
    return run


def again(run, covariates):
    overrides = SMALL | {"score.covariates": covariates}
    other = curate.open_run(str(TINY), runs=run.path.parent, overrides=overrides)
    curate.score(other, device="cpu", workers=1)
    return other.scores(), ScoreSummary.read(other.path).expectation


def test_every_scored_sample_has_an_expectation_and_its_facts_are_stored(run):
    table, facts = run.scores(), ScoreSummary.read(run.path).expectation
    assert table["expected"].null_count == 0
    weight = table["weight"].to_numpy()
    assert (weight >= 0).all() and (weight <= 1).all()
    assert (table["expected_se"].to_numpy() > 0).all()
    assert facts.cells == (2, 2) and facts.note == ""
    assert facts.covariates == tuple(run.recipe.score.covariates)
    assert facts.own_weight == pytest.approx(weight.mean())
    assert json.loads((run.path / "scores.json").read_text())["expectation"]["cells"] == [2, 2]


def test_other_covariates_measure_nothing_again_and_leave_the_estimates(tmp_path):
    run = curate.open_run(str(TINY), runs=tmp_path, overrides=SMALL)
    curate.score(run, device="cpu", workers=1)
    table = run.scores()
    aligned = run.path / "records/align/00000.json"
    before = aligned.stat().st_mtime_ns
    pixels, facts = again(run, ["pixels", "label"])
    assert facts.covariates == ("pixels", "label") and facts.cells == (1, 1)
    mean, alone = again(run, [])
    assert alone.covariates == () and alone.slope == 0
    assert aligned.stat().st_mtime_ns == before
    for name in ("memorization", "se", "raw", "rank"):
        assert pixels[name].equals(table[name]) and mean[name].equals(table[name])
    assert not pixels["expected"].equals(table["expected"])
    # Without covariates what is expected is on the way from each estimate to their mean.
    m, expected = mean["memorization"].to_numpy(), mean["expected"].to_numpy()
    weight = mean["weight"].to_numpy()
    np.testing.assert_allclose(expected, m.mean() + weight * (m - m.mean()), atol=1e-9)


def test_one_repeat_takes_no_covariates_of_encoders_and_says_so(tmp_path):
    overrides = {"plan": {"kind": "parts", "parts": 3}, "train.epochs": 1}
    run = curate.open_run(str(TINY), runs=tmp_path, overrides=overrides)
    curate.score(run, device="cpu", workers=1)
    facts = ScoreSummary.read(run.path).expectation
    assert facts.note == expectation.ONE_REPEAT and facts.cells == (1, 1)
    assert facts.covariates == ("outlierness-pixels", "pixels", "brightness", "contrast")
    assert run.scores()["expected"].null_count == 0


def test_one_encoder_a_side_leaves_nothing_to_expect(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    facts = ScoreSummary.read(run.path).expectation
    assert facts.note == expectation.NO_ERRORS and facts.own_weight is None
    assert run.scores()["expected"].null_count == 80


def test_shards_do_not_matter(run, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 50)
    other = curate.open_run(str(TINY), runs=tmp_path, overrides=SMALL)
    curate.score(other, device="cpu", workers=1)
    assert pq.ParquetFile(other.path / "scores.parquet").num_row_groups == 3
    one, many = (r.scores()["expected"].to_numpy() for r in (run, other))
    np.testing.assert_allclose(many, one, atol=1e-4)


def test_the_key_of_an_alignment_names_centring_where_there_is_some(run):
    assert "centre" not in units.measuring(run)["score"]
    centred = curate.open_run(
        str(TINY), runs=run.path.parent, overrides=SMALL | {"score.centre": True}, called="centred"
    )
    assert units.measuring(centred)["score"]["centre"] is True
    curate.score(centred, device="cpu", workers=1)
    apart = [r.scores()["memorization"].to_numpy() for r in (run, centred)]
    assert not np.allclose(*apart) and np.isfinite(apart[1]).all()
    # The same encoders, measured otherwise.
    weights = [r.path / "encoders/part0/weights.safetensors" for r in (run, centred)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_the_key_of_scores_names_covariates_and_that_of_alignments_does_not(run):
    assert units.score(run).parts["covariates"] == list(run.recipe.score.covariates)
    assert "covariates" not in units.measuring(run)["score"]
