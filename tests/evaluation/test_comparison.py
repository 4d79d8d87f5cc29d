"""Differences of paired arms, and the files they are written to."""

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from matplotlib.image import imread

from curate.evaluation import comparison
from tests.answered import answered

pytestmark = pytest.mark.numeric

ACCURACY = {
    ("top", 200): [0.90, 0.93, 0.91],
    ("drop-top", 200): [0.80, 0.85, 0.83],
    ("random", 200): [0.88, 0.92, 0.92],
    ("top", 500): [0.70, 0.70, 0.71],
    ("random", 500): [0.71, 0.75, 0.73],
}

SETTINGS = {"budget": "epochs"}


@pytest.fixture
def rows():
    return [
        {
            "strategy": strategy,
            "remove": remove,
            "seed": seed,
            "source": "self",
            "kind": kind,
            "held_out": False,
            "accuracy": value - (0.1 if kind == "knn" else 0),
            "validation_accuracy": None,
            "n_test": 1000,
            "chosen": {"C": 0.1},
        }
        for (strategy, remove), values in ACCURACY.items()
        for seed, value in enumerate(values)
        for kind in ("linear", "knn")
    ]


def pick(found, **wanted):
    (one,) = [f for f in found if all(getattr(f, k) == v for k, v in wanted.items())]
    return one


def summarise(rows, scored=1437):
    return comparison.summarise(rows, answered(rows), scored)


def test_accuracies_without_leaks_stand_beside(rows):
    assert summarise(rows).tests[0].leaked is None
    assert summarise(rows).arms[0].without_leaks is None
    looked = [
        {**row, "leaked": 30, "accuracy_without_leaks": row["accuracy"] - 0.01 * (1 + row["seed"])}
        for row in rows
        if (row["strategy"], row["seed"]) != ("random", 2)
    ]
    summary = summarise(looked)
    assert summary.tests[0].leaked == 30
    arm = pick(summary.arms, strategy="top", remove=200, kind="linear")
    assert arm.without_leaks == pytest.approx(arm.mean - 0.02)
    gap = pick(summary.differences, strategy="top", remove=200, kind="linear")
    assert gap.without_leaks == pytest.approx((0.90 + 0.93 - 0.88 - 0.92) / 2)


def test_differences_are_of_the_images_that_each_pair_had_right(rows):
    summary = summarise(rows)
    assert len(summary.differences) == 6
    for strategy, remove in (("top", 200), ("drop-top", 200), ("top", 500)):
        found = pick(summary.differences, strategy=strategy, remove=remove, kind="linear")
        gap = np.subtract(ACCURACY[strategy, remove], ACCURACY["random", remove])
        assert found.mean == pytest.approx(gap.mean())
        assert found.images == pytest.approx(1000 * gap.mean())
        assert list(found.by_seed.values()) == pytest.approx(gap.tolist())
        assert (found.n, found.n_test) == (3, 1000)
        assert found.low < found.mean < found.high
    assert summary.holds_for == "this selection"


def test_arms_say_in_plain_words_what_they_keep(rows):
    arms = summarise(rows).arms
    labels = {(a.strategy, a.remove): a.label for a in arms}
    assert labels == {
        ("top", 200): "keep the 1,237 most memorized",
        ("drop-top", 200): "drop the 200 most memorized",
        ("random", 200): "1,237 at random",
        ("top", 500): "keep the 937 most memorized",
        ("random", 500): "937 at random",
    }
    arm = pick(arms, strategy="top", remove=200, kind="linear")
    assert arm.mean == pytest.approx(np.mean(ACCURACY["top", 200]))
    assert arm.sd == pytest.approx(np.std(ACCURACY["top", 200], ddof=1))
    assert arm.kept == 1237


def test_a_seed_without_its_random_partner_does_not_count(rows):
    without = [r for r in rows if not (r["strategy"] == "random" and r["seed"] == 1)]
    summary = summarise(without)
    found = pick(summary.differences, strategy="top", remove=200, kind="linear")
    assert found.n == 2
    assert found.mean == pytest.approx((0.02 - 0.01) / 2)


def test_one_seed_has_no_interval_and_says_so(rows):
    summary = summarise([r for r in rows if r["seed"] == 0])
    found = pick(summary.differences, strategy="top", remove=200, kind="linear")
    assert (found.low, found.high, found.se_seeds, found.p) == (None, None, None, None)
    assert found.mean == pytest.approx(0.02)
    assert "more seeds" in summary.verdict


def test_the_verdict_follows_the_intervals(rows):
    linear = [r for r in rows if r["kind"] == "linear"]
    top = [r for r in linear if r["strategy"] != "drop-top" and r["remove"] == 200]
    assert summarise(top).verdict.startswith("no difference from random")
    drop = [r for r in linear if r["strategy"] != "top" and r["remove"] == 200]
    assert summarise(drop).verdict.startswith("1 of 1 intervals exclude 0")
    control = [r for r in linear if r["strategy"] == "random"]
    assert summarise(control).differences == ()


def test_files_hold_all_of_it_and_are_the_same_twice(rows, tmp_path):
    summary = summarise(rows)
    paths = [
        comparison.write(tmp_path / name, rows, answered(rows), summary, SETTINGS)
        for name in ("a", "b")
    ]
    endings = ("csv", "json", "parquet", "png")
    assert [p.name for p in paths[0]] == [f"comparison.{ending}" for ending in endings]
    for one, other in zip(*paths, strict=True):
        assert one.read_bytes() == other.read_bytes()
    with paths[0][0].open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert tuple(table[0]) == comparison.COLUMNS
    assert [float(r["accuracy"]) for r in table] == [r["accuracy"] for r in rows]
    assert table[0]["label"] == "keep the 1,237 most memorized"
    assert table[0]["kept"] == "1237"
    content = json.loads(paths[0][1].read_text())
    assert content["differences"] == summary.to_json()["differences"]
    assert content["results"] == rows
    read = comparison.Comparison.read(tmp_path / "a")
    assert (read.arms, read.differences) == (summary.arms, summary.differences)
    assert (read.settings, read.path) == (SETTINGS, tmp_path / "a")
    table = pq.read_table(paths[0][2])
    assert np.mean(table["top-200-s1-linear"].to_pylist()) == 0.93
    picture = imread(paths[0][3])
    assert picture.shape[1] == 960
    assert picture[..., :3].std() > 0.05


def test_nothing_to_compare_still_gives_files(rows, tmp_path):
    control = [r for r in rows if r["strategy"] == "random"]
    paths = comparison.write(tmp_path, control, answered(control), summarise(control), {})
    assert all(path.stat().st_size > 0 for path in paths)
