"""The benchmark: what it measures, not how fast it is."""

import json

import pytest

import curate as library
from curate.stages import bench
from tests.command import TINY, curate

pytestmark = pytest.mark.numeric

STAGES = ["shard", "decode", "views", "train", "score", "one at a time"]


@pytest.fixture
def short(monkeypatch):
    """Rounds that are as short as they can be."""
    monkeypatch.setattr(bench, "SECONDS", 0.01)
    monkeypatch.setattr(bench, "ROUNDS", 3)


def test_every_stage_has_a_rate_and_the_rates_are_in_order(short, tmp_path):
    result = curate("bench", TINY, "--runs", tmp_path / "runs", "--device", "cpu", "--json")
    assert result.code == 0, result.err
    assert not (tmp_path / "runs").exists()
    facts = json.loads(result.out)
    rows = {row["stage"]: row for row in facts["stages"]}
    assert list(rows) == STAGES
    assert (facts["recipe"], facts["device"], facts["rounds"]) == ("tiny", "cpu", 3)
    for row in rows.values():
        assert 0 < row["low"] <= row["rate"] <= row["high"]
        if row["share"] is not None and row["threads"] == facts["ceiling"]["threads"]:
            best = facts["ceiling"][row["ceiling"]]
            assert row["share"] * best == pytest.approx(row["rate"] * row["work"])
    assert {s: rows[s]["ceiling"] for s in STAGES} == {
        "shard": None, "decode": None, "views": "copy", "train": "matmul", "score": "matmul",
        "one at a time": "matmul",
    }  # fmt: skip
    assert rows["shard"]["images"] == rows["decode"]["images"] == 80
    assert rows["views"]["per"] == "views" and rows["views"]["work"] == 64 + 4 * 64
    assert rows["train"]["threads"] == 1
    assert facts["times_one_at_a_time"] > 0


def test_batches_are_the_recipes_own_where_a_round_holds_them(short, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "IMAGES", 20)
    monkeypatch.setattr(bench, "SECONDS", 100.0)
    changes = {"train.batch_size": 70}
    monkeypatch.setattr(bench, "ROUNDS", 1)
    monkeypatch.setattr(bench, "as_many", lambda work, most: 3)
    rows = {r.stage: r for r in library.bench(str(TINY), runs=tmp_path, overrides=changes,
                                              device="cpu").stages}  # fmt: skip
    assert rows["shard"].images == rows["decode"].images == rows["views"].images == 70
    assert rows["train"].images % 70 == 0


def test_the_work_of_scoring_is_that_of_the_encoder_on_every_view(short, tmp_path):
    def work(**replaced):
        overrides = {key.replace("_", ".", 1): value for key, value in replaced.items()}
        rates = library.bench(str(TINY), runs=tmp_path, overrides=overrides, device="cpu").stages
        return {rate.stage: rate.work for rate in rates}

    # The network of BACKBONES["convnet"] on 8 x 8: 3 x 3 convolutions onto 16 and 4 places.
    once = 2 * 9 * (16 * 1 * 32 + 16 * 32 * 32 + 4 * 32 * 64 + 4 * 64 * 64)
    few = work(score_views=2)
    assert few["score"] == few["one at a time"] == 2 * (2 + 1) * once
    assert work(score_views=3, score_pairing="all")["score"] == 2 * 3 * once
    # Forwards and backwards through two views of an image, and heads besides.
    assert few["train"] > 5 * once


def test_the_bench_is_shown_as_a_table(short, tmp_path):
    result = curate("bench", TINY, "--runs", tmp_path, "--device", "cpu")
    assert result.code == 0, result.err
    first, head, *rows, last = result.out.splitlines()
    assert first.startswith("tiny on cpu") and "GFLOP/s" in first and "GB/s" in first
    assert head.split()[0] == "stage"
    assert [row[:14].strip() for row in rows] == STAGES
    assert last.startswith("scores come ") and "one image at a time" in last
    assert "bench score" in result.err


def test_a_recipe_that_cannot_be_measured_is_refused(tmp_path):
    wrong = curate("bench", "digitss", "--runs", tmp_path)
    assert wrong.code == 2 and "digits" in wrong.err
    wrong = curate("bench", TINY, "--runs", tmp_path, "--set", "train.epoch=1")
    assert wrong.code == 2 and "epochs" in wrong.err
    wrong = curate("bench", TINY, "--runs", tmp_path, "--set", "data.limit=1", "--device", "cpu")
    assert wrong.code == 3 and "too few images" in wrong.err


def test_threads_are_as_they_were(short, tmp_path):
    import torch

    before = torch.get_num_threads()
    library.bench(str(TINY), runs=tmp_path, device="cpu")
    assert torch.get_num_threads() == before
