"""The functions behind the commands: what a name means, and runs that are gone on with."""

import json
import shutil

import numpy as np
import pytest

import curate
from curate.errors import MismatchError, UsageError
from curate.runs.run import Run
from curate.runtime.files import file_sha256
from curate.runtime.results import plain
from curate.stages.run import run_all
from tests.command import TINY

pytestmark = pytest.mark.numeric


def digests(folder, pattern):
    return {p.relative_to(folder): file_sha256(p) for p in sorted(folder.glob(pattern))}


# What a name means


def test_a_run_remembers_its_recipe_and_overrides(tmp_path):
    made = curate.open_run(str(TINY), runs=tmp_path, overrides={"train.epochs": 1}, data=tmp_path)
    facts = made.facts()
    assert facts["recipe_origin"] == str(TINY)
    assert facts["overrides"] == {"train.epochs": 1}
    assert facts["data_path"] == str(tmp_path)
    for name in ("tiny", str(TINY), str(tmp_path / "tiny")):
        assert curate.open_run(name, runs=tmp_path).recipe.train.epochs == 1
    # The same again, or one more way of saying what it is already.
    same = {"train.epochs": "1", "data.limit": "80"}
    assert curate.open_run("tiny", runs=tmp_path, overrides=same).path == made.path
    with pytest.raises(MismatchError, match=r"train\.lr: 0\.002 -> 0\.1\."):
        curate.open_run("tiny", runs=tmp_path, overrides={"train.lr": 0.1})
    fresh = curate.open_run("tiny", runs=tmp_path, fresh=True)
    # A fresh start keeps what was set, and the data.
    assert fresh.recipe.train.epochs == 1
    assert fresh.facts()["data_path"] == str(tmp_path)
    assert (tmp_path / "tiny.old-1" / "run.json").is_file()


def test_a_recipe_that_changed_under_a_run_is_noticed(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(TINY.read_text())
    curate.open_run(str(recipe), runs=tmp_path)
    recipe.write_text(TINY.read_text().replace("folds: 2", "folds: 3"))
    with pytest.raises(MismatchError, match=r"plan\.folds: 2 -> 3"):
        curate.open_run("tiny", runs=tmp_path)
    recipe.write_text(TINY.read_text() + "# only a comment\n")
    assert curate.open_run("tiny", runs=tmp_path).recipe.plan.folds == 2
    # Commands on what is there do not ask for the recipe, nor does a run whose recipe is gone.
    recipe.unlink()
    assert curate.open_run("tiny", runs=tmp_path, create=False).recipe.plan.folds == 2
    assert curate.open_run("tiny", runs=tmp_path).recipe.plan.folds == 2
    with pytest.raises(MismatchError, match=r"plan\.folds: 2 -> 4"):
        curate.open_run("tiny", runs=tmp_path, overrides={"plan.folds": "4"})


def test_a_run_may_be_made_from_a_recipe_in_memory(tmp_path):
    recipe = curate.load_recipe(str(TINY), {"name": "mine", "train.epochs": 3})
    made = curate.open_run(recipe, runs=tmp_path, overrides={"train.epochs": 1})
    assert (made.name, made.recipe.train.epochs) == ("mine", 1)
    assert curate.open_run("mine", runs=tmp_path).recipe.train.epochs == 1
    with pytest.raises(MismatchError, match=r"train\.epochs: 1 -> 3"):
        curate.open_run(recipe, runs=tmp_path)
    with pytest.raises(UsageError, match="unknown recipe 'mien'"):
        curate.open_run("mien", runs=tmp_path)


# Running


def test_run_does_the_whole_line_and_gives_access_to_it(tmp_path):
    events = []
    recipe = curate.load_recipe(str(TINY), {"data.limit": 40, "train.epochs": 1, "compare": {}})
    run = curate.run(
        recipe, runs=tmp_path, device="cpu", progress=lambda *event: events.append(event)
    )
    assert {what for what, _, _ in events} >= {"shard", "decode", "train fold0", "align"}
    assert ("align", 40, 40) in events
    scores = run.scores()
    assert scores.num_rows == 40
    assert run.manifest("top-0.5")["decision"].to_pylist().count("keep") == 20
    image = run.image(scores["uid"][0].as_py())
    assert (image.shape, image.dtype) == ((1, 8, 8), np.uint8)
    encoder = run.encoder("fold1")
    import torch

    tokens = encoder(torch.tensor(image)[None])
    assert tokens.shape == (1, encoder.tokens, encoder.dim)
    assert torch.equal(
        tokens, curate.load_encoder(run.path / "encoders" / "fold1")(torch.tensor(image)[None])
    )
    assert not (run.path / "comparisons").exists()
    assert curate.report(run).name == "report.html"
    assert run_all(run).comparison is None


def test_what_is_lost_is_made_again_as_it_was(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    wanted = {
        pattern: digests(run.path, pattern)
        for pattern in (
            "shards/*",
            "plan.parquet",
            "encoders/*/weights.safetensors",
            "alignment/*/*",
            "scores.*",
            "inspect.parquet",
            "cache/canvas.npy",
        )
    }
    shutil.rmtree(tiny_runs / ".store")
    (run.path / "encoders" / "fold1" / "weights.safetensors").unlink()
    (run.path / "plan.parquet").unlink()
    shutil.rmtree(run.path / "cache")
    tar = run.path / "shards" / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    trained = curate.train(run, device="cpu")
    assert trained.encoders == ("fold0", "fold1")
    # The encoder that was lost is the same again, and so what was measured with it holds.
    assert curate.score(run, device="cpu").already is True
    (run.path / "alignment" / "fold1" / "00000.parquet").unlink()
    (run.path / "scores.parquet").unlink()
    assert curate.score(run, device="cpu").already is False
    curate.inspect(run, device="cpu")
    assert {pattern: digests(run.path, pattern) for pattern in wanted} == wanted


def test_images_that_changed_under_a_run_are_noticed(tiny_runs, tmp_path, monkeypatch):
    folder = tmp_path / "images"
    index = Run.open(tiny_runs / "tiny")
    manifest = tiny_runs / "tiny" / "manifests" / "top-0.5.parquet"
    curate.export(manifest, to="folder", out=folder)
    recipe = curate.load_recipe(
        str(TINY), {"name": "mine", "data.source": f"folder:{folder}", "data.limit": None}
    )
    run = curate.open_run(recipe, runs=tmp_path)
    assert len(curate.train(run, device="cpu").encoders) == 2
    next(folder.glob("*/*.png")).unlink()
    shutil.rmtree(run.path / "shards")
    with pytest.raises(MismatchError, match="has other images than when run"):
        curate.train(run, device="cpu")
    assert index.facts()["dataset_fingerprint"] != run.facts()["dataset_fingerprint"]


def test_facts_are_plain_data(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    for facts in (
        curate.score(run),
        curate.inspect(run),
        curate.select(run, strategy="top", count=3),
        curate.verify(run.path),
        curate.doctor(),
    ):
        content = plain(facts)
        assert json.loads(json.dumps(content, allow_nan=False)) == content
