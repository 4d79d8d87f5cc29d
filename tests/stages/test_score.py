"""Scores are of the samples, not of the shards that they lie in."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

import curate
from curate.runs.run import Run
from curate.runtime.files import sealed, write_json
from curate.scores.table import ScoreTable
from tests.command import TINY
from tests.command import curate as typed

pytestmark = pytest.mark.numeric


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

    # An encoder as it was then is measured by itself, whatever the end of its training gave.
    half_way = (run / "snapshots/00002/alignment/00000.parquet").read_bytes()
    assert half_way != (run / "alignment/00000.parquet").read_bytes()
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
        write_json(record, sealed(facts))
    shutil.rmtree(tmp_path / ".store")
    shutil.rmtree(run / "records/align")
    (run / "records/score.json").unlink()
    assert curate.score(Run.open(run), device="cpu").to_json()["groups"] == half["groups"]

    again = typed("score", TINY, *given, "--json")
    assert json.loads(again.out)["already"] is True
    (run / "records/snapshots.json").unlink()
    again = typed("score", TINY, *given, "--json")
    assert json.loads(again.out)["already"] is False and (run / "records/snapshots.json").is_file()
