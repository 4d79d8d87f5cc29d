"""Run directories: records that notice what is gone, a lock, and files that are whole or absent."""

import json
import os
import subprocess
import sys

import pytest

from curate.errors import DataError, MismatchError, UsageError
from curate.runs import run as rundir
from curate.runs.lock import locked
from curate.runs.recipe import load_recipe
from curate.runs.run import Run, enclosing, newest, set_aside
from curate.runs.units import Unit
from curate.runtime import files as atomic
from curate.runtime import versions
from curate.runtime.files import write_json, write_text
from tests.command import TINY


@pytest.fixture
def run(tmp_path):
    return Run.create(tmp_path / "tiny", load_recipe(str(TINY)), {"versions": {}})


def make(run, unit, **files):
    for name, text in files.items():
        write_text(run.path / name, text)
    Unit(run, unit, {"x": 1}).complete([run.path / name for name in files], n=len(files))


# Completion records


def test_a_unit_is_done_once_its_record_and_its_files_are_there(run, caplog):
    assert run.done("train/f") is None
    make(run, "train/f", weights="abc", log="de")
    record = run.done("train/f")
    assert (record["unit"], record["n"]) == ("train/f", 2)
    assert {name: made["bytes"] for name, made in record["outputs"].items()} == {
        "weights": 3,
        "log": 2,
    }
    assert caplog.messages == []
    (run.path / "weights").write_text("ab")
    assert run.done("train/f") is None
    (run.path / "weights").unlink()
    assert run.done("train/f") is None
    assert "weights is missing or cut short" in caplog.messages[-1]


# run.json


def test_notes_and_seconds_add_up(run):
    run.note(device="cpu")
    before = (run.path / "run.json").stat()
    run.note(device="cpu")
    assert (run.path / "run.json").stat().st_mtime_ns == before.st_mtime_ns
    with run.timed("train"):
        pass
    with pytest.raises(KeyError), run.timed("train"):
        raise KeyError
    facts = run.facts()
    assert facts["device"] == "cpu"
    assert facts["seconds"]["train"] >= 0


def test_a_run_is_opened_again_with_the_recipe_it_stored(run):
    again = Run.open(run.path)
    assert again.recipe.resolved() == run.recipe.resolved()
    assert run.facts()["recipe_fingerprint"] == again.recipe.fingerprint()


def test_a_run_of_another_recipe_is_not_taken_over(run):
    other = load_recipe(str(TINY), {"train.lr": 1.0, "description": "other words"})
    with pytest.raises(MismatchError) as found:
        Run.create(run.path, other, {})
    assert "other settings: train.lr: 0.002 -> 1.0. Use retrain=True" in str(found.value)
    same = load_recipe(str(TINY), {"score.batch_size": 3})
    assert Run.create(run.path, same, {}).recipe.score.batch_size == 3


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"run\.json"):
        Run.open(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"has no run\.json"):
        Run.create(tmp_path, load_recipe(str(TINY)), {})
    write_json(tmp_path / "run.json", {"schema_version": 99})
    with pytest.raises(MismatchError, match="another version of curate"):
        Run.open(tmp_path)


def test_the_newest_run_is_the_one_last_worked_on(tmp_path):
    with pytest.raises(UsageError, match="no run under"):
        newest(tmp_path)
    for age, name in enumerate(("b", "a", "c.old-1")):
        write_json(tmp_path / name / "run.json", {})
        os.utime(tmp_path / name / "run.json", (100 - age, 100 - age))
    assert newest(tmp_path) == tmp_path / "b"
    assert rundir.names(tmp_path) == ["a", "b"]
    assert enclosing(tmp_path / "a" / "encoders" / "f") == tmp_path / "a"
    assert enclosing(tmp_path / "a") is None


def test_what_a_killed_process_left_is_swept_up(run):
    code = (
        "import os, sys, pathlib\n"
        "from curate.runtime.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])):\n"
        "    os._exit(0)\n"
    )
    cache = run.path / "cache"
    subprocess.run([sys.executable, "-c", code, cache / "canvas.npy"], check=True)
    (left,) = cache.iterdir()
    strange = cache / f".canvas.npy.123{atomic.TEMPORARY}"
    strange.touch()
    with run.lock():
        assert list(cache.iterdir()) == [strange]
    assert not left.exists()
    os.utime(strange, (1, 1))
    with run.lock():
        assert list(cache.iterdir()) == []


def test_runs_set_aside_are_numbered(tmp_path):
    assert set_aside(tmp_path / "r") is None
    for k in (1, 2):
        write_json(tmp_path / "r" / "run.json", {"k": k})
        assert set_aside(tmp_path / "r") == tmp_path / f"r.old-{k}"
    assert json.loads((tmp_path / "r.old-2" / "run.json").read_text()) == {"k": 2}
    assert not (tmp_path / "r").exists()
    with locked(tmp_path / "r.old-2"):
        pass


def test_a_stage_is_made_by_one_code_from_first_to_last(run, monkeypatch):
    out = run.path / "encoders" / "f" / "weights.safetensors"
    write_text(out, "weights")
    unit = Unit(run, "train/f", {"x": 1})
    run.check_code("train", [unit])
    unit.complete([out])
    run.check_code("train", [unit])
    now = versions.of_stage("train")
    assert {"curate", "torch", "numpy", "curate code"} <= set(now)
    monkeypatch.setattr(versions, "of_stage", lambda stage: {**now, "curate code": "another"})
    with pytest.raises(MismatchError, match=r"curate code: '\w{12}' -> 'another'.*fresh=True"):
        run.check_code("train", [unit])
    run.check_code("align", [Unit(run, "align/f", {})])  # a later stage may be of newer code


def test_a_stage_is_made_on_one_kind_of_device_from_first_to_last(run):
    out = run.path / "encoders" / "f" / "weights.safetensors"
    write_text(out, "weights")
    unit = Unit(run, "train/f", {"x": 1})
    unit.complete([out], "cuda", keep=False)
    assert run.done("train/f")["device"] == "cuda"
    run.check_code("train", [unit], "cuda")
    run.check_code("train", [unit])
    with pytest.raises(MismatchError, match=r"was made on cuda, .* Go on with device='cuda', or"):
        run.check_code("train", [unit], "cpu")
    unit.complete([out])  # by a version that recorded none
    run.check_code("train", [unit], "cpu")


def test_states_go_with_the_unit_they_were_for(run):
    out = run.path / "encoders" / "f" / "weights.safetensors"
    write_text(out, "weights")
    states = [run.states(f"train/{name}") for name in ("f", "g", "h")]
    for folder in states:
        write_json(folder / "000000001.json", {})
        write_text(folder / "000000001.safetensors", "tensors")
    Unit(run, "train/f", {"x": 1}).complete([out])
    assert [folder.exists() for folder in states] == [False, True, True]
    # Killed between the record and the end of the sweep.
    write_json(run.record_path("train/g"), {"outputs": {}})
    with run.lock():
        assert [folder.exists() for folder in states] == [False, False, True]
