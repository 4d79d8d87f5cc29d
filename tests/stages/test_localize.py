"""The localize stage on a run: against its alignments, what it keeps, and what it refuses."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import curate as curate_run
from curate.runs import alignments
from curate.runs.run import Run
from curate.runtime.files import file_sha256
from curate.scores.layers import LayerMeasurement, Units
from curate.scores.plan import Plan
from curate.stages import localize as localizing
from tests.command import curate

pytestmark = pytest.mark.numeric


def localize(runs, *more, code=0):
    result = curate("localize", "tiny", "--runs", runs, "--device", "cpu", *more)
    assert result.code == code, result.err
    return result


def test_the_last_layer_of_a_run_aligns_as_its_scores_do(tiny_runs):
    run = tiny_runs / "tiny"
    facts = json.loads(localize(tiny_runs, "--json").out)
    plan = Plan.read(run / "plan.parquet")
    f, g = facts["encoders"]
    assert [f, g] == list(plan.encoders[:2])
    tables = alignments.read(Run.open(run), (f, g), "00000")
    aligned = [
        {row["uid"]: row["align"] for row in tables[e].select(["uid", "align"]).to_pylist()}
        for e in (f, g)
    ]
    mine, others = (set(plan.members(e)) for e in (f, g))
    mine, others = mine - others, others - mine
    apart, back = (
        np.array([aligned[1][uid] - aligned[0][uid] for uid in sorted(uids)])
        for uids in (mine, others)
    )
    sslmem = (apart.mean() - back.mean()) / 2
    last = facts["layers"][-1]
    assert (facts["candidates"], facts["independent"]) == (len(mine), len(others))
    assert last["sslmem"] == pytest.approx(sslmem, rel=0, abs=2e-6)
    off = 2e-6 / np.ptp(apart)
    assert last["layer_mem"] == pytest.approx(sslmem / np.ptp(apart), rel=0, abs=4 * off)
    assert last["delta_layer_mem"] == pytest.approx(
        last["layer_mem"] - facts["layers"][-2]["layer_mem"]
    )
    assert facts["layers"][0]["delta_layer_mem"] is None
    assert [layer["name"] for layer in facts["layers"]] == ["conv1", "conv2", "conv3", "conv4"]
    units = pq.read_table(run / "units.parquet")
    assert units.column_names == [
        *("encoder", "layer", "unit", "unit_mem", "mu_max", "mu_rest", "uid")
    ]
    assert units.num_rows == 2 * (32 + 32 + 64 + 64)
    assert set(units["uid"].to_pylist()) <= mine
    values = units["unit_mem"].drop_null().to_numpy()
    assert ((values >= 0) & (values <= 1)).all()
    of_last = units.filter(
        (np.array(units["encoder"]) == f) & (np.array(units["layer"]) == "conv4")
    )
    assert last["unit_mem"] == pytest.approx(of_last["unit_mem"].drop_null().to_numpy().mean())


def test_done_is_left_alone_and_another_pair_is_measured(tiny_runs):
    run = tiny_runs / "tiny"
    text = localize(tiny_runs).out
    assert "conv4" in text
    one = file_sha256(run / "units.parquet")
    stamp = (run / "units.parquet").stat().st_mtime_ns
    localize(tiny_runs)
    assert (run / "units.parquet").stat().st_mtime_ns == stamp
    f, g = Plan.read(run / "plan.parquet").encoders[:2]
    other = json.loads(localize(tiny_runs, "--encoders", f"{g},{f}", "--json").out)
    assert other["encoders"] == [g, f]
    localize(tiny_runs)
    assert file_sha256(run / "units.parquet") == one


def test_more_views_are_measured_anew(tiny_runs):
    run = curate_run.open_run("tiny", runs=tiny_runs, create=False)
    assert curate_run.localize(run, device="cpu").views == 3
    assert curate_run.localize(run.extended(views=5), device="cpu").views == 5


def test_values_that_are_not_finite_are_told(tiny_runs, monkeypatch):
    monkeypatch.setattr(
        localizing,
        "measure",
        lambda *_, **__: LayerMeasurement(
            ["conv1"], [4], np.full((2, 1, 3), np.nan), [[Units(0)]] * 2
        ),
    )
    result = localize(tiny_runs, code=7)
    assert "layer conv1 of an encoder of" in result.err
    assert not (tiny_runs / "tiny" / "localize.json").exists()


def test_pairs_that_are_none_are_refused(tiny_runs):
    f = Plan.read(tiny_runs / "tiny" / "plan.parquet").encoders[0]
    assert "unknown encoder 'x'" in localize(tiny_runs, "--encoders", f"{f},x", code=2).err
    assert "two different encoders" in localize(tiny_runs, "--encoders", f"{f},{f}", code=2).err
    assert "two different encoders" in localize(tiny_runs, "--encoders", f, code=2).err
