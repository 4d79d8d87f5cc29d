"""Train: encoders that are there are left alone, and those that are missing come back the same."""

import functools
import os
import shutil
import signal

import numpy as np
import pytest

import curate
from curate.encoders.config import TrainConfig
from curate.errors import ResourceError, UsageError
from curate.runs.opening import open_run
from curate.runs.recipe import load_recipe
from curate.runs.run import Run
from curate.runtime.files import file_sha256
from curate.runtime.threads import cores
from curate.scores.plan import Plan
from curate.stages.context import Context
from curate.stages.train import side_by_side
from tests.command import TINY
from tests.command import curate as typed


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


def test_encoders_side_by_side_are_units_as_ever(tmp_path):
    recipe = load_recipe(str(TINY), {"train.stack": 3, "plan.repeats": 2})
    told = []
    run = curate.open_run(recipe, runs=tmp_path)
    curate.train(run, device="cpu", workers=1, progress=lambda *p: told.append(p[0]))
    names = Plan.read(run.path / "plan.parquet").encoders
    assert "train: 1 of 2 stacks" in told and len(names) == 4
    weights = {e: run.path / "encoders" / e / "weights.safetensors" for e in names}
    made = {name: file_sha256(path) for name, path in weights.items()}
    for name in names:
        record = run.record(f"train/{name}")
        assert record["n"] == 40 and record["steps"] == 4 and record["skipped"] == 0
        assert not list(run.states(f"train/{name}").glob("*"))
    # A second run trains nothing; what is missing comes back alone, to the same bytes.
    stamps = {name: path.stat().st_mtime_ns for name, path in weights.items()}
    curate.train(run, device="cpu")
    weights[names[1]].unlink()
    shutil.rmtree(tmp_path / ".store")
    curate.train(run, device="cpu")
    assert {name: file_sha256(path) for name, path in weights.items()} == made
    changed = {name for name, path in weights.items() if path.stat().st_mtime_ns != stamps[name]}
    assert changed == {names[1]}


def test_stacks_have_encoders_of_equal_steps():
    plan = Plan("halves", np.zeros(0), np.zeros(0), tuple("abcde"), np.zeros((9, 5), dtype=bool))
    plan.inclusion[:4], plan.inclusion[4, 2] = True, True
    config = TrainConfig(stack=2, batch_size=5)
    assert side_by_side(config, plan, list("abcde")) == [("a", "b"), ("d", "e"), ("c",)]
    assert side_by_side(config.model_copy(update={"stack": 1}), plan, ["b", "d"]) == [
        ("b",),
        ("d",),
    ]


@pytest.mark.parametrize(
    ("settings", "ranks", "says"),
    [
        (["train.stack=0"], None, "train.stack"),
        (["train.stack=2", "train.parts=2"], None, "leave out one"),
        (["train.stack=2", "train.dp.noise=1"], None, "leave out stack"),
        (["train.stack=2"], 2, "leave out the ranks, or use --set train.stack=1 --name NEW"),
    ],
)
def test_what_is_not_trained_side_by_side_is_refused_at_once(settings, ranks, says, tmp_path):
    given = [word for setting in settings for word in ("--set", setting)]
    given += ["--ranks", ranks] if ranks else []
    result = typed("train", TINY, "--runs", tmp_path, "--device", "cpu", *given)
    assert result.code == UsageError.exit_code and says in result.err
    assert len(result.err.splitlines()) <= 2
