"""Slurm does what local processes do; jobs are preempted, cancelled, and outlive who asked."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import curate
from curate.errors import DataError, ResourceError, UsageError
from curate.runtime import signals
from curate.runtime.engines import engine_of
from curate.runtime.engines.base import Unit
from tests.command import TINY
from tests.command import curate as typed
from tests.runtime.engines import stand_in, work

pytest.importorskip("submitit", reason="submitit is not installed: pip install 'curate[slurm]'")
pytestmark = pytest.mark.numeric
GOLDEN = Path(__file__).parent / "slurm.sh"


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Slurm's commands, and where they keep their jobs."""
    home = tmp_path / "slurm"
    home.mkdir()
    folder = stand_in.install(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN", str(home))
    return home


def weights(run):
    return {
        path.relative_to(run.path): path.read_bytes()
        for path in (run.path / "encoders").rglob("*.safetensors")
    }


def test_submitits_own_executors_give_the_bytes_of_local_processes(tmp_path):
    made = {}
    for name in ("none", "local", "debug"):
        run = curate.open_run(str(TINY), runs=tmp_path / name)
        engine = engine_of("slurm", {"cluster": name}) if name != "none" else None
        curate.train(run, device="cpu", workers=1, engine=engine)
        made[name] = weights(run)
    assert len(made["none"]) == 2 and made["none"] == made["local"] == made["debug"]


def test_the_script_is_one_for_bash_and_as_it_was(tmp_path):
    settings = [
        "partition=gpu", "account=images", "time=120", "mem=32", "parallel=8",
        "setup=module load cuda",
    ]  # fmt: skip
    asked = [word for pair in settings for word in ("--engine-set", pair)]
    told = typed(
        "train", TINY, "--runs", tmp_path / "runs", "--engine", "slurm", "--dry-run", "--json",
        "--device", "cuda", *asked,
    )  # fmt: skip
    assert told.code == 0, told.err
    script = json.loads(told.out)["script"]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    plain = script.replace(str(tmp_path / "runs"), "RUNS").replace(sys.executable, "PYTHON")
    assert plain + "\n" == GOLDEN.read_text()
    assert not (tmp_path / "runs").exists()


def test_an_array_is_done_and_what_it_needed_is_gone(tmp_path, slurm):
    seen = []
    units = [
        Unit(f"u{i}", work.write, {"path": tmp_path / f"{i}", "text": f"unit {i}"})
        for i in range(3)
    ]
    work.run(engine_of("slurm"), units, tmp_path / "engine", lambda *told: seen.append(told))
    texts = [(tmp_path / str(i)).read_text().rsplit(" ", 1)[0] for i in range(3)]
    assert texts == ["unit 0", "unit 1", "unit 2"]
    assert seen[-1] == ("work: 3 of 3 units", 6, 6)
    assert list((tmp_path / "engine").rglob("*.pkl")) == []


@pytest.mark.parametrize("cluster", ["slurm", "local"])
def test_a_preempted_job_stores_how_far_it_is_and_goes_on(tmp_path, slurm, cluster):
    unit = Unit("held", preempted, {"path": tmp_path})
    work.run(engine_of("slurm", {"cluster": cluster}), [unit], tmp_path / "engine")
    assert (tmp_path / "stored").read_text() == "SIGUSR1"
    # Another process than the one that was preempted.
    assert (tmp_path / "done").read_text() != (tmp_path / "begun").read_text()


def preempted(path, progress):
    """Be told as Slurm does, SIGTERM first; go on the second time."""
    if (path / "stored").exists():
        (path / "done").write_text(str(os.getpid()))
        return
    (path / "begun").write_text(str(os.getpid()))
    with signals.held("a step") as at:
        os.kill(os.getpid(), signal.SIGTERM)
        assert at.wanted is None
        os.kill(os.getpid(), signal.SIGUSR1)
        assert at.wanted is not None
        (path / "stored").write_text(signal.Signals(at.wanted).name)


def test_errors_come_back_as_themselves_and_the_others_are_cancelled(tmp_path, slurm):
    broken = Unit("broken", late, {"path": tmp_path})
    units = [Unit("long", work.hold, {"path": tmp_path}), broken]
    with pytest.raises(DataError, match=r"^bad image$"):
        work.run(engine_of("slurm"), units, tmp_path / "engine")
    assert (tmp_path / "stored").read_text() == "SIGTERM"


def late(path, progress):
    work.until(lambda: (path / "begun").exists())
    raise DataError("bad image")


def test_ctrl_c_cancels_jobs_which_store_how_far_they_are(tmp_path, slurm):
    def stop():
        work.until(lambda: (tmp_path / "begun").exists())
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, lambda number, _: signals.obey(number))
    thread = threading.Thread(target=stop)
    thread.start()
    try:
        with pytest.raises(signals.Stopped):
            units = [Unit("held", work.hold, {"path": tmp_path})]
            work.run(engine_of("slurm"), units, tmp_path / "engine")
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert (tmp_path / "stored").read_text() == "SIGTERM"


def test_jobs_go_on_when_who_asked_is_killed_and_are_waited_for_by_the_next(tmp_path, slurm):
    arguments = {"path": tmp_path}
    units = [Unit(name, patient, {**arguments, "name": name}, key="k") for name in "ab"]
    driver = os.fork()
    if not driver:
        work.run(engine_of("slurm"), units, tmp_path / "engine")
        os._exit(0)
    work.until(lambda: {"a.begun", "b.begun"} <= {path.name for path in tmp_path.iterdir()})
    os.kill(driver, signal.SIGKILL)
    os.waitpid(driver, 0)
    # One has other settings by now: it is not what is waited for.
    again = [units[0], Unit("b", patient, {**arguments, "name": "b"}, key="other")]
    threading.Timer(1.0, (tmp_path / "go").touch).start()
    work.run(engine_of("slurm"), again, tmp_path / "engine")
    assert (tmp_path / "a.begun").read_text().count("begun") == 1
    assert (tmp_path / "b.begun").read_text().count("begun") == 2


def patient(path, name, progress):
    with (path / f"{name}.begun").open("a") as file:
        file.write("begun\n")
    work.until(lambda: (path / "go").exists())


def test_a_job_that_ends_without_a_word_is_told_with_its_output(tmp_path, slurm, monkeypatch):
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0)
    unit = Unit("lost", work.die, {"path": tmp_path / "n", "times": 9, "how": signal.SIGKILL})
    (tmp_path / "n").mkdir()
    with pytest.raises(ResourceError, match=r"^lost: job 1 ended without a result .*_log\.err"):
        work.run(engine_of("slurm"), [unit], tmp_path / "engine")


def test_what_cannot_be_is_refused_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="partitoin"):
        engine_of("slurm", {"partitoin": "gpu"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResourceError, match="no Slurm on this machine"):
        work.run(engine_of("slurm"), [Unit("u", work.write)], tmp_path / "engine")
