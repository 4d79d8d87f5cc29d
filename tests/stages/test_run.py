"""The functions behind the commands: what a name means, and runs that are gone on with."""

import json
import shutil

import numpy as np
import pytest

import curate
from curate.errors import MismatchError
from curate.runs.run import Run
from curate.runtime.files import file_sha256
from curate.runtime.results import plain
from curate.stages.run import run_all
from tests.command import TINY

pytestmark = pytest.mark.numeric


def digests(folder, pattern):
    return {p.relative_to(folder): file_sha256(p) for p in sorted(folder.glob(pattern))}


def test_run_does_the_whole_line_and_gives_access_to_it(tmp_path):
    events = []
    recipe = curate.load_recipe(str(TINY), {"data.limit": 40, "train.epochs": 1, "compare": {}})
    run = curate.run(
        recipe, runs=tmp_path, device="cpu", progress=lambda *event: events.append(event)
    )
    assert {what for what, _, _ in events} >= {"shard", "decode", "train: 0 of 2 encoders", "align"}
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
            "alignment/*",
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
    (run.path / "alignment" / "00000.parquet").unlink()
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
