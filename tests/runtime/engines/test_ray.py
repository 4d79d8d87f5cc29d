"""Ray does what local processes do: equal bytes, errors as themselves, lost units again."""

import os
import signal
import threading
import time

import pytest

import curate
from curate.cli import app
from curate.errors import DataError, ResourceError, UsageError
from curate.runtime import signals
from curate.runtime.engines import engine_of
from curate.runtime.engines.base import Unit
from tests.command import TINY
from tests.runtime.engines import work

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'curate[ray]'")
pytestmark = pytest.mark.numeric


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    """One node with four cores and two cards, none of which this machine needs to have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # A token of its own, which nobody has to have made.
        token = tmp_path_factory.mktemp("ray") / "token"
        token.write_text("0" * 64)
        token.chmod(0o600)
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
        ray.init(
            "local",
            num_cpus=4, num_gpus=2, object_store_memory=80 * 2**20,
            logging_level="ERROR", log_to_driver=False,
        )  # fmt: skip
        for number, handler in before.items():
            signal.signal(number, handler)
        yield
        ray.shutdown()


def files(run):
    """Return what encoders, alignment, scores and measures hold; logs say when it was."""
    kept = [
        path
        for place in ("encoders", "alignment", "scores.parquet", "measures", "measures.parquet")
        for path in [run.path / place, *(run.path / place).rglob("*")]
        if path.is_file() and path.name != "log.jsonl"
    ]
    return {path.relative_to(run.path).as_posix(): path.read_bytes() for path in kept}


def test_trainings_alignments_and_measures_on_a_cluster_are_those_of_local_processes(tmp_path):
    seen = []
    runs = {}
    for name, more in (("local", {"workers": 1}), ("ray", {"engine": "ray"})):
        runs[name] = curate.open_run(str(TINY), runs=tmp_path / name)
        curate.score(runs[name], device="cpu", progress=lambda *told: seen.append(told), **more)
        curate.measure(runs[name], device="cpu", engine=more.get("engine", "local"))
    here, there = files(runs["local"]), files(runs["ray"])
    assert len(here) == 9 and here == there
    assert ("align: 2 of 2 parts", 160, 160) in seen
    assert runs["ray"].record("measure/fold0")["attempt"]
    records = [runs[name].record("train/fold0") for name in runs]
    # Whichever machine and process made it, the key is the same, and the record says which it was.
    assert records[0]["key"] == records[1]["key"]
    assert records[0]["attempt"] != records[1]["attempt"]
    assert sorted(p.name for p in (runs["ray"].path / ".attempts").iterdir()) == [".lock"]


def test_units_are_spread_over_cards_and_may_share_them(tmp_path):
    engine = engine_of("ray", {"gpus": 0.5})
    units = [Unit(f"u{i}", where, {"path": tmp_path, "n": 4}, gpus=1) for i in range(8)]
    work.run(engine, units, tmp_path)
    cards = sorted(path.suffix for path in tmp_path.iterdir())
    # Two at a time on each of two cards: four are there together, or the first would wait for ever.
    assert set(cards) == {".0", ".1"} and len(cards) == 8
    assert cards.count(".0") == 4


def where(path, n, progress):
    """Say on which card it is, and wait until as many others are there as can be."""
    card = os.environ["CUDA_VISIBLE_DEVICES"]
    (path / f"{os.urandom(4).hex()}.{card}").touch()
    until = time.monotonic() + 30
    while len(list(path.iterdir())) < n and time.monotonic() < until:
        time.sleep(0.01)
    assert len(list(path.iterdir())) >= n
    time.sleep(0.5)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_unit_whose_worker_is_lost_is_begun_again(tmp_path, how, capfd):
    unit = Unit("lost", work.die, {"path": tmp_path, "times": 1, "how": how})
    seen = []
    work.run(engine_of("ray"), [unit], tmp_path, lambda *told: seen.append(told))
    assert len(list(tmp_path.iterdir())) == 2
    assert seen[-1][0] == "work: 1 of 1 units"
    # What a node has to tell of it does not get among the results.
    assert capfd.readouterr().out == ""


def test_a_unit_that_loses_every_worker_ends_in_one_error(tmp_path):
    unit = Unit("lost", work.die, {"path": tmp_path, "times": 9, "how": signal.SIGKILL})
    with pytest.raises(ResourceError, match=r"^lost lost its worker or its node 2 times, .*memory"):
        work.run(engine_of("ray", {"retries": 1}), [unit], tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (DataError("bad image"), DataError, "^bad image$"),
        (OSError(28, "No space left on device", "x"), OSError, "No space left"),
        (ValueError("odd"), RuntimeError, "broken: odd\nTraceback"),
    ],
)
def test_an_error_comes_back_as_itself_and_stops_the_others(tmp_path, error, kind, text):
    units = [
        Unit("long", work.hold, {"path": tmp_path}),
        Unit("broken", late, {"error": error, "path": tmp_path}),
    ]
    with pytest.raises(kind, match=text):
        work.run(engine_of("ray"), units, tmp_path)
    assert (tmp_path / "stored").read_text() == "SIGINT"


def late(path, error, progress):
    while not (path / "begun").exists():
        time.sleep(0.02)
    raise error


def test_ctrl_c_reaches_units_which_store_how_far_they_are(tmp_path):
    def stop():
        while not (tmp_path / "begun").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, lambda number, _: signals.obey(number))
    thread = threading.Thread(target=stop)
    thread.start()
    try:
        with pytest.raises(signals.Stopped) as stopped:
            work.run(engine_of("ray"), [Unit("held", work.hold, {"path": tmp_path})], tmp_path)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert stopped.value.number == signal.SIGINT
    assert (tmp_path / "stored").read_text() == "SIGINT"


def test_a_unit_that_asks_for_more_cores_than_there_are_does_not_wait_for_ever(tmp_path):
    unit = Unit("wide", work.write, {"path": tmp_path / "out", "text": "made"}, cpus=64)
    work.run(engine_of("ray"), [unit], tmp_path)
    assert (tmp_path / "out").read_text().startswith("made")


def test_cards_by_number_are_this_machines_own(tmp_path):
    run = curate.open_run(str(TINY), runs=tmp_path)
    with pytest.raises(UsageError, match=r"cuda:0-1.: cards by number are this machine's"):
        curate.train(run, device="cuda:0-1", engine="ray")
    assert app.call(["train", str(TINY), "--runs", str(tmp_path), "--engine-set", "gpus=2"]) == 2
