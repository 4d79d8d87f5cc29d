"""Train: encoders that are there are left alone, and those that are missing come back the same."""

import functools
import os
import signal

import pytest

import curate
from curate.errors import ResourceError
from curate.runs.opening import open_run
from curate.runs.recipe import load_recipe
from curate.runs.run import Run
from curate.runtime.files import file_sha256
from curate.runtime.threads import cores
from curate.scores.plan import Plan
from curate.stages.context import Context
from tests.command import TINY


def test_what_is_missing_of_a_plan_is_trained_again_to_the_same_bytes(tiny_runs):
    run = Run.open(tiny_runs / "tiny")
    plan = Plan.read(run.path / "plan.parquet")
    kept, lost = (run.path / "encoders" / e / "weights.safetensors" for e in plan.encoders)
    stamp, digest = kept.stat().st_mtime_ns, file_sha256(lost)
    lost.unlink()
    curate.train(run, device="cpu")
    assert kept.stat().st_mtime_ns == stamp
    assert file_sha256(lost) == digest


def die_once(path):
    """Be killed as the first worker of all that is begun; later ones work."""
    try:
        (path / "died").touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_ends_as_one_process_once_it_is_typed_again(
    tiny_runs, tmp_path, monkeypatch
):
    begin = [functools.partial(die_once, tmp_path)]
    monkeypatch.setattr(Context, "begin", lambda self: begin)
    run = curate.open_run(str(TINY), runs=tmp_path / "again")
    with pytest.raises(ResourceError, match="killed, probably for want of memory"):
        curate.train(run, device="cpu", workers=2)
    curate.train(run, device="cpu", workers=2)
    for name in Plan.read(run.path / "plan.parquet").encoders:
        file = f"encoders/{name}/weights.safetensors"
        assert file_sha256(run.path / file) == file_sha256(tiny_runs / "tiny" / file)


def test_more_threads_than_cores_are_warned_of(tmp_path, caplog):
    many = cores() + 1
    recipe = load_recipe(str(TINY), {"train.threads": many, "train.epochs": 1})
    curate.train(open_run(recipe, runs=tmp_path), device="cpu")
    warned = [r.getMessage() for r in caplog.records if "train.threads" in r.getMessage()]
    assert len(warned) == 1
    assert warned[0].startswith(f"train.threads is {many}, on {cores()} cores")
