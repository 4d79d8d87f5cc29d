"""What a person sees while work goes on."""

import pytest

from curate.cli import console
from curate.cli.console import Display


@pytest.fixture
def clock(monkeypatch):
    """Set what time the display believes it to be."""
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])

    def at(seconds):
        now[0] = seconds

    return at


def test_long_work_is_told_of_now_and_then_where_no_terminal_is(capsys, clock):
    with Display(quiet=False, as_json=False) as display:
        for seconds in range(0, 101, 10):
            clock(float(seconds))
            finished = seconds // 50
            display.progress(f"train: {finished} of 2 encoders", 10 * seconds, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "train: 0 of 2 encoders, 30%, 10/s, about 70.0 s left",
        "train: 1 of 2 encoders, 60%, 10/s, about 40.0 s left",
        "train: 1 of 2 encoders, 90%, 10/s, about 10.0 s left",
        "train: 2 of 2 encoders, 1,000 in 100.0 s, 10/s",
    ]


def test_work_that_went_on_is_timed_from_where_it_went_on(capsys, clock):
    with Display(quiet=False, as_json=False) as display:
        display.progress("train: 3 of 4 encoders", 3000, 4000)
        clock(50.0)
        display.progress("train: 3 of 4 encoders", 3500, 4000)
    assert capsys.readouterr().err == "train: 3 of 4 encoders, 88%, 10/s, about 50.0 s left\n"


def test_short_work_is_one_line_and_quiet_work_none(capsys, clock):
    for quiet, shown in ((False, "decode: 200 in 4.0 s, 50/s\n"), (True, "")):
        with Display(quiet=quiet, as_json=False) as display:
            clock(0.0)
            display.progress("decode", 0, 200)
            clock(4.0)
            display.progress("decode", 200, 200)
        assert capsys.readouterr().err == shown
