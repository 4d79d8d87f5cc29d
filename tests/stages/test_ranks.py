"""Encoders that several processes train: killed, stopped, gone on with by others, the same end."""

import multiprocessing as mp
import os
import signal
import subprocess
import sys

import pytest

import curate
from curate.errors import ResourceError, UsageError
from curate.runs.opening import open_run
from curate.runs.recipe import load_recipe
from curate.runtime import signals
from curate.runtime.files import file_sha256
from curate.runtime.signals import Stopped
from curate.stages import ranks
from tests.command import TINY

SETTINGS = {"train.parts": 2, "train.epochs": 10, "train.save_every": 0, "plan.folds": 2}


def run_of(runs, **settings):
    return open_run(load_recipe(str(TINY), {**SETTINGS, **settings}), runs=runs)


def weights(run):
    return [file_sha256(p) for p in sorted(run.path.glob("encoders/*/weights.safetensors"))]


def after(images, do):
    """Return a progress callback that does something once so many images were trained on."""
    asked = []

    def progress(what, done, total):
        if what.startswith("train") and done >= images and not asked:
            asked.append(done)
            do()

    return progress


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    run = run_of(tmp_path_factory.mktemp("alone"))
    curate.train(run, device="cpu")
    return weights(run)


def test_a_killed_and_a_stopped_rank_go_on_as_others_and_end_as_one_process(tmp_path, alone):
    run = run_of(tmp_path)

    def kill():
        (other,) = mp.active_children()
        other.kill()

    with pytest.raises(ResourceError, match="rank 1 of 2 was killed by signal 9"):
        curate.train(run, device="cpu", ranks=2, progress=after(160, kill))
    assert mp.active_children() == []
    states = sorted(run.states("train/fold0").glob("*.json"))
    assert states != []
    with pytest.raises(Stopped):
        curate.train(
            run,
            device="cpu",
            ranks=2,
            progress=after(240, lambda: signals.obey(signal.SIGTERM)),
        )
    assert sorted(run.states("train/fold0").glob("*.json")) > states
    curate.train(run, device="cpu")
    assert weights(run) == alone


def test_torchrun_starts_the_ranks(tmp_path, alone):
    settings = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    command = ["-m", "curate", "train", str(TINY), "--runs", str(tmp_path), "--device", "cpu"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    done = subprocess.run(
        [*launcher, "--nproc-per-node", "2", *command, *settings, "--quiet"],
        capture_output=True,
        text=True,
        timeout=200,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fold0") == 1
    assert weights(run_of(tmp_path)) == alone


@pytest.mark.parametrize(
    ("settings", "asked", "message"),
    [
        ({}, 3, r"3 ranks cannot share train\.parts 2.*overrides={.train.parts.: 3}"),
        ({"train.parts": 1}, 2, r"2 ranks cannot share train\.parts 1"),
        ({"train.parts": 1, "train.dp": {"noise": 1.0}}, 2, r"train\.dp trains in one process"),
    ],
)
def test_ranks_that_cannot_train_a_recipe_are_refused_before_anything(
    tmp_path, settings, asked, message
):
    run = run_of(tmp_path, **settings)
    with pytest.raises(UsageError, match=message):
        curate.train(run, device="cpu", ranks=asked)
    assert not (run.path / "shards").exists()


@pytest.mark.parametrize("more", [{"workers": 2}, {"engine": "ray"}])
def test_ranks_take_one_encoder_at_a_time_and_no_engine(tmp_path, more):
    run = run_of(tmp_path)
    with pytest.raises(UsageError, match=r"train one encoder together.*leave out the"):
        curate.train(run, device="cpu", ranks=2, **more)
    assert not (run.path / "shards").exists()


def test_what_a_launcher_started_is_not_started_twice(tmp_path, monkeypatch):
    config = run_of(tmp_path).recipe.train
    assert ranks.launched().size == ranks.size_of(None, config) == 1
    for name, value in zip(ranks.LAUNCHED, ("1", "2", "localhost", "1"), strict=True):
        monkeypatch.setenv(name, value)
    assert (ranks.launched().rank, ranks.size_of(None, config)) == (1, 2)
    with pytest.raises(UsageError, match="2 were launched already"):
        ranks.size_of(4, config.model_copy(update={"parts": 4}))
