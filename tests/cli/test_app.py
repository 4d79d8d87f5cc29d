"""What a user types, what lands on disk, and what each error says and ends with."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps

from curate.cli import app
from curate.runs import recipe_files
from curate.runs.run import locked
from curate.runtime.files import file_sha256, read_json
from tests.command import TINY, curate
from tests.inspection.test_duplicates import SCENES

pytestmark = pytest.mark.numeric

SCORES = [
    *("uid", "key", "shard", "label", "class", "path", "group", "memorization"),
    *(
        "se",
        "se_views",
        "se_encoders",
        "raw",
        "delta",
        "align_in",
        "align_out",
        "n_in",
        "n_out",
        "n_views",
        "rank",
    ),
    *("expected", "expected_se", "weight"),
]
MANIFEST = [
    *("uid", "key", "shard", "label", "class", "path", "memorization", "se", "rank", "p_top"),
    *("decision", "reason"),
]


def digests(folder):
    return {
        str(p.relative_to(folder)): file_sha256(p)
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.startswith(".") and p.name != "classes.txt"
    }


def refused(result, code, *texts):
    """Assert that a command ended with ``code``, and said why in one or two lines."""
    assert (result.code, result.out) == (code, ""), result.err
    lines = [line for line in result.err.splitlines() if not line.startswith("run: ")]
    assert len(lines) <= 2, result.err
    assert lines[0].startswith("error: ")
    for text in texts:
        assert text in result.err
    return result


# The whole line


def test_run_makes_what_it_promises_and_says_what_comes_next(tiny_made):
    result, runs = tiny_made
    assert result.code == 0, result.err
    run = runs / "tiny"
    table = pq.read_table(run / "scores.parquet")
    assert table.column_names == SCORES
    assert table.num_rows == 80
    assert sorted(table["rank"].to_pylist()) == list(range(1, 81))
    facts = json.loads((run / "scores.json").read_text())
    assert facts["n_scored"] == 80
    assert facts["separation"] == "none"
    manifest = pq.read_table(run / "manifests" / "top-0.5.parquet")
    assert manifest.column_names == MANIFEST
    kept = {r["rank"] for r in manifest.to_pylist() if r["decision"] == "keep"}
    assert kept == set(range(1, 41))
    plan = pq.read_table(run / "plan.parquet")
    assert plan.column_names == ["uid", "group", "fold0", "fold1"]
    assert pq.read_table(run / "inspect.parquet").num_rows == 80
    (comparison,) = (run / "comparisons").glob("remove-*")
    assert {p.name for p in comparison.glob("comparison.*")} == {
        "comparison.csv",
        "comparison.json",
        "comparison.parquet",
        "comparison.png",
    }
    arms = json.loads((comparison / "comparison.json").read_text())["arms"]
    assert {(a["strategy"], a["kept"], a["n"]) for a in arms} == {("top", 60, 2), ("random", 60, 2)}
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    for text in (
        "80 samples scored by 2 encoders",
        "verdict     nothing: ",
        "difference  for",
        "report  ",
    ):
        assert text in result.out
    told = [line for line in result.err.splitlines() if line.startswith(("train   ", "test   "))]
    assert told[0].startswith("train       80 written, 0 rejected, 818 left out, of 898")
    # Before hours of training it shows whether there is anything to probe on, and what leaks.
    account = ("  ", "classes ", "thumbnails: ", "descriptions: ", "copies: ", *told)
    lines = [line for line in result.err.splitlines() if not line.startswith(account)]
    assert [line.split(":")[0] for line in lines][:4] == [
        "shard",
        "decode",
        "train",
        "align",
    ]
    assert any(line.startswith("warning: nothing: the scores do not tell") for line in lines)
    assert lines[-1].startswith("next: curate score ")
    assert lines[-1].endswith(f"  # or open {run}/report.html in a browser")


def test_run_json_records_what_the_run_was_made_with(tiny_made):
    _, runs = tiny_made
    facts = json.loads((runs / "tiny" / "run.json").read_text())
    assert facts["device"] == "cpu"
    assert facts["seeds"] == {"plan": 0, "train": 0, "score": 0, "select": 0}
    assert facts["recipe"]["encoder"]["temperature"] > 0  # the method's own defaults filled in
    assert len(facts["recipe"]["views"]["crop"]) == 2  # and the view set's
    assert len(facts["dataset_fingerprint"]) == 64
    assert {"curate", "torch", "python"} <= set(facts["versions"])
    assert {"shard", "plan", "decode", "train", "align", "score", "inspect", "compare"} <= set(
        facts["seconds"]
    )


def test_overrides_data_seed_and_limit_are_recorded(tmp_path):
    wanted = ["--seed", "3", "--limit", "40", "--set", "train.epochs=1", "--data", tmp_path]
    result = curate("train", TINY, "--runs", tmp_path, "--workers", "1", *wanted, "--device", "cpu")
    assert result.code == 0, result.err
    facts = json.loads((tmp_path / "tiny" / "run.json").read_text())
    assert facts["overrides"] == {
        "plan.seed": 3,
        "train.seed": 3,
        "score.seed": 3,
        "select.seed": 3,
        "data.limit": 40,
        "train.epochs": "1",
    }
    assert facts["data_path"] == str(tmp_path)
    assert facts["recipe"]["train"]["epochs"] == 1
    again = curate("train", "tiny", "--runs", tmp_path)
    assert again.code == 0
    assert "nothing to do" in again.err


def test_scoring_again_does_nothing_and_says_so(tiny_runs):
    before = digests(tiny_runs)
    result = curate("score", "tiny", "--runs", tiny_runs)
    assert result.code == 0
    assert f"nothing to do: {tiny_runs / 'tiny'} was scored before" in result.err
    assert digests(tiny_runs) == before


def test_running_again_leaves_every_artefact_as_it_was(tiny_runs):
    before = digests(tiny_runs)
    result = curate("run", TINY, "--runs", tiny_runs)
    assert result.code == 0
    assert [line.split(":")[0] for line in result.err.splitlines()] == ["warning", "next"]
    after = digests(tiny_runs)
    changing = {"tiny/report.html", "tiny/run.json"}
    assert {k: v for k, v in after.items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }


def test_other_settings_are_a_mismatch_that_shows_the_difference(tiny_runs):
    command = ["score", TINY, "--runs", tiny_runs]
    refused(
        curate(*command, "--set", "train.epochs=7", "--limit", "60"),
        4,
        "data.limit: 80 -> 60",
        "train.epochs: 2 -> 7",
        "--fresh",
    )
    # What shapes no artefact may differ.
    assert curate(*command, "--set", "score.batch_size=7").code == 0


def test_fresh_starts_over_beside_the_old_run(tiny_runs):
    before = digests(tiny_runs / "tiny")
    command = ["train", "tiny", "--runs", tiny_runs, "--workers", "1", "--device", "cpu"]
    assert curate(*command, "--set", "train.epochs=1", "--fresh").code == 0
    assert digests(tiny_runs / "tiny.old-1") == before
    facts = json.loads((tiny_runs / "tiny" / "run.json").read_text())
    assert facts["recipe"]["train"]["epochs"] == 1
    assert not (tiny_runs / "tiny" / "scores.parquet").exists()


def test_scores_do_not_depend_on_the_batch_size(tiny_made, tmp_path):
    command = ["score", TINY, "--runs", tmp_path, "--workers", "1", "--device", "cpu"]
    assert curate(*command, "--set", "score.batch_size=7").code == 0
    ours, theirs = (
        pq.read_table(runs / "tiny" / "scores.parquet") for runs in (tmp_path, tiny_made[1])
    )
    assert ours["uid"] == theirs["uid"]
    for name in ("align_in", "align_out", "raw", "memorization"):
        scale = np.abs(theirs["align_in"].to_numpy()).max()
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-5 * scale)


def test_a_run_that_is_left_out_is_the_newest_and_named(tiny_runs):
    shutil.copytree(tiny_runs / "tiny", tiny_runs / "older")
    os.utime(tiny_runs / "older" / "run.json", (1, 1))
    result = curate("select", "--top", "5", "--runs", tiny_runs)
    assert result.code == 0
    assert result.err.splitlines()[0] == f"run: {tiny_runs / 'tiny'}"
    assert (tiny_runs / "tiny" / "manifests" / "top-5.parquet").is_file()


def test_the_folder_of_runs_may_come_from_the_environment(tiny_runs, monkeypatch):
    monkeypatch.setenv("CURATE_RUNS", str(tiny_runs))
    assert curate("inspect", "tiny").code == 0


def test_a_run_that_is_not_there_is_named_with_its_neighbours(tiny_runs, tmp_path):
    refused(curate("inspect", "tini", "--runs", tiny_runs), 2, "'tini'", "Did you mean 'tiny'?")
    refused(curate("select", "--top", "1", "--runs", tmp_path / "none"), 2, "curate run digits")


def test_a_run_in_use_is_refused_at_once(tiny_runs):
    with locked(tiny_runs / "tiny"):
        result = curate("select", "tiny", "--top", "5", "--runs", tiny_runs)
    refused(result, 5, "in use", f"process {os.getpid()} on")


# Unknown names


@pytest.mark.parametrize(
    ("setting", "texts"),
    [
        ("train.epoch=5", ["unknown key 'train.epoch'", "Did you mean 'epochs'?"]),
        ("trian.epochs=5", ["unknown key 'trian'", "Did you mean 'train'?"]),
        ("train.epochs=many", ["train.epochs", "'many'"]),
        ("train.optimizer=adam", ["train.optimizer", "'adamw'"]),
        ("encoder.method=simcrl", ["unknown method 'simcrl'", "Did you mean 'simclr'?"]),
        ("encoder.backbone=restnet18", ["unknown backbone", "Did you mean 'resnet18'?"]),
        ("encoder.temprature=1", ["'temprature'", "Did you mean 'temperature'?"]),
        ("views.train=simcrl", ["unknown view set", "Did you mean 'simclr'?"]),
        ("views.jiter=1", ["'jiter'", "Did you mean 'jitter'?"]),
        ("data.source=digit", ["unknown source 'digit'", "Did you mean 'digits'?"]),
        ("probe.sources=[slf]", ["unknown source 'slf'"]),
        ("plan.kind=fold", ["unknown plan.kind 'fold'", "Did you mean 'folds'?"]),
        ("plan.fold=3", ["unknown key 'plan.fold'", "Did you mean 'folds'?"]),
        ("select.strategy=tpo", ["unknown strategy 'tpo'", "Did you mean 'top'?"]),
        ("compare.strategies=[tpo]", ["unknown strategy 'tpo'"]),
        ("nonsense", ["--set nonsense"]),
    ],
)
def test_unknown_settings_offer_the_nearest(tmp_path, setting, texts):
    refused(curate("train", TINY, "--runs", tmp_path, "--set", setting), 2, *texts)
    assert list(tmp_path.iterdir()) == []


def test_unknown_names_on_the_command_line_offer_the_nearest(tmp_path, tiny_runs):
    refused(curate("run", "fashion-mnst", "--runs", tmp_path), 2, "Did you mean 'fashion-mnist'?")
    refused(curate("run", tmp_path / "no.yaml"), 2, "no recipe at")
    refused(curate("shard", "digit", "--out", tmp_path / "x"), 2, "Did you mean 'digits'?")
    refused(curate("shard", "./nowhere", "--out", tmp_path / "x"), 2, "nowhere")
    select = ["select", "tiny", "--runs", tiny_runs, "--strategy", "tops", "--count", "3"]
    refused(curate(*select), 2, "Did you mean 'top'?")
    compare = ["compare", "tiny", "--runs", tiny_runs, "--remove", "5"]
    refused(curate(*compare, "--strategies", "randm"), 2, "Did you mean 'random'?")
    refused(curate(*compare, "--budget", "epoch"), 2, "Did you mean 'epochs'?")
    encoder = tiny_runs / "tiny" / "encoders" / "fold0"
    refused(curate("probe", encoder, "--kind", "liner"), 2, "Did you mean 'linear'?")
    refused(curate("probe", encoder, "--device", "gpu"), 2, "unknown device 'gpu'")
    refused(curate("recipes", "imagenet"), 2, "imagenet-100k")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["run"],
        ["run", "digits", "--nonsense"],
        ["run", "digits", "--limit", "0"],
        ["run", "digits", "--seed", "-1"],
        ["select", "--top", "many"],
        ["shard", "digits"],
        ["shard", "digits", "--out", "x", "--max-bad", "2"],
    ],
)
def test_what_cannot_be_parsed_is_wrong_usage(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(curate(*arguments), 2, "--help")


# What the end of the line would refuse


def test_unscored_samples_are_noticed_before_training(tmp_path):
    pair = "plan={kind: pair, shared: 0.5, candidates: 0.2, independent: 0.2, extra: 0.1}"
    result = curate("run", TINY, "--runs", tmp_path, "--set", pair)
    assert (result.code, result.out) == (2, "")
    # Half are in both encoders, a tenth in neither.
    assert "48 of 80 samples are unscored" in result.err
    assert "unscored keep or drop" in result.err
    assert not (tmp_path / "tiny" / "encoders").exists()


@pytest.mark.parametrize(
    ("setting", "code", "text"),
    [
        ("select={count: 81}", 2, "cannot keep 81 samples: 80 are scored"),
        ("compare.remove=[80]", 2, "cannot remove 80: 80 are scored"),
        ("inspect.encoder=fold7", 2, "unknown inspect.encoder 'fold7'"),
        ("data.extra=more", 2, "no split 'more'"),
        ("plan.folds=81", 3, "81 folds"),
    ],
)
def test_impossible_recipes_are_noticed_before_training(tmp_path, setting, code, text):
    result = curate("run", TINY, "--runs", tmp_path, "--set", setting)
    assert (result.code, result.out) == (code, "")
    assert text in result.err
    assert not (tmp_path / "tiny" / "encoders").exists()


@pytest.fixture
def unlabelled(tmp_path):
    folder = tmp_path / "flat"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(24):
        pixels = random.integers(0, 256, (9, 8 + i % 3, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return folder


def test_missing_labels_are_noticed_before_training(tmp_path, unlabelled):
    command = ["run", TINY, "--runs", tmp_path / "runs", "--workers", "1", "--device", "cpu"]
    command += ["--set", f"data.source=folder:{unlabelled}", "--set", "train.epochs=1"]
    result = curate(*command)
    assert (result.code, result.out) == (3, "")
    assert "none of 24 samples has a label" in result.err
    assert not (tmp_path / "runs" / "tiny" / "encoders").exists()
    # Without a comparison labels are not needed.
    assert curate(*command, "--set", "compare.remove=[]", "--fresh").code == 0
    encoder = tmp_path / "runs" / "tiny" / "encoders" / "fold0"
    refused(curate("probe", encoder, "--on", "self", "-q"), 3, "none of 24 samples has a label")


def test_a_set_that_is_partly_labelled_is_compared_on_what_is(tmp_path, unlabelled):
    for i, path in enumerate(sorted(unlabelled.iterdir())[:18]):
        folder = unlabelled / ("cat", "dog")[i % 2]
        folder.mkdir(exist_ok=True)
        path.rename(folder / path.name)
    command = ["run", TINY, "--runs", tmp_path / "runs", "--workers", "1", "--device", "cpu"]
    command += ["--set", f"data.source=folder:{unlabelled}", "--set", "train.epochs=1"]
    result = curate(*command, "--set", "compare.remove=[4]", "--set", "compare.seeds=1")
    assert result.code == 0, result.err
    assert "6 of 24 samples have no label and are left out" in result.err
    encoder = tmp_path / "runs" / "tiny" / "encoders" / "fold0"
    found = json.loads(curate("probe", encoder, "--on", "self", "--json").out)["results"]
    assert {row["n_train"] + row["n_test"] for row in found} == {18}


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_images_are_bad_data(tmp_path, unlabelled, n):
    for path in sorted(unlabelled.iterdir())[n:]:
        path.unlink()
    source = f"data.source=folder:{unlabelled}"
    result = curate("run", TINY, "--runs", tmp_path / "runs", "--set", source, "-q")
    refused(result, 3)


def test_text_files_named_jpg_are_rejected_with_their_reason(tmp_path, unlabelled):
    for i in range(3):
        (unlabelled / f"text-{i}.jpg").write_text("no image")
    out = tmp_path / "shards"
    result = curate("shard", unlabelled, "--out", out)
    assert (result.code, result.out) == (3, "")
    assert "3 of 27" in result.err
    again = curate("shard", unlabelled, "--out", out, "--max-bad", "0.2", "--json")
    facts = json.loads(again.out)
    assert (facts["written"], facts["rejected"]) == (24, 3)
    rejected = [json.loads(line) for line in (out / "rejected.jsonl").read_text().splitlines()]
    assert [r["path"] for r in rejected] == [f"text-{i}.jpg" for i in range(3)]
    assert all(r["reason"] for r in rejected)
    refused(curate("shard", unlabelled, "--out", out), 2, "not empty")


# Selections


def select(runs, *arguments):
    return curate("select", "tiny", "--runs", runs, *arguments)


def test_equal_selections_are_equal_files(tiny_runs):
    folder = tiny_runs / "tiny" / "manifests"
    assert select(tiny_runs, "--top", "30").code == 0
    first = [(folder / f"top-30.{ending}").read_bytes() for ending in ("parquet", "json")]
    assert select(tiny_runs, "--top", "30").code == 0
    assert [(folder / f"top-30.{e}").read_bytes() for e in ("parquet", "json")] == first


@pytest.mark.parametrize(
    ("arguments", "name", "ranks"),
    [
        (["--top", "10"], "top-10", range(1, 11)),
        (["--drop-top", "10"], "drop-top-10", range(11, 81)),
        (["--bottom", "10"], "bottom-10", range(71, 81)),
        (["--fraction", "0.25"], "top-0.25", range(1, 21)),
        (["--strategy", "drop-top", "--fraction", "0.25"], "drop-top-0.25", range(21, 81)),
        (["--strategy", "bottom", "--count", "3", "--name", "mine"], "mine", range(78, 81)),
    ],
)
def test_selections_keep_what_they_say(tiny_runs, arguments, name, ranks):
    result = select(tiny_runs, *arguments)
    assert result.code == 0
    path = tiny_runs / "tiny" / "manifests" / f"{name}.parquet"
    rows = pq.read_table(path).to_pylist()
    assert len(rows) == 80
    assert [r["uid"] for r in rows] == sorted(r["uid"] for r in rows)
    assert {r["rank"] for r in rows if r["decision"] == "keep"} == set(ranks)
    assert f"kept {len(ranks)}, dropped {80 - len(ranks)}" in result.out
    facts = json.loads(path.with_suffix(".json").read_text())
    assert facts["counts"]["kept"] == len(ranks)
    assert facts["separation"] == "none"
    assert facts["verdict"]["grade"] == "nothing"
    assert f"warning: {facts['verdict']['text']}." in result.err
    assert f"next: curate score {tiny_runs}/tiny --set train.epochs=8 --retrain" in result.err


def test_random_selections_depend_on_their_seed(tiny_runs):
    folder = tiny_runs / "tiny" / "manifests"
    kept = []
    for seed in (0, 1):
        assert select(tiny_runs, "--strategy", "random", "--count", "40", "--seed", seed).code == 0
        rows = pq.read_table(folder / f"random-40-s{seed}.parquet")
        kept.append(rows["decision"].to_pylist())
        assert kept[-1].count("keep") == 40
    assert kept[0] != kept[1]


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--top", "0"], ["Invalid value for '--top'"]),
        (["--top", "-3"], ["Invalid value for '--top'"]),
        (["--top", "81"], ["cannot keep 81 samples: 80 are scored; choose 1 to 80"]),
        (["--drop-top", "80"], ["cannot drop 80 samples", "choose 1 to 79"]),
        (["--fraction", "0"], ["fraction: should be greater than 0, not 0.0"]),
        (["--fraction", "1.5"], ["Invalid value for '--fraction'"]),
        (["--fraction", "0.001"], ["cannot keep 0 samples"]),
        ([], ["--top N"]),
        (["--top", "3", "--bottom", "3"], ["give one of"]),
        (["--top", "3", "--fraction", "0.5"], ["give one of"]),
        (["--top", "3", "--strategy", "random"], ["give one of"]),
        (["--strategy", "random"], ["say how many"]),
        (["--top", "3", "--name", "../x"], ["name '../x'"]),
        (["--top", "3", "--out", "x"], ["--out goes with --scores"]),
        (["--top", "3", "--unscored", "kep"], ["Did you mean 'keep'?"]),
    ],
)
def test_impossible_selections_are_wrong_usage(tiny_runs, arguments, texts):
    before = digests(tiny_runs)
    refused(select(tiny_runs, *arguments), 2, *texts)
    assert digests(tiny_runs) == before


def test_selecting_before_scoring_says_how_to_score(tiny_runs):
    (tiny_runs / "tiny" / "scores.parquet").unlink()
    refused(select(tiny_runs, "--top", "3"), 3, "curate score tiny")


def test_any_table_with_uids_and_a_number_can_be_selected_from(tmp_path):
    scores = tmp_path / "scores.csv"
    scores.write_text("uid,loss,note\n007,0.5,a\nb,nan,b\nc,-1,c\nd,2,d\n")
    command = ["select", "--scores", scores, "--by", "loss", "--out", tmp_path / "out", "--top", 2]
    refused(curate(*command), 2, "1 of 4 samples are unscored")
    assert curate(*command, "--unscored", "keep").code == 0
    rows = pq.read_table(tmp_path / "out" / "top-2.parquet").to_pylist()
    assert [(r["uid"], r["decision"], r["rank"]) for r in rows] == [
        ("007", "keep", 2),
        ("b", "keep", None),
        ("c", "drop", 3),
        ("d", "keep", 1),
    ]
    refused(curate("select", "--scores", scores, "--top", 2), 3, "no column 'memorization'", "loss")
    refused(curate("select", "--scores", scores, "--by", "note", "--top", 2), 3, "not a number")
    refused(curate("select", "--scores", tmp_path / "no.csv", "--top", 2), 3, "no.csv")
    refused(curate("select", "tiny", "--scores", scores, "--top", 2), 2, "not both")
    scores.write_text("uid,loss\na,1\na,2\n")
    refused(curate(*command), 3, "repeats or lacks a uid")


# Exports


def test_exports_write_the_manifest_the_paths_and_the_images(tiny_runs, tmp_path):
    assert select(tiny_runs, "--top", "10").code == 0
    manifest = tiny_runs / "tiny" / "manifests" / "top-10.parquet"
    rows = pq.read_table(manifest).to_pylist()
    kept = {r["uid"] for r in rows if r["decision"] == "keep"}
    index = pq.read_table(tiny_runs / "tiny" / "shards" / "index.parquet").to_pylist()
    result = curate("export", manifest, "--to", "csv", "--out", tmp_path / "all.csv")
    assert (result.code, result.out) == (0, f"80 samples written to {tmp_path / 'all.csv'}\n")
    assert pyarrow.csv.read_csv(tmp_path / "all.csv").column_names == MANIFEST
    assert curate("export", manifest, "--to", "paths", "--out", tmp_path / "kept.txt").code == 0
    listed = (tmp_path / "kept.txt").read_text().splitlines()
    assert listed == [r["path"] for r in index if r["uid"] in kept]
    folder = tmp_path / "kept"
    assert curate("export", manifest, "--to", "folder", "--out", folder).code == 0
    wanted = {
        f"{r['label']}/{r['path'].rpartition('/')[2]}": r["sha256"]
        for r in index
        if r["uid"] in kept
    }
    assert digests(folder) == wanted


def test_exports_refuse_what_they_cannot_do(tiny_runs, tmp_path):
    manifest = tiny_runs / "tiny" / "manifests" / "top-0.5.parquet"
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    refused(curate("export", manifest, "--to", "folder", "--out", taken), 2, "already there")
    refused(curate("export", manifest, "--to", "cvs", "--out", tmp_path / "x"), 2, "'csv'?")
    refused(curate("export", tmp_path / "no", "--to", "csv", "--out", tmp_path / "x"), 3, "no.par")
    outside = tmp_path / "outside.parquet"
    shutil.copy(manifest, outside)
    shutil.copy(manifest.with_suffix(".json"), outside.with_suffix(".json"))
    assert curate("export", outside, "--to", "csv", "--out", tmp_path / "x").code == 0
    refused(
        curate("export", outside, "--to", "paths", "--out", tmp_path / "y"), 2, "lies in no run"
    )


def test_a_manifest_of_another_dataset_does_not_belong(tiny_runs, tmp_path):
    other = ["train", TINY, "--runs", tmp_path / "other", "--workers", "1", "--device", "cpu"]
    assert curate(*other, "--limit", "30", "--set", "train.epochs=1").code == 0
    theirs = tmp_path / "other" / "tiny"
    manifest = tiny_runs / "tiny" / "manifests" / "top-0.5.parquet"
    refused(curate("retrain", manifest, "--run", theirs), 4, "another dataset")
    (theirs / "manifests").mkdir()
    shutil.copy(manifest, theirs / "manifests")
    shutil.copy(manifest.with_suffix(".json"), theirs / "manifests")
    moved = theirs / "manifests" / manifest.name
    refused(curate("export", moved, "--to", "paths", "--out", tmp_path / "x"), 4, "another dataset")
    # One that names no dataset is known by its uids.
    scores = tiny_runs / "tiny" / "scores.parquet"
    bare = ["select", "--scores", scores, "--top", 40, "--out", tmp_path / "bare"]
    assert curate(*bare).code == 0
    table = tmp_path / "bare" / "top-40.parquet"
    refused(curate("retrain", table, "--run", theirs), 4, "80 samples")
    refused(curate("retrain", table), 2, "name the run")


# What a selection did


def test_retraining_is_done_once_for_a_selection(tiny_runs):
    manifest = tiny_runs / "tiny" / "manifests" / "best.parquet"
    assert select(tiny_runs, "--top", "20", "--name", "best").code == 0
    command = ["retrain", manifest, "--device", "cpu", "--json"]
    folder = Path(json.loads(curate(*command).out)["encoder"])
    assert folder == tiny_runs / "tiny" / "retrained" / "best-s0"
    assert json.loads((folder / "config.json").read_text())["samples"] == 20
    again = curate("retrain", manifest.with_suffix(""), "--device", "cpu")
    assert again.err.splitlines() == [f"next: curate probe {folder} --on self"]
    # Another selection under the same name is another encoder.
    assert select(tiny_runs, "--top", "30", "--name", "best").code == 0
    assert curate(*command).code == 0
    assert json.loads((folder / "config.json").read_text())["samples"] == 30


def test_a_probe_is_printed_and_kept(tiny_runs):
    encoder = tiny_runs / "tiny" / "encoders" / "fold1"
    result = curate("probe", encoder, "--on", "self", "--kind", "knn", "--json")
    facts = json.loads(result.out)
    [probed] = facts["results"]
    assert (probed["source"], probed["kind"], probed["held_out"]) == ("self", "knn", False)
    assert (probed["n_train"], probed["n_test"]) == (80, 80)
    kept = read_json(Path(facts["path"]))
    assert kept == {"encoder": "encoders/fold1", "results": [probed]}


def test_a_probe_says_which_test_images_leak(tmp_path, monkeypatch):
    for i in range(40):
        for split, shift in (("train", 0), ("test", 40)):
            folder = tmp_path / "data" / split / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            # Three of the test images are training images, mirrored.
            copied = split == "test" and i < 3
            image = ImageOps.mirror(SCENES[i]) if copied else SCENES[i + shift]
            image.resize((32, 32)).save(folder / f"{i:03d}.png")
    source = f"folder:{tmp_path / 'data'}"
    run = ["--runs", tmp_path / "runs", "--name", "own", "--set", "train.epochs=1"]
    run += ["--set", "plan.repeats=1"]
    trained = curate("train", source, *run, "--set", "data.size=32")
    assert trained.code == 0, trained.err
    encoder = min((tmp_path / "runs" / "own" / "encoders").iterdir())
    for _ in range(2):
        told = curate("probe", encoder, "--on", "self", "--kind", "knn")
        [line] = [line for line in told.out.splitlines() if line.startswith("leaks")]
        assert "3 of 40 test images of self have a copy among the training images" in line
    [found] = json.loads(curate("probe", encoder, "--kind", "knn", "--json").out)["results"]
    assert found["leaked"] == 3
    assert f"accuracy without them: knn {found['accuracy_without_leaks']:.4f}" in line
    monkeypatch.setattr("curate.stages.probe.SEARCHED", 79)
    large = curate("probe", encoder, "--kind", "knn", "--json")
    assert json.loads(large.out)["results"][0]["leaked"] is None
    assert "self: 80 images are not searched for leaks; 'curate copies' does" in large.err


def test_an_encoder_outside_a_run_is_probed_on_a_source(tiny_runs, tmp_path):
    encoder = tmp_path / "encoder"
    shutil.copytree(tiny_runs / "tiny" / "encoders" / "fold0", encoder)
    refused(curate("probe", encoder), 2, "on a SOURCE")
    refused(curate("probe", tmp_path / "nothing"), 2, "holds no encoder")
    result = curate("probe", encoder, "--on", "digits", "--kind", "knn", "--json")
    [probed] = json.loads(result.out)["results"]
    assert probed["n_train"] + probed["n_test"] == 1797
    assert probed["accuracy"] > 0.5
    (encoder / "weights.safetensors").write_bytes(b"nonsense")
    refused(curate("probe", encoder, "--on", "digits"), 3, str(encoder))


def test_comparisons_that_cannot_be_made_are_refused(tiny_runs):
    command = ["compare", "tiny", "--runs", tiny_runs]
    refused(curate(*command, "--remove", "many"), 2, "--remove many")
    refused(curate(*command, "--remove", "80"), 2, "cannot remove 80: 80 are scored; 1 to 79")
    refused(
        curate(*command, "--remove", "0"), 2, "remove: should be greater than or equal to 1, not 0"
    )


def test_a_comparison_is_made_once_and_pairs_its_seeds(tiny_runs):
    command = ["compare", "tiny", "--runs", tiny_runs, "--remove", "60", "--seeds", "1"]
    command += ["--budget", "steps", "--workers", "1", "--device", "cpu", "--json"]
    first = curate(*command)
    facts = json.loads(first.out)
    assert "retrain: 2 of 2 encoders" in first.err
    assert {d["strategy"] for d in facts["differences"]} == {"top"}
    assert facts["settings"]["strategies"] == ["top", "random"]
    encoders = {row["encoder"] for row in facts["results"]}
    assert len(encoders) == 2
    for place in encoders:
        encoder = tiny_runs / "tiny" / place
        assert json.loads((encoder / "config.json").read_text())["samples"] == 20
        log = (encoder / "log.jsonl").read_text().splitlines()
        # As many steps as on all 80 samples: 2 epochs of 5 batches of 16.
        assert json.loads(log[-1])["step"] == 10
    again = curate(*command)
    assert "retrain: " not in again.err
    assert json.loads(again.out) == facts


# Verification


def faulty(result, *texts):
    """Assert that a verification listed its fault on stdout, and named it in its message."""
    assert result.code == 3 and result.out.count("\n") == 1
    message, mend = result.err.splitlines()[-2:]
    assert "again" in mend
    assert message.startswith("error: ") and all(t in message and t in result.out for t in texts)


def test_verify_names_what_is_missing_or_changed(tiny_runs):
    run = tiny_runs / "tiny"
    facts = json.loads(curate("verify", run, "--full", "--json").out)
    assert facts["kind"] == "run"
    assert facts["checked"] > 90
    weights = run / "encoders" / "fold0" / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert curate("verify", run).code == 0
    faulty(curate("verify", run, "--full"), "encoders/fold0/weights.safetensors changed")
    weights.write_bytes(data[:-1])
    faulty(curate("verify", run), "weights.safetensors has")
    weights.unlink()
    faulty(curate("verify", run), "weights.safetensors is missing")
    result = curate("verify", run, "--json")
    facts = json.loads(result.out)
    assert (result.code, facts["ok"], facts["kind"]) == (3, False, "run")
    name = "encoders/fold0/weights.safetensors"
    assert facts["faults"] == [{"file": name, "offset": None, "key": None, "problem": "is missing"}]


def test_a_run_is_renamed_by_moving_its_folder(tiny_runs):
    (tiny_runs / "tiny").rename(tiny_runs / "other name")
    for command in ("verify", "score", "ledger", "report"):
        result = curate(command, "other name", "--runs", tiny_runs)
        assert result.code == 0, result.err
    assert "<bdi>other name</bdi>" in (tiny_runs / "other name" / "report.html").read_text()
    newest = json.loads(curate("verify", "--runs", tiny_runs, "--json").out)
    assert newest["path"] == str(tiny_runs / "other name") and newest["ok"]
    refused(curate("verify", "tiny", "--runs", tiny_runs), 2, "is not there")


def test_verify_checks_shards_and_manifests(tiny_runs, tmp_path):
    shards = tiny_runs / "tiny" / "shards"
    assert json.loads(curate("verify", shards, "--full", "--json").out)["checked"] == 160
    row = pq.read_table(shards / "index.parquet").to_pylist()[5]
    tar = bytearray((shards / row["shard"]).read_bytes())
    tar[row["offset"] + 40] ^= 1
    (shards / row["shard"]).write_bytes(tar)
    assert curate("verify", shards).code == 0
    faulty(curate("verify", shards, "--full"), f"at offset {row['offset']:,}", row["key"])
    (shards / row["shard"]).write_bytes(tar[:-512])
    faulty(curate("verify", shards), row["shard"], "is cut short")
    manifest = tiny_runs / "tiny" / "manifests" / "top-0.5.parquet"
    assert json.loads(curate("verify", manifest, "--json").out)["kind"] == "manifest"
    manifest.with_suffix(".json").write_text("{}")
    faulty(curate("verify", manifest), "top-0.5.json")
    refused(curate("verify", tmp_path / "nothing"), 2, "is not there")
    refused(curate("verify", TINY), 2, "is no run")


# Recipes, doctor, help


def test_recipes_are_listed_and_printed_in_full():
    listed = json.loads(curate("recipes", "--json").out)
    assert {"fashion-mnist", "cifar10", "imagenet-100k", "imagenet-100k-pair"} <= set(listed)
    assert all(listed.values())
    result = curate("recipes", TINY)
    assert result.code == 0
    assert "temperature: " in result.out
    assert "next: curate run " in result.err
    for name in listed:
        assert curate("recipes", name).code == 0


def test_doctor_says_what_is_there():
    facts = json.loads(curate("doctor", "--json").out)
    assert set(facts) == {
        *("versions", "cores", "cuda", "faiss", "search", "free_disk_gib", "missing")
    }
    assert facts["missing"] == []
    lines = curate("doctor").out.splitlines()
    assert any(line.startswith("FAISS ") for line in lines)


def test_quiet_shows_results_alone(tiny_runs):
    result = curate("score", "tiny", "--runs", tiny_runs, "--quiet")
    assert result.out
    assert [line.split(":")[0] for line in result.err.splitlines()] == ["warning"]


def test_debug_shows_the_traceback(tmp_path):
    result = curate("verify", tmp_path / "nothing", "--debug")
    assert result.code == 2
    assert result.err.startswith("Traceback")


def test_the_version_is_that_of_the_distribution():
    result = curate("--version")
    assert (result.code, result.out, result.err) == (0, f"curate {version('curate')}\n", "")


def test_python_m_curate_is_the_command_and_calls_itself_so(tmp_path):
    def module(*arguments):
        command = [sys.executable, "-m", "curate", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert module("--version").stdout == curate("--version").out
    assert "Type 'curate score --help'" in module("score", "--nonsense").stderr
    asked = [
        "run",
        TINY,
        "--runs",
        tmp_path,
        "--set",
        "data.source=folder",
        "--data",
        tmp_path / "x",
    ]
    assert module(*asked).returncode == 2
    stored = json.loads((tmp_path / "tiny" / "run.json").read_text())["command"]
    assert stored.startswith("curate run ")


def test_no_command_shows_the_help():
    result = curate()
    assert result.code == 0
    assert "imagenet" not in result.out
    assert "compare" in result.out


# Ends


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_a_command_with_their_code(monkeypatch, capsys, number, code):
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    monkeypatch.setattr(sys, "argv", ["curate", "recipes"])
    monkeypatch.setattr(recipe_files, "recipe_list", lambda: signal.raise_signal(number))
    try:
        with pytest.raises(SystemExit) as ended:
            app.main()
    finally:
        for n, handler in before.items():
            signal.signal(n, handler)
    assert ended.value.code == code
    assert capsys.readouterr().err.startswith("interrupted: ")


CURATE = [sys.executable, "-c", "from curate.cli.app import main; main()"]


def test_a_reader_that_leaves_early_is_no_error():
    read, write = os.pipe()
    os.close(read)
    found = subprocess.run(
        [*CURATE, "recipes", "-q"], stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize("no_color", [True, False])
def test_a_terminal_gets_bars_and_no_colour_where_none_is_wanted(tmp_path, no_color):
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}
    environment |= {"TERM": "xterm-256color"} | ({"NO_COLOR": "1"} if no_color else {})
    terminal, end = pty.openpty()
    command = [*CURATE, "shard", "digits", "--limit", "50", "--out", tmp_path / "shards"]
    process = subprocess.Popen(command, stdout=end, stderr=end, env=environment)
    os.close(end)
    shown = b""
    while True:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # how a terminal says that nobody writes any more
            break
        if not part:
            break
        shown += part
    os.close(terminal)
    assert process.wait() == 0
    assert b"50/50" in shown
    assert (b"\x1b[38;5;" in shown or b"\x1b[3" in shown) is not no_color


def test_names_cannot_break_a_line_or_order_a_terminal_about(tmp_path):
    folder = tmp_path / "images"
    for i, name in enumerate(("a\nb", "\x1b[31mred", "\u202eevil")):
        (folder / name).mkdir(parents=True)
        (folder / name / f"{i}.png").write_bytes(b"no image")
    result = curate("shard", f"folder:{folder}", "--out", tmp_path / "shards", "--quiet")
    refused(result, 3, "a\\u000ab/0.png", "\\u001b[31mred", "\\u202eevil/2.png: not an image")
    assert "\x1b" not in result.err and "\u202e" not in result.err
