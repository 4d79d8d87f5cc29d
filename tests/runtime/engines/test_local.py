"""Units of work run here or side by side, and their errors come through as what they are."""

import functools
import os
import signal
import time
from pathlib import Path

import pytest

from curate.errors import DataError, ResourceError
from curate.runtime import signals
from curate.runtime.engines.base import Unit
from curate.runtime.engines.local import Local
from curate.runtime.progress import Together, silent
from tests.runtime.engines import work


def run_units(units, workers, progress=silent, begin=()):
    Local(workers, begin).run(units, Together("work", "units", len(units), progress), Path())


def write(path: Path, text: str, progress) -> None:
    progress(text, 0, 1)
    path.write_text(f"{text} {os.getpid()}")
    progress(text, 1, 1)


def fail(error: Exception, progress) -> None:
    raise error


def die(progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait(progress) -> None:
    time.sleep(60)


def units(folder, n):
    return [Unit(f"u{i}", write, {"path": folder / str(i), "text": f"unit {i}"}) for i in range(n)]


@pytest.mark.parametrize("workers", [1, 2])
def test_units_are_done_whatever_the_number_of_workers(tmp_path, workers):
    seen = []
    run_units(units(tmp_path, 5), workers, lambda *event: seen.append(event))
    texts = [(tmp_path / str(i)).read_text().rsplit(" ", 1) for i in range(5)]
    assert [text for text, _ in texts] == [f"unit {i}" for i in range(5)]
    # Each finished unit is told of; the last one ends the work.
    assert list(dict.fromkeys(what for what, _, _ in seen)) == [
        f"work: {n} of 5 units" for n in range(6)
    ]
    assert [done == total for _, done, total in seen] == [False] * (len(seen) - 1) + [True]
    here = {int(pid) for _, pid in texts} == {os.getpid()}
    assert here is (workers == 1)


def measure(path: Path, content: bytes, progress) -> None:
    path.write_text(str(len(content)))


TAKEN = []


def take(card: int) -> None:
    TAKEN.append(card)


def note(path: Path, progress) -> None:
    # Until every worker has a unit.
    path.write_text(f"{TAKEN}")
    until = time.monotonic() + 60
    while len(list(path.parent.iterdir())) < 3 and time.monotonic() < until:
        time.sleep(0.01)


def test_each_worker_takes_a_card_first_and_keeps_it(tmp_path):
    some = [Unit(f"u{i}", note, {"path": tmp_path / str(i)}) for i in range(6)]
    run_units(some, 3, begin=[functools.partial(take, card) for card in (4, 6)])
    noted = [path.read_text() for path in tmp_path.iterdir()]
    # Two cards for three workers: the first has two.
    assert len(noted) == 6 and set(noted) == {"[4]", "[6]"}
    assert TAKEN == []


def together(path: Path, number: int, progress) -> None:
    # Four at a time, so that no worker is faster than the others.
    (path / f"{number}.{TAKEN[0]}").touch()
    work.until(lambda: len(list(path.iterdir())) >= 4 * (number // 4 + 1))


def test_eight_units_are_spread_over_four_cards_in_balance(tmp_path):
    eight = [Unit(f"u{i}", together, {"path": tmp_path, "number": i}) for i in range(8)]
    run_units(eight, 4, begin=[functools.partial(take, card) for card in range(4)])
    ran = [path.name.split(".") for path in tmp_path.iterdir()]
    by_card = {c: sorted(int(n) // 4 for n, card in ran if card == c) for c in "0123"}
    assert by_card == {c: [0, 1] for c in "0123"}


def test_units_may_carry_more_than_a_pipe_holds(tmp_path):
    many = [
        Unit(f"u{i}", measure, {"path": tmp_path / str(i), "content": bytes(200_000)})
        for i in range(4)
    ]
    run_units(many, 2)
    assert [(tmp_path / str(i)).read_text() for i in range(4)] == ["200000"] * 4


def test_no_units_are_no_work(tmp_path):
    seen = []
    run_units([], 4, lambda *event: seen.append(event))
    assert seen == []


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (DataError("bad image"), DataError, "^bad image$"),
        (OSError(28, "No space left on device", "x"), OSError, "No space left"),
        (MemoryError(), MemoryError, "in broken"),
        (ValueError("odd"), RuntimeError, "broken: odd\nTraceback"),
    ],
)
def test_an_error_stops_the_others_and_keeps_its_kind(error, kind, text):
    started = [Unit("long", wait), Unit("broken", fail, {"error": error})]
    with pytest.raises(kind, match=text) as found:
        run_units(started, 2)
    if kind is OSError:
        assert (found.value.errno, found.value.filename) == (28, "x")


def test_a_killed_worker_is_noticed():
    with pytest.raises(ResourceError, match="killed, probably for want of memory"):
        run_units([Unit("long", wait), Unit("killed", die)], 2)


def hold(path: Path, progress) -> None:
    with signals.held("a step") as work:
        progress("held", 0, 1)
        while work.wanted is None:
            time.sleep(0.01)
        path.write_text(str(work.wanted))


def test_workers_end_what_they_hold_when_the_command_is_stopped(tmp_path):
    begun = []

    def report(*event):
        begun.append(event)
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, lambda number, _: signals.obey(number))
    try:
        with pytest.raises(signals.Stopped) as stopped:
            run_units(
                [Unit(str(i), hold, {"path": tmp_path / str(i)}) for i in range(2)], 2, report
            )
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped.value.number == signal.SIGTERM
    assert [(tmp_path / str(i)).read_text() for i in range(2)] == ["15", "15"]


def test_a_worker_that_does_not_end_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.runtime.engines.local.GRACE", 0.1)
    units = [
        Unit("deaf", deaf, {"path": tmp_path / "deaf"}),
        Unit("fail", fail_later, {"path": tmp_path / "deaf"}),
    ]
    with pytest.raises(DataError, match="broken"):
        run_units(units, 2)


def deaf(path: Path, progress) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    path.write_text("begun")
    time.sleep(600)


def fail_later(path: Path, progress) -> None:
    while not path.exists():
        time.sleep(0.01)
    raise DataError("broken")
