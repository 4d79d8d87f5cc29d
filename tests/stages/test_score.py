"""Scores are of the samples, not of the shards that they lie in."""

import dataclasses
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

import curate
from curate.data.shards import writer
from curate.errors import DataError
from curate.runs.run import Run
from curate.scores.plan import Plan
from curate.scores.table import ScoreTable
from curate.stages import placement, score
from curate.stages.context import Context
from tests.command import TINY
from tests.command import curate as typed

pytestmark = pytest.mark.numeric


@pytest.fixture
def in_parts(tmp_path, monkeypatch):
    """The tiny run, with 5 shards of up to 17 samples instead of one."""
    monkeypatch.setattr(writer, "SHARD_SAMPLES", 17)
    run = curate.open_run(str(TINY), runs=tmp_path)
    curate.score(run, device="cpu", workers=1)
    return run


def test_many_shards_give_the_scores_of_one(in_parts, tiny_made):
    path = in_parts.path / "scores.parquet"
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(5)] == [17, 17, 17, 17, 12]
    one = ScoreTable.read(tiny_made[1] / "tiny" / "scores.parquet").table
    many = ScoreTable.read(path).table
    for name in ("uid", "key", "label", "group", "n_in", "n_out", "n_views"):
        assert many[name].equals(one[name]), name
    for name in ("memorization", "se", "se_views", "raw", "align_in", "align_out"):
        # All are differences or means of alignments, float32 of up to 2: they are off alike.
        assert np.allclose(many[name].to_numpy(), one[name].to_numpy(), rtol=0, atol=5e-6), name
    by_score = np.argsort(-many["memorization"].to_numpy(), kind="stable")
    assert many["rank"].to_numpy()[by_score].tolist() == list(range(1, 81))


def test_parts_say_where_their_samples_lie(in_parts):
    made = Plan.read(in_parts.path / "plan.parquet")
    index = curate.runs.dataset.index(in_parts)
    rows, places = [], []
    for part in placement.by_shard(in_parts, placement.placed(in_parts, made)):
        uids = [uid.decode() for uid in part.uids.tolist()]
        assert part.uids.tolist() == made.uids[part.rows].tolist()
        assert uids == sorted(uids)
        assert index["uid"].take(part.places).to_pylist() == uids
        assert {name[:5] for name in index["shard"].take(part.places).to_pylist()} == {part.name}
        rows += part.rows.tolist()
        places += part.places.tolist()
    assert sorted(rows) == sorted(places) == list(range(80))


def test_a_sample_of_the_plan_that_is_in_no_shard_is_told(in_parts):
    made = Plan.read(in_parts.path / "plan.parquet")
    longer = np.array([*made.uids[:-1].tolist(), made.uids[-1] + b"-7"], dtype=np.bytes_)
    shorter = np.array([*made.uids[:-1].tolist(), b"f" * 31], dtype=np.bytes_)
    for uids in (longer, shorter):
        with pytest.raises(DataError, match=r"1 of 80 samples of .*plan.parquet are not in"):
            placement.placed(in_parts, dataclasses.replace(made, uids=uids))


def test_memorization_is_scored_along_a_training(tmp_path):
    given = ("--runs", tmp_path, "--set", "train.epochs=4", "--set", "train.snapshots=2")
    result = typed("score", TINY, *given, "--workers", "1", "--json")
    assert result.code == 0, result.err
    run = tmp_path / "tiny"
    rows = json.loads((run / "snapshots.json").read_text())["epochs"]
    assert [row["epoch"] for row in rows] == [2, 4]
    assert rows[0]["loss"] > rows[1]["loss"]
    end = json.loads((run / "scores.json").read_text())
    assert {**rows[1], "epoch": 0, "loss": 0} == {**end, "epoch": 0, "loss": 0}

    # What a snapshot gives is what those encoders would give, were they the run's own.
    half = json.loads((run / "snapshots/00002/scores.json").read_text())
    assert {**rows[0], "epoch": 0, "loss": 0} == {**half, "epoch": 0, "loss": 0}
    assert half["groups"] != end["groups"]
    for name in ("fold0", "fold1"):
        folder = run / "encoders" / name
        file = "weights.safetensors"
        shutil.copyfile(folder / "snapshots/00002" / file, folder / file)
        record = run / f"records/train/{name}.json"
        facts = json.loads(record.read_text())
        made = facts["outputs"][f"encoders/{name}/{file}"]
        made["sha256"] = facts["outputs"][f"encoders/{name}/snapshots/00002/{file}"]["sha256"]
        record.write_text(json.dumps(facts))
    shutil.rmtree(tmp_path / ".store")
    shutil.rmtree(run / "records/align")
    (run / "records/score.json").unlink()
    moved = Run.open(run)
    score.align(moved, Context(device="cpu"))
    summary = score._score(moved, Context(device="cpu"), score.END)
    assert summary.to_json()["groups"] == half["groups"]

    again = typed("score", TINY, *given, "--json")
    assert json.loads(again.out)["already"] is True
    (run / "records/snapshots.json").unlink()
    again = typed("score", TINY, *given, "--json")
    assert json.loads(again.out)["already"] is False and (run / "records/snapshots.json").is_file()
