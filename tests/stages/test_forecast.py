"""What a recipe will take, told before it starts and without leaving anything behind."""

import json

import pyarrow.parquet as pq
import pytest

import curate as library
from curate.encoders.backbone import load_encoder
from curate.runs.recipe import load_recipe
from curate.stages.forecast import fixed_and_each, longest
from tests.command import TINY, curate

pytestmark = pytest.mark.numeric


def test_a_forecast_tells_what_the_run_then_is(tmp_path, tiny_made):
    runs = tmp_path / "runs"
    told = curate("train", TINY, "--runs", runs, "--dry-run", "--json", "--workers", "1")
    assert told.code == 0, told.err
    assert not runs.exists()
    facts = json.loads(told.out)

    run = tiny_made[1] / "tiny"
    plan = pq.read_table(run / "plan.parquet")
    assert facts["samples"] == plan.num_rows == 80
    assert facts["encoders"] == {n: sum(plan[n].to_pylist()) for n in ("fold0", "fold1")}
    records = [json.loads((run / "records/train" / f"{e}.json").read_text())
               for e in ("fold0", "fold1")]  # fmt: skip
    assert facts["to_train"] == 2 and facts["steps"] == sum(r["steps"] for r in records)
    encoder = load_encoder(run / "encoders" / "fold0")
    assert facts["parameters"]["encoder"] == sum(p.numel() for p in encoder.parameters())
    assert facts["parameters"]["method"] > facts["parameters"]["encoder"]
    weights = sum((run / "encoders" / e / "weights.safetensors").stat().st_size
                  for e in ("fold0", "fold1"))  # fmt: skip
    assert facts["disk_bytes"]["encoders"] == pytest.approx(weights, rel=0.05)
    assert facts["disk_bytes"]["images"] == 80 * 64
    assert facts["peak_memory_bytes"] > 10**8 and not facts["scaled"]
    assert 0 < facts["seconds_per_step"] < 60
    assert facts["train_seconds"] == pytest.approx(facts["steps"] * facts["seconds_per_step"])
    assert facts["score_seconds"] > 0 and facts["free_disk_bytes"] > 0


def test_a_forecast_is_printed_in_words(tmp_path):
    told = curate("train", TINY, "--runs", tmp_path / "runs", "--dry-run", "--set", "plan.folds=3")
    assert told.code == 0, told.err
    lines = told.out.splitlines()
    assert lines[0].startswith("samples     80; 3 encoders on 53 to 54 each, 3 left to train")
    assert [line.split()[0] for line in lines[1:]] == [
        "parameters", "steps", "time", "memory", "disk",
    ]  # fmt: skip
    assert "curate train" in told.err


def test_what_a_run_has_done_is_not_counted(tiny_runs):
    (tiny_runs / "tiny" / "records" / "train" / "fold1.json").unlink()
    facts = library.forecast(load_recipe(str(TINY)), runs=tiny_runs)
    assert facts.to_train == 1 and facts.steps == 4
    again = library.forecast(str(TINY), runs=tiny_runs, overrides={"train.epochs": 4})
    assert again.to_train == 2 and again.steps == 16


def test_a_large_batch_is_told_from_a_small_one(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.stages.forecast.SECONDS", 1e-6)
    facts = library.forecast(load_recipe(str(TINY)), runs=tmp_path)
    assert facts.scaled and facts.peak_memory_bytes is None
    assert facts.batch_size == 16


@pytest.mark.parametrize(("measured", "wanted"), [
    ({8: 1.8, 32: 4.2}, (1.0, 0.1)),  # a second for whatever many, a tenth for each
    ({8: 2.0, 2: 1.4}, (1.2, 0.1)),
    ({8: 0.8, 32: 3.2}, (0.0, 0.1)),
    ({8: 4.0, 32: 3.2}, (0.0, 0.1)),  # noise
    ({8: 0.1, 32: 3.2}, (0.0, 0.1)),
])  # fmt: skip
def test_what_is_fixed_is_told_from_two_numbers_of_images(measured, wanted):
    assert fixed_and_each(measured) == pytest.approx(wanted, abs=1e-12)


def test_a_forecast_refuses_what_train_refuses(tmp_path):
    told = curate("train", "digitss", "--dry-run", "--runs", tmp_path)
    assert told.code == 2 and "digits" in told.err
    told = curate("train", TINY, "--dry-run", "--runs", tmp_path, "--set", "plan.folds=90")
    assert told.code == 3 and "90 folds" in told.err


@pytest.mark.parametrize(("steps", "workers", "wanted"), [
    ([5], 1, 5), ([5, 5, 5], 2, 10), ([9, 1, 1, 1], 2, 9), ([], 1, 0),
])  # fmt: skip
def test_the_longest_worker_counts(steps, workers, wanted):
    assert longest(steps, workers) == wanted
